"""Every fault of the update server by name, and for which requests one holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rig.errors import UserError
from rig.updates import answer_faults, file_faults, tls_faults
from rig.updates.fault_base import Fault, Spec

FAULTS: tuple[type[Fault], ...] = (
    answer_faults.Disconnect,
    answer_faults.Reset,
    answer_faults.Stall,
    answer_faults.Drip,
    answer_faults.Length,
    answer_faults.NoLength,
    answer_faults.Chunked,
    file_faults.Truncate,
    file_faults.Flip,
    file_faults.Html,
    file_faults.OtherChip,
    file_faults.OtherProject,
    file_faults.OlderVersion,
    file_faults.LowerSecureVersion,
    file_faults.Replay,
    file_faults.Other,
    answer_faults.RedirectLoop,
    answer_faults.Status,
    answer_faults.Together,
    tls_faults.ExpiredCertificate,
    tls_faults.WrongHostCertificate,
    tls_faults.UnknownAuthority,
    tls_faults.TlsDowngrade,
)
"""In the order of the help text."""

_BY_NAME = {fault.name: fault for fault in FAULTS if fault is not answer_faults.NoLength}
_RULE_KEYS = ("path", "times", "after")


@dataclass(frozen=True)
class Rule:
    """A fault and where it holds: in `times` requests of `path` (None: of any), after `after` others."""

    fault: Fault
    path: str | None = None
    times: int | None = None
    after: int = 0

    def __str__(self) -> str:
        """As it is written."""
        where = "" if self.path is None else f",path={self.path}"
        often = "" if self.times is None else f",times={self.times}"
        return f"{self.fault}{where}{often}" + (f",after={self.after}" if self.after else "")


def parse_fault(text: str) -> Fault:
    """A fault as it is written, as `truncate@50%`. Raises UserError saying how it is."""
    spec = Spec.parse(text)
    if spec.name not in _BY_NAME:
        raise UserError(f"there is no fault {spec.name!r}", hint=f"one of: {', '.join(_BY_NAME)}")
    return _BY_NAME[spec.name].read(spec)


def parse_rule(text: str) -> Rule:
    """A fault with its limits, as `status=503,retry-after=5,path=/app.bin,times=2,after=1`. Raises UserError."""
    parts = text.split(",")
    limits = {key: value for key, _, value in (part.strip().partition("=") for part in parts[1:]) if key in _RULE_KEYS}
    rest = [part for part in parts if part.strip().partition("=")[0] not in _RULE_KEYS]
    if len(rest) + len(limits) != len(parts):
        raise UserError(f"fault {text!r}: path, times or after is there twice")
    for key in ("times", "after"):
        if key in limits and not re.fullmatch(r"\d{1,9}", limits[key]):
            raise UserError(f"fault {text!r}: {key} is a number of requests, not {limits[key]!r}")
    times = int(limits["times"]) if "times" in limits else None
    return checked(Rule(parse_fault(",".join(rest)), limits.get("path"), times, int(limits.get("after", 0))))


def checked(rule: Rule) -> Rule:
    """The rule with its path in the one way it is compared. Raises UserError for one that can never hold."""
    if rule.times is not None and rule.times < 1:
        raise UserError(f"fault {rule.fault}: times is {rule.times}; it must be at least 1")
    if rule.after < 0:
        raise UserError(f"fault {rule.fault}: after is {rule.after}; it must be at least 0")
    if rule.path is None:
        return rule
    if isinstance(rule.fault, tls_faults.TlsFault):
        raise UserError(
            f"fault {rule.fault} cannot be limited to {rule.path}: the handshake comes before the path is known",
            hint="limit it with times and after, which count connections",
        )
    return replace(rule, path="/" + rule.path.lstrip("/"))
