"""From the last byte of a trigger line to the call of the power switch: `python -m benchmarks cut_latency`.

The board is a process of its own at the far end of a pseudo terminal. It prints log lines all the time and notes when
it sends the last byte of the line that matters. Three ways to cut there: pytest-embedded as it comes (its serial
service, its log process, `dut.expect`, then `power.off()`); our console with everything it does (all bytes kept with
their times, a listener that writes them to a file, the test waiting in `expect`) and `Console.trigger`; and as the
floor a loop that does nothing but read the device.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_embedded.app import App
from pytest_embedded.dut_factory import _listener_gn
from pytest_embedded.log import MessageQueue, PexpectProcess
from pytest_embedded_serial.dut import SerialDut
from pytest_embedded_serial.serial import Serial

from rig.boards.console import Chunk, Console, open_quietly

TURNS, CUTS = 5, 100
AIM = 100
LINE = re.compile(rb"esp_image: segment 5")
TIMEOUT_S = 10.0
BOARD = r"""
import os, random, sys, time
line, chance = int(sys.argv[1]), random.Random(1)
for _ in sys.stdin:
    for number in range(chance.randrange(4, 16)):
        os.write(line, b"I (%d) app: still working, nothing to see in line %d\r\n" % (number * 31, number))
        time.sleep(chance.uniform(0.0005, 0.004))
    os.write(line, b"I (512) esp_image: segment 5: paddr=00150018 vaddr=3c020020\r")
    time.sleep(0.002)
    at = time.monotonic()
    os.write(line, b"\n")
    print(at, flush=True)
"""
OneCut = Callable[["Board", "Power"], None]


class Power:
    """A power switch that only notes when it was called, by the host's monotonic clock."""

    def __init__(self) -> None:
        self.called = 0.0

    def off(self) -> None:
        self.called = time.monotonic()


class Board:
    """The process at the far end of the line; `path` is the near end."""

    def __init__(self, far: int, path: str) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-c", BOARD, str(far)],
            pass_fds=[far], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def start(self) -> None:
        """Let it print up to the line that matters."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")

    def sent(self) -> float:
        """When it sent the last byte of that line."""
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def attached_board() -> Iterator[Board]:
    far, near = os.openpty()
    board = Board(far, os.ttyname(near))
    try:
        yield board
    finally:
        board.close()
        os.close(far)
        os.close(near)


@contextmanager
def by_dut_expect(board: Board) -> Iterator[OneCut]:
    with tempfile.TemporaryDirectory() as folder, _without_stdout():
        log = Path(folder) / "dut.log"
        log.touch()
        messages = MessageQueue()
        listener = _listener_gn(messages, str(log), True, 0, 1)
        listener.start()
        serial = Serial(msg_queue=messages, port=board.path)
        with log.open("rb") as source:
            dut = SerialDut(
                serial=serial, pexpect_proc=PexpectProcess(source), msg_queue=messages, app=App(),
                pexpect_logfile=str(log), test_case_name="cut_latency",
            )  # fmt: skip

            def cut(board: Board, power: Power) -> None:
                board.start()
                dut.expect(LINE.pattern + rb"[^\n]*\n", timeout=TIMEOUT_S)
                power.off()

            yield cut
            serial.close()
            listener.terminate()
            listener.join()


@contextmanager
def by_trigger(board: Board) -> Iterator[OneCut]:
    console = Console("board", lambda: open_quietly(board.path))
    console.open()
    with tempfile.TemporaryFile(buffering=0) as log:

        def keep(chunk: Chunk) -> None:
            log.write(chunk.data)

        console.subscribe(keep)

        def cut(board: Board, power: Power) -> None:
            with console.trigger(LINE, power.off) as trigger:
                board.start()
                if console.expect(LINE, TIMEOUT_S) is None or not trigger.wait(TIMEOUT_S):
                    raise SystemExit("the line never came")

        yield cut
        console.close()


@contextmanager
def by_bare_read(board: Board) -> Iterator[OneCut]:
    with open_quietly(board.path) as port:

        def cut(board: Board, power: Power) -> None:
            board.start()
            text = b""
            while LINE.search(text) is None or not text.endswith(b"\n"):
                text = (text + port.read(1) + port.read(port.in_waiting))[-200:]
            power.off()

        yield cut


@contextmanager
def _without_stdout() -> Iterator[None]:
    """pytest-embedded's log process prints everything it gets."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def latencies(way: Callable[[Board], object], cuts: int) -> list[float]:
    """Seconds from the last byte to the call."""
    found, power = [], Power()
    with attached_board() as board, way(board) as cut:  # type: ignore[attr-defined]
        for _ in range(cuts):
            cut(board, power)
            found.append(power.called - board.sent())
    return found


def share(found: list[float], part: float) -> float:
    """Milliseconds within which that part of the cuts was."""
    return sorted(found)[min(len(found) - 1, int(len(found) * part))] * 1000


def main() -> None:
    """Print the table. The ways take turns, so that what else runs on the machine meets all of them."""
    ways = {"dut.expect": by_dut_expect, "Console.trigger": by_trigger, "bare read": by_bare_read}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            found[name] += latencies(way, CUTS)
    print(f"{TURNS * CUTS} cuts, ms{'median':>20}{'90 %':>10}{'99 %':>10}{'worst':>10}{'99 %, ratio':>14}")
    slowest = share(found["dut.expect"], 0.99)
    for name, seconds in found.items():
        columns = [share(seconds, part) for part in (0.5, 0.9, 0.99, 1.0)]
        print(f"{name:<20}" + "".join(f"{value:>10.3f}" for value in columns) + f"{slowest / columns[2]:>14.0f}")
    print(f"aim: Console.trigger {AIM} times as fast as dut.expect at the 99th percentile")


if __name__ == "__main__":
    main()
