"""How long the whole qualification takes on the virtual bench, one board against two a core."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rig import qualify

AIM_S = 60.0


def timed(jobs: int) -> tuple[float, int]:
    """Seconds and number of tests."""
    config = Path("rig.toml").resolve()
    with tempfile.TemporaryDirectory() as folder:
        plan = qualify.Plan(config, qualify.find_tests(config), Path(folder) / "run", "virtual-c3", jobs)
        began = time.perf_counter()
        finished = sum(isinstance(event, qualify.Finished) for event in qualify.run(plan))
        return time.perf_counter() - began, finished


def main() -> None:
    boards = 2 * (os.cpu_count() or 1)
    one, tests = timed(1)
    many, _ = timed(boards)
    print(f"{tests} tests, one virtual board  {one:6.1f} s")
    print(f"{tests} tests, {boards} virtual boards   {many:6.1f} s   {one / many:.1f} times as fast, aim {AIM_S:.0f} s")


if __name__ == "__main__":
    main()
