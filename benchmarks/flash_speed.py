"""How fast the real esptool flashes a virtual chip in this process: `python benchmarks/flash_speed.py`.

Times are wall-clock seconds of a whole `esptool write-flash` of 1 MiB: connecting, loading, verifying, hard reset.
`random` cannot be compressed; `firmware` compresses to about half, as an app image does. Aim: under 2 s with the stub.
"""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
import time
from pathlib import Path

import esptool

from rig.virtual.chip import build_chip
from rig.virtual.cpu import Cpu
from rig.virtual.port import plugged

SIZE = 1024 * 1024
OFFSET = 0x10000
AIM_S = 2.0


def silent(cpu: Cpu) -> None:
    """A firmware that does nothing."""
    cpu.read()


def samples() -> dict[str, bytes]:
    """The two files."""
    source = random.Random(1)
    pages = (source.randbytes(128) + bytes(128) for _ in range(SIZE // 256))
    return {"random": source.randbytes(SIZE), "firmware": b"".join(pages)}


def flash(path: Path, *options: str) -> float:
    """Seconds for one run on a fresh chip."""
    chip = build_chip("benchmark", "esp32c3", silent)
    with plugged(chip) as url, contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        esptool.main(
            ["--port", url, "--baud", "921600", *options, "write-flash", "--no-progress", hex(OFFSET), str(path)]
        )
        seconds = time.perf_counter() - began
    if chip.flash.read(OFFSET, SIZE) != path.read_bytes():
        raise SystemExit("what is in flash is not what was sent")
    return seconds


def main() -> None:
    """Print the table."""
    print(f"{'1 MiB of':<10} {'stub':>8} {'--no-stub':>10} {'ratio':>6}   aim {AIM_S:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in samples().items():
            path = Path(folder) / f"{name}.bin"
            path.write_bytes(content)
            stub, rom = flash(path), flash(path, "--no-stub")
            verdict = "met" if stub < AIM_S else "MISSED"
            print(f"{name:<10} {stub:>6.2f} s {rom:>8.2f} s {rom / stub:>6.1f}   {verdict}")


if __name__ == "__main__":
    main()
