"""Speed of the log parser on one core, beside a naive baseline. Run: python benchmarks/log_parsing.py"""

from __future__ import annotations

import gzip
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rig.evidence.logparse import LogParser, parse  # noqa: E402
from rig.evidence.patterns import RULES  # noqa: E402
from rig.evidence.plain import PLAIN  # noqa: E402

LOGS = ROOT / "tests" / "data" / "logs" / "qemu"
SIZE_MB = 8
REPEATS = 5
AIM_MB_S = 20
CHUNK = 4096

ANSI = re.compile(rb"\x1b\[[0-9;]*m")
HEADER = re.compile(rb"(?:([EWIDV]) )?(?:\(([^()]+)\) +)?([A-Za-z_][\w.\-]*): ?(.*)")
TAGGED = {tag: list({rule for rules in by_word.values() for rule in rules}) for tag, by_word in RULES.items()}


def naive(data: bytes) -> int:
    """What one would write first, for the same lines: split, strip colours, try every expression of the tag."""
    found = 0
    for line in data.split(b"\n"):
        text = ANSI.sub(b"", line).strip()
        header = HEADER.match(text)
        if header is None:
            found += any(match(text) for rules in PLAIN.values() for match, _ in rules)
        else:
            found += any(rule.match(header[4]) for rule in TAGGED.get(header[3], ()))
    return found


def whole(data: bytes) -> int:
    return len(parse(data))


def chunked(data: bytes) -> int:
    parser = LogParser()
    found = sum(len(parser.feed(data[start : start + CHUNK])) for start in range(0, len(data), CHUNK))
    return found + len(parser.finish())


def timestamped(data: bytes) -> bytes:
    return b"\n".join(b"13:27:59.686 -> " + line for line in data.split(b"\n"))


def log_of(names: str, size: int) -> bytes:
    one = b"".join(gzip.decompress(path.read_bytes()) for path in sorted(LOGS.glob(names)))
    return one * max(1, size // len(one))


def best(run: Callable[[bytes], int], data: bytes, repeats: int = REPEATS) -> tuple[float, int]:
    """MB/s of the fastest of some runs, in processor time, and what was found."""
    fastest, found = float("inf"), 0
    for _ in range(repeats):
        start = time.process_time()
        found = run(data)
        fastest = min(fastest, time.process_time() - start)
    return len(data) / fastest / 1e6, found


def main() -> None:
    """Print the table."""
    mixed = log_of("*.log.gz", SIZE_MB * 1_000_000)
    base, found = best(naive, mixed, 1)
    print(f"{'log':<34}{'MB':>6}{'events':>10}{'MB/s':>8}{'ratio':>8}")
    print(f"{'naive baseline, all logs':<34}{len(mixed) / 1e6:>6.1f}{found:>10}{base:>8.1f}{1:>8.1f}")
    rows: list[tuple[str, Callable[[bytes], int], bytes]] = [
        ("all logs", whole, mixed),
        (f"all logs in chunks of {CHUNK} bytes", chunked, mixed),
        ("INFO bootloader only", whole, log_of("rb_*.log.gz", SIZE_MB * 1_000_000)),
        ("DEBUG bootloader only", whole, log_of("dbg_*.log.gz", SIZE_MB * 1_000_000)),
        ("every line with a host time stamp", whole, timestamped(log_of("rb_*.log.gz", 2_000_000))),
    ]
    for name, run, data in rows:
        speed, found = best(run, data)
        print(f"{name:<34}{len(data) / 1e6:>6.1f}{found:>10}{speed:>8.1f}{speed / base:>8.1f}")
    print(f"aim: {AIM_MB_S} MB/s on one core")


if __name__ == "__main__":
    main()
