"""Golden vectors: gzipped JSON lines in which ESP-IDF's own C code, run on a RAM flash, says what it does.

A row is one start state and what was done from there: a boot or an app's calls, a walk of many, or an operation with a
power cut and the boots that follow. Everything read is checked; whatever does not fit raises FormatError with file and
line.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from rig.idf.config import BootConfig, FactoryReset, idf_family
from rig.idf.errors import FormatError
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.vector_images import image

VERSIONS = ("v4.4.8", "v5.1.7", "v5.5.5", "v6.0.2", "v6.1-beta1")
"""The releases that rows keyed by version speak for."""
_REFERENCE = "v5.5.5"
SLOT_SIZE = 0x3000
OTADATA_OFFSET = 0xD000

CONFIGS = {
    name + suffix: (name != "norb", name == "arb", suffix == "fr")
    for name in ("norb", "rb", "arb")
    for suffix in ("", "fr")
}
RESULTS = frozenset(("booted", "reset", "returned", "restart", "cut", "abort", "exception"))
GPIOS = frozenset(("factory", "test", "both", "factory_short", "test_short"))

_SLOT = r"(?:ota_\d+|factory|test|next|running)"
_SIZE = r"(?: (?:unknown|seq|\d+))?"
_PLAIN = (
    "boot|mark_valid|mark_invalid|mark_invalid_noreboot|erase_last_boot_app|invalidate_inactive|rollback_possible"
    "|last_invalid|get_boot|get_next|restart|poweroff"
)
_OPERATION = re.compile(
    rf"begin {_SLOT}{_SIZE}|update {_SLOT} \S+ [1-9]\d*{_SIZE}|(?:set_boot|get_state) {_SLOT}|{_PLAIN}"
)


class Out(NamedTuple):
    """What the C code did. `tried` and `booted` are of boots, `rc` of app calls; None: not said."""

    result: str
    booted: str | None
    tried: tuple[str, ...] | None
    rc: tuple[str, ...] | None
    otadata: tuple[bytes, bytes]
    slots: Mapping[str, str]
    efuse: int
    mut: tuple[tuple[Any, ...], ...]
    log: tuple[str, ...]
    gave_up: bool
    """The recorder stopped waiting: what it saw is only the beginning."""


class Step(NamedTuple):
    """Operations of one session, or a change from outside (`env`); `out` is None where nothing was recorded."""

    ops: tuple[str, ...]
    running: str | None
    cut_after: int | None
    torn: int | None
    gpio: str | None
    outs: Mapping[str, Out]
    env: Env | None
    name: str


class Env(NamedTuple):
    """Content changed from outside; None: left alone."""

    otadata: tuple[bytes, bytes] | None
    slots: Mapping[str, str]
    efuse: int | None


class Row(NamedTuple):
    """One line. `branches` start from the state after the first step of `steps`."""

    file: Path
    line: int
    cfg: str
    versions: tuple[str, ...]
    layout: str
    otadata: tuple[bytes, bytes]
    slots: Mapping[str, str]
    efuse: int
    steps: tuple[Step, ...]
    branches: tuple[tuple[Step, ...], ...]


def read_rows(path: Path) -> Iterator[Row]:
    """All rows of a file. Raises FormatError naming file and line for anything broken."""
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                yield parse_line(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        # gzip.BadGzipFile is an OSError
        raise FormatError(f"{path}: line {number + 1}: not a readable gzip file: {error}") from error
    if number == 0:
        raise FormatError(f"{path}: line 1: no rows")


def parse_line(path: Path, number: int, line: bytes) -> Row:
    """The row in one line. Raises FormatError naming file and line."""
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise FormatError("a row must be an object")
        return _parse_row(path, number, data)
    except FormatError as error:
        raise FormatError(f"{path}: line {number}: {error}") from error
    except KeyError as error:
        raise FormatError(f"{path}: line {number}: field {error} is missing") from error
    except RecursionError as error:
        raise FormatError(f"{path}: line {number}: nested too deep") from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(f"{path}: line {number}: {error}") from error


def _parse_row(path: Path, number: int, data: dict[str, Any]) -> Row:
    cfg = data["cfg"]
    if cfg not in CONFIGS:
        raise FormatError(f"configuration {cfg!r}; allowed: {', '.join(CONFIGS)}")
    state = data.get("init", data)
    layout = state["layout"]
    names = slot_names(layout)
    version = data.get("ver")
    if version is not None:
        idf_family(version)
    branches: list[tuple[Step, ...]] = []
    if "steps" in data:
        steps = [_step(step, version, names, f"step {index}") for index, step in enumerate(data["steps"])]
    else:
        steps = [_step(data, version, names, "")]
        for follower in ("next", "next2"):
            if follower in data:
                steps.append(_boot({"out": data[follower]}, version, names, follower))
        for index, cut in enumerate(data.get("next_cuts", ())):
            name = f"next_cuts {index}"
            branches.append(
                (
                    _boot(cut, version, names, name),
                    _boot({"out": cut["next"]}, version, names, f"{name}, next"),
                )
            )
    versions = (version,) if version is not None else _versions(steps)
    otadata, slots = _otadata(state["otadata"]), _slots(state["slots"], names)
    efuse = _count(state.get("efuse", 0), "efuse")
    return Row(path, number, cfg, versions, layout, otadata, slots, efuse, tuple(steps), tuple(branches))


def _versions(steps: list[Step]) -> tuple[str, ...]:
    found = dict.fromkeys(VERSIONS)
    for step in steps:
        found.update(dict.fromkeys(step.outs))
    for version in found:
        idf_family(version)
    return tuple(found)


def _boot(data: dict[str, Any], version: str | None, names: frozenset[str], name: str) -> Step:
    return _step({**data, "op": "boot"}, version, names, name)


def _step(data: dict[str, Any], version: str | None, names: frozenset[str], name: str) -> Step:
    if "env" in data:
        otadata = _otadata(data["otadata"]) if "otadata" in data else None
        efuse = _count(data["efuse"], "efuse") if "efuse" in data else None
        env = Env(otadata, _slots(data.get("slots", {}), names), efuse)
        return Step((), None, None, None, None, {}, env, f"{name} {data['env']}")
    ops = (data["op"],) if "op" in data else tuple(data["ops"])
    for op in ops:
        _check_operation(op)
    if "boot" in ops and len(ops) > 1:
        raise FormatError(f"a boot among the calls of an app: {', '.join(ops)}")
    gpio, running = data.get("gpio"), data.get("running")
    if gpio is not None and gpio not in GPIOS:
        raise FormatError(f"gpio {gpio!r}; allowed: {', '.join(sorted(GPIOS))}")
    if running is None and any(op not in ("boot", "restart", "poweroff") for op in ops):
        raise FormatError("field 'running' is missing")
    if running is not None and running not in names:
        raise FormatError(f"the app cannot run from {running!r}: the layout has no such slot")
    cut, torn = data.get("cut_after"), data.get("torn")
    outs: dict[str, Out] = {}
    if "out" in data or ops != ("poweroff",):
        outs = _outs(data["out"], version, names)
    label = f"{name}: {', '.join(ops)}" if name else ", ".join(ops)
    return Step(
        ops,
        running,
        None if cut is None else _count(cut, "cut_after"),
        None if torn is None else _count(torn, "torn"),
        gpio,
        outs,
        None,
        label,
    )


@lru_cache(maxsize=4096)
def _check_operation(op: str) -> None:
    if not _OPERATION.fullmatch(op):
        raise FormatError(f"unknown operation {op!r}")
    if op.startswith("update"):
        image(op.split()[2])


def _outs(data: dict[str, Any], version: str | None, names: frozenset[str]) -> dict[str, Out]:
    if "result" in data:
        return {version or _REFERENCE: _out(data, names)}
    if _REFERENCE not in data:
        raise FormatError(f"'out' has neither 'result' nor {_REFERENCE!r}")
    return {key: _out(out, names) for key, out in data.items()}


def _out(data: dict[str, Any], names: frozenset[str]) -> Out:
    result = data["result"]
    if result not in RESULTS:
        raise FormatError(f"result {result!r}; allowed: {', '.join(sorted(RESULTS))}")
    tried, rc = data.get("tried"), data.get("rc")
    if tried is None and rc is None:
        raise FormatError("field 'tried' or 'rc' is missing")
    log = data["log"]
    if not all(isinstance(line, str) for line in log):
        raise FormatError("a log line is no text")
    return Out(
        result,
        data.get("booted"),
        None if tried is None else tuple(tried),
        None if rc is None else tuple(rc),
        _otadata(data["otadata"]),
        _slots(data.get("slots", {}), names),
        _count(data["efuse"], "efuse"),
        tuple(_mutation(mutation) for mutation in data["mut"]),
        tuple(log),
        str(data.get("why", "")).startswith("hang"),
    )


def _mutation(data: list[Any]) -> tuple[Any, ...]:
    kind = data[0]
    length = 4 if kind in ("W", "W~") else 3
    if kind not in ("E", "E~", "W", "W~", "F", "F~") or len(data) != length:
        raise FormatError(f"unknown mutation {data!r}")
    if length == 4 and not isinstance(data[3], str):
        raise FormatError(f"unknown mutation {data!r}")
    _count(data[1], "mutation")
    _count(data[2], "mutation")
    return tuple(data)


def _otadata(data: list[str]) -> tuple[bytes, bytes]:
    if len(data) != 2:
        raise FormatError(f"otadata has two sectors, not {len(data)}")
    return _sector(data[0]), _sector(data[1])


@lru_cache(maxsize=65536)
def _sector(text: str) -> bytes:
    return bytes.fromhex(text)


def _slots(data: dict[str, str], names: frozenset[str]) -> dict[str, str]:
    for name, spec in data.items():
        if name not in names:
            raise FormatError(f"the layout has no slot {name!r}")
        image(spec)
    return data


def _count(value: object, name: str) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"{name} is {value!r}; a number from 0 is needed")
    return value


@lru_cache(maxsize=256)
def layout_table(layout: str) -> PartitionTable:
    """The partition table behind a name like `f2t`. Raises FormatError for a name that means none."""
    match = re.fullmatch(r"([nf])(\d{1,2})(t?)", layout)
    if match is None or int(match[2]) > 16:
        raise FormatError(f"layout {layout!r}; allowed: n or f, 0 to 16, and t or nothing")
    count = int(match[2])
    entries = [
        Partition("nvs", 1, 0x02, 0x9000, 0x4000),
        Partition("otadata", 1, 0x00, OTADATA_OFFSET, 0x2000),
        Partition("phy_init", 1, 0x01, 0xF000, 0x1000),
    ]
    if match[1] == "f":
        entries.append(Partition("factory", 0, 0x00, 0x10000, SLOT_SIZE))
    ota = 0x20000
    entries += [Partition(f"ota_{i}", 0, 0x10 + i, ota + 0x10000 * i, SLOT_SIZE) for i in range(count)]
    if match[3]:
        entries.append(Partition("test", 0, 0x20, ota + 0x10000 * count, SLOT_SIZE))
    return PartitionTable(tuple(entries))


@lru_cache(maxsize=256)
def slot_names(layout: str) -> frozenset[str]:
    """The app slots of a layout."""
    return frozenset(part.slot for part in layout_table(layout).entries if part.slot is not None)


@lru_cache(maxsize=256)
def boot_config(cfg: str, version: str) -> BootConfig:
    """The build that made a row: esp32 revision 3.0, 32-bit eFuse field."""
    rollback, anti_rollback, pins = CONFIGS[cfg]
    return BootConfig(
        idf_version=idf_family(version),
        chip="esp32",
        chip_revision=300,
        rollback=rollback,
        anti_rollback=anti_rollback,
        secure_version_bits=32,
        factory_reset=FactoryReset(("nvs",), True) if pins else None,
        test_app_pin=pins,
    )


def expected(step: Step, version: str) -> Out | None:
    """What the row says of this release: its own record, or the reference's where it has none."""
    return step.outs.get(version) or step.outs.get(_REFERENCE)
