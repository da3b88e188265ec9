"""Which faults the next request meets: rules in the order they were given, each with its own count."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from rig.updates.fault_base import Fault
from rig.updates.faults import Rule
from rig.updates.tls_faults import TlsFault


@dataclass
class _Counted:
    rule: Rule
    seen: int = 0

    def take(self) -> Fault | None:
        """The fault, if it is its turn; counts either way."""
        self.seen += 1
        first = self.rule.after
        within = self.rule.times is None or self.seen <= first + self.rule.times
        return self.rule.fault if self.seen > first and within else None


class FaultScript:
    """Used by tests and by the server's thread at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Counted] = []

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(_Counted(rule))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def for_request(self, path: str) -> tuple[Fault, ...]:
        """All that hold for this request of `path`, in order; counts it."""
        with self._lock:
            return _taken(entry for entry in self._rules if not _is_tls(entry) and entry.rule.path in (None, path))

    def for_connection(self) -> TlsFault | None:
        """The last one that holds for this handshake: there is one handshake only. Counts it."""
        with self._lock:
            taken = _taken(entry for entry in self._rules if _is_tls(entry))
        return next((fault for fault in reversed(taken) if isinstance(fault, TlsFault)), None)


def _is_tls(entry: _Counted) -> bool:
    return isinstance(entry.rule.fault, TlsFault)


def _taken(entries: Iterable[_Counted]) -> tuple[Fault, ...]:
    return tuple(fault for entry in entries if (fault := entry.take()) is not None)
