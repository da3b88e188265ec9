"""Boots a minute of unmodified firmware on QEMU, and how fast an update by UART is beside the line rate.

Run: RIG_TEST_BUILDS=builds python -m benchmarks qemu_boots

RIG_TEST_BUILDS names the folder that `rig build --target esp32c3 --variant rollback` filled; without it or without QEMU
only the virtual board is measured. A boot counts from power-on to the app's first words. The line rate is 11,520 bytes
a second (115,200 baud, 10 bits a byte); a board whose clock runs ahead of ours, or has none, can be faster than it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rig.boards import kinds
from rig.boards.board import powered
from rig.boards.inventory import BoardSection, QemuBoardSection, VirtualBoardSection
from rig.boards.shelf import BuiltShelf, FirmwareShelf, SynthesisedShelf
from rig.emulator.find import find_qemu
from rig.errors import UserError
from rig.evidence.trial import Trial

BOOTS = 20
LINE_RATE = 11_520


def boards(scratch: Path) -> Iterator[tuple[str, BoardSection, FirmwareShelf]]:
    """What there is to measure."""
    chip = "esp32c3"
    virtual = VirtualBoardSection(name="bench-real", kind="virtual", chip=chip, time_scale=1.0)
    yield "virtual board, real time", virtual, SynthesisedShelf(scratch / "virtual", chip, "v5.1")
    fast = VirtualBoardSection(name="bench-fast", kind="virtual", chip=chip)
    yield "virtual board, 20 times", fast, SynthesisedShelf(scratch / "virtual", chip, "v5.1")
    builds = os.environ.get("RIG_TEST_BUILDS")
    try:
        find_qemu(chip, None)
    except UserError as error:
        print(f"QEMU is not measured: {error.what}")
        return
    if builds is None:
        print("QEMU is not measured: RIG_TEST_BUILDS names no folder of builds")
        return
    for clock in ("instructions", "real"):
        section = QemuBoardSection.model_validate(
            {"name": f"bench-{clock}", "kind": "qemu", "chip": chip, "clock": clock}
        )
        yield f"QEMU, clock {clock}", section, BuiltShelf(Path(builds), chip, scratch / "other")


def measure(section: BoardSection, shelf: FirmwareShelf, folder: Path) -> tuple[float, int, float]:
    """Boots a minute, bytes of the image, and seconds for its update."""
    with powered(kinds.open_board(section)) as board:
        trial = Trial(board, shelf, folder)
        trial.install("rollback")
        trial.boot()
        began = time.perf_counter()
        for _ in range(BOOTS):
            trial.power_cycle()
        a_minute = 60 * BOOTS / (time.perf_counter() - began)
        image = shelf.app("rollback", "2.0.0")
        _ = trial.agent
        began = time.perf_counter()
        trial.update("2.0.0")
        return a_minute, len(image), time.perf_counter() - began


def main() -> None:
    """Print the table."""
    print(f"{'':<26} {'boots/min':>10} {'image':>8} {'update':>8} {'bytes/s':>9} {'of line rate':>13}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (what, section, shelf) in enumerate(boards(folder)):
            a_minute, size, seconds = measure(section, shelf, folder / f"evidence{number}")
            rate = size / seconds
            print(f"{what:<26} {a_minute:>10.0f} {size:>8} {seconds:>6.1f} s {rate:>9.0f} {rate / LINE_RATE:>12.0%}")


if __name__ == "__main__":
    main()
