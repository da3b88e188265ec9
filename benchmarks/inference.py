"""The search for what explains a log, beside reading it. Run: python benchmarks/inference.py"""

from __future__ import annotations

import gzip
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rig.fieldkit.infer.beginnings import beginnings  # noqa: E402
from rig.fieldkit.infer.explanations import configurations  # noqa: E402
from rig.fieldkit.infer.layout import layouts  # noqa: E402
from rig.fieldkit.infer.search import ways  # noqa: E402
from rig.fieldkit.infer.sighting import sightings  # noqa: E402
from rig.fieldkit.infer.world import World  # noqa: E402
from rig.fieldkit.log_case import Case  # noqa: E402
from rig.fieldkit.log_reading import read_log  # noqa: E402

LOG = ROOT / "tests" / "data" / "logs" / "qemu" / "rb_three_generations.log.gz"


def main() -> None:
    raw = gzip.decompress(LOG.read_bytes()).replace(b"ESP-IDF", b"ESP-ABC")  # no version: all of them are tried
    began = time.perf_counter()
    case = Case(read_log([raw]))
    seen = sightings(case)
    read = time.perf_counter() - began
    began = time.perf_counter()
    worlds = [World(layout, *pair) for layout in layouts(case.boots, seen) for pair in configurations(case)]
    found = sum(len(ways(world, seen)) for world in worlds)
    searched = time.perf_counter() - began
    states = sum(1 for _ in beginnings(seen, 2, rollback=True))
    print(f"{states} beginnings in {len(worlds)} worlds, {len(seen)} boots: {found} explain the log")
    print(f"searched in {searched:.2f} s, {searched / read:.1f} times the reading of the log")


if __name__ == "__main__":
    main()
