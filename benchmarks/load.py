"""The whole qualification spread over 1, 8 and 64 virtual boards: tests a minute, memory, and what the bench adds.

What the bench adds to a test is bounded by the processor time of the process that runs it, the simulated chip
included: a board's own time is waiting. Around the tests stand start, collection, history and report.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

BOARDS = (1, 8, 64)
BENCH = "[bench]\nname = 'load'\n[firmware]\nidf_version = 'v5.5'\n"
BOARD = "[[board]]\nname = 'v{:02}'\nkind = 'virtual'\nchip = 'esp32c3'\n"
LOOK_S = 1.0


class Run(NamedTuple):
    """`tests` results in `wall` seconds, `inside` of them between start and end of a test; `cpu` seconds of all cores.

    `memory`: MB at the most, each page counted once however many processes share it.
    """

    tests: int
    wall: float
    inside: float
    cpu: float
    memory: float


def qualify(boards: int) -> Run:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rig.toml").write_text(BENCH + "".join(map(BOARD.format, range(boards))), encoding="utf-8")
        command = [sys.executable, "-m", "rig", "qualify", "--config", str(folder / "rig.toml"), "--boards", "all"]
        before, begun = _cpu(), time.perf_counter()
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen([*command, "--json", "--no-open"], stdout=said, stderr=subprocess.DEVNULL)
            memory = _Peak(process)
            memory.start()
            process.wait()
        wall, cpu = time.perf_counter() - begun, _cpu() - before
        memory.join()
        results = json.loads((folder / "said").read_text(encoding="utf-8"))["results"]
    return Run(len(results), wall, sum(result["duration_s"] for result in results), cpu, memory.megabytes)


class _Peak(threading.Thread):
    """Looks at a process and all below it until it ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(name="memory", daemon=True)
        self.megabytes = 0.0
        self._process = process

    def run(self) -> None:
        while self._process.poll() is None:
            self.megabytes = max(self.megabytes, sum(map(_proportional_kib, _family(self._process.pid))) / 1024)
            time.sleep(LOOK_S)


def _family(pid: int) -> list[int]:
    rows = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    children: dict[int, list[int]] = {}
    for child, parent in zip(rows[::2], rows[1::2], strict=True):
        children.setdefault(int(parent), []).append(int(child))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def _proportional_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # it has just ended
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    runs = {boards: qualify(boards) for boards in BOARDS}
    one = runs[1]
    print(f"{one.tests} tests with their sweeps, `rig qualify --boards all`, {os.cpu_count()} cores")
    for boards, run in runs.items():
        print(
            f"{boards:3} virtual boards  {run.wall:6.1f} s  {run.tests / run.wall * 60:5.0f} tests a minute"
            f"  {one.wall / run.wall:4.1f} x  {run.memory:6,.0f} MB  {run.cpu:6.1f} s of a core"
        )
    many, further = runs[BOARDS[-1]], BOARDS[-1] - 1
    print(
        f"a further board costs {(many.cpu - one.cpu) / further:.1f} s of a core,"
        f" {(many.memory - one.memory) / further:.0f} MB"
    )
    print(
        f"a test on one board: {one.inside / one.tests:.2f} s; the bench and the simulated chip use"
        f" {one.cpu / one.tests:.2f} s of a core for it; around it {(one.wall - one.inside) / one.tests:.2f} s"
    )


if __name__ == "__main__":
    main()
