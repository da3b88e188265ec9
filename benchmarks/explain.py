"""Speed and memory of `rig explain` on 100 MB, beside reading it line by line. Run: python benchmarks/explain.py"""

from __future__ import annotations

import gzip
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rig.fieldkit.explain import explain_file  # noqa: E402

LOG = ROOT / "tests" / "data" / "logs" / "qemu" / "rb_three_generations.log.gz"
CHATTER = b"I (%d) wifi: state: run, rssi -58, free heap 181234\n"
MB = 1_000_000
SIZE_MB = 100
SMALL_MB = 10


def write_log(path: Path, megabytes: int) -> None:
    """Boots of real firmware, and between them what apps say all day."""
    boots = gzip.decompress(LOG.read_bytes())
    talk = b"".join(CHATTER % number for number in range(8000))
    piece = boots + talk
    with path.open("wb") as file:
        for _ in range(megabytes * MB // len(piece)):
            file.write(piece)


def lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.log"), Path(folder, "large.log")
        write_log(small, SMALL_MB)
        write_log(large, SIZE_MB)
        explain_file(small)
        before = peak_mb()
        taken = timed(lambda: explain_file(large))
        print(f"explain, {SIZE_MB} MB: {taken:.1f} s, {SIZE_MB / taken:.0f} MB/s")
        print(f"peak memory: {peak_mb():.0f} MB, against {before:.0f} MB for {SMALL_MB} MB")
        print(f"ratio to reading it line by line: {taken / timed(lambda: lines(large)):.0f} times")


if __name__ == "__main__":
    main()
