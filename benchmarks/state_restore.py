"""Bringing a board back to a known state between tests, against flashing it whole.

Run: python -m benchmarks state_restore

One board: `rig serve`, another process, over RFC2217, with the rollback test app in 4 MiB of flash. Restoring compares
MD5 sums by region on the chip and writes only sectors that differ. Flashing whole is the same loader writing everything
that the state consists of, over the same port, and what one would do without the bench: `esptool write-flash` with the
port's URL, whose RFC2217 client is pyserial's own. The simulated UART has no baud rate, so real boards gain more.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import esptool.cmds

from rig.boards.board import Board, powered
from rig.boards.install import flash_content
from rig.boards.inventory import SerialBoardSection
from rig.boards.loader import LoaderFlash
from rig.boards.serial import open_board
from rig.boards.shelf import SynthesisedShelf

ROUNDS = 3
OTADATA = 0xD000
SECTOR = 0x1000


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def whole(board: Board, content: bytes) -> None:
    """Write everything by the loader that restores."""
    flash = board.flash
    assert isinstance(flash, LoaderFlash)
    flash._in_loader(lambda esp: esptool.cmds.write_flash(esp, [(0, content)], no_progress=True, force=True))


def whole_by_esptool(url: str, content: bytes, folder: Path) -> None:
    """The same by esptool's command."""
    image = folder / "flash.bin"
    image.write_bytes(content)
    subprocess.run(
        [sys.executable, "-m", "esptool", "--port", url, "--baud", "921600", "write-flash", "--force", "0", str(image)],
        check=True, capture_output=True,
    )  # fmt: skip


def measure(url: str, folder: Path) -> list[tuple[str, float]]:
    shelf = SynthesisedShelf(folder, "esp32c3", "v5.5")
    build, update = shelf.build("rollback", "1.0.0"), shelf.app("rollback", "2.0.0")
    wanted = flash_content(build, build, (b"", b""), {})
    updated = flash_content(build, build, (b"\x01" * 32, b"\x02" * 32), {"ota_1": update})
    section = SerialBoardSection(name="served", kind="serial", chip="esp32c3", firmware="synthesised", port=url)
    rows = []
    with powered(open_board(section)) as board:
        whole(board, wanted)
        otadata = {OTADATA: b"\x00" * (2 * SECTOR)}
        cases: list[tuple[str, Callable[[], object]]] = [
            ("restore, nothing differs", lambda: None),
            ("restore after boots (otadata differs)", lambda: board.flash.restore(otadata)),
            (f"restore after an update ({len(update) // 1024} KiB app)", lambda: board.flash.restore({0: updated})),
        ]
        for name, spoil in cases:
            best = float("inf")
            for _ in range(ROUNDS):
                spoil()
                best = min(best, seconds(lambda: board.flash.restore({0: wanted})))
            rows.append((name, best))
        rows.append((f"flash whole ({len(wanted) // 1024} KiB), same port", seconds(lambda: whole(board, wanted))))
    rows.append(("flash whole, esptool write-flash", seconds(lambda: whole_by_esptool(url, wanted, folder))))
    return rows


def main() -> None:
    """Print the table."""
    serve = subprocess.Popen(
        [sys.executable, "-m", "rig", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert serve.stdout is not None
        match = re.search(r"rfc2217://\S+", serve.stdout.readline())
        if match is None:
            raise SystemExit("rig serve did not start; is there a rig.toml here?")
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(match[0], Path(folder))
    finally:
        serve.terminate()
        serve.communicate()
    slowest = rows[-1][1]
    print(f"{'state of one board, over RFC2217':<46}{'s':>8}{'times as fast':>15}")
    for name, took in rows:
        print(f"{name:<46}{took:>8.2f}{slowest / took:>15.1f}")


if __name__ == "__main__":
    main()
