"""The release gate on one build, against the previous one: `python -m benchmarks gate`.

The app has 1.5 MiB, in slots of 1.9 MiB. `command` is the whole `rig gate --json`, with the start of Python; beside it
what `esptool image-info` takes for the app alone. The fastest of several runs counts, once by the clock and once by
processor time, which other work on the machine changes less. Aim: under 1 s.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import espsecure

from rig.gate import catalogue
from rig.gate.pieces import load_pieces
from rig.gate.release import Release
from rig.idf.image import build_image
from rig.virtual.builds import make_build

SIZE = 1536 * 1024
REPEATS = 3
AIM_S = 1.0
SIGNED = '"SECURE_SIGNED_APPS_NO_SECURE_BOOT": true, "SECURE_SIGNED_APPS_RSA_SCHEME": true, '


def release(folder: Path, version: str) -> Path:
    """A build with a large app."""
    build = make_build(folder, variant="network", chip="esp32c3", version=version)
    code = random.Random(version).randbytes(SIZE)
    (build / "rig_test_app.bin").write_bytes(build_image(chip="esp32c3", version=version, segments=[("irom", code)]))
    return build


def sign(build: Path, key: Path) -> None:
    """Turn it into a build that demands signatures and has one."""
    config = build / "config" / "sdkconfig.json"
    config.write_text("{" + SIGNED + config.read_text().lstrip()[1:])
    app = build / "rig_test_app.bin"
    signed = build / "signed.bin"
    with key.open("rb") as private, app.open("rb") as image, contextlib.redirect_stdout(io.StringIO()):
        espsecure.sign_data("2", [private], str(signed), False, False, None, [], [], image)
    signed.replace(app)


def in_process(new: Path, old: Path) -> None:
    catalogue.run(Release(load_pieces(new), load_pieces(old)))


def command(new: Path, old: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rig", "gate", str(new), "--previous", str(old), "--json"], capture_output=True
    )
    # the network variant allows plain HTTP, so 1
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode())


def image_info(new: Path, _: Path) -> None:
    app = str(new / "rig_test_app.bin")
    subprocess.run([sys.executable, "-m", "esptool", "image-info", app], capture_output=True, check=True)


class Taken(NamedTuple):
    """Seconds by the clock and of the processor."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:.2f} / {self.processor:.2f} s"


def fastest(run: Callable[[Path, Path], None], new: Path, old: Path) -> Taken:
    clock, processor = [], []
    for _ in range(REPEATS):
        began, used = time.perf_counter(), used_so_far()
        run(new, old)
        clock.append(time.perf_counter() - began)
        processor.append(used_so_far() - used)
    return Taken(min(clock), min(processor))


def used_so_far() -> float:
    """Processor seconds of this process and the programs it has run."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Print the table."""
    print(f"{len(catalogue.CHECKS)} checks, app of {SIZE // 1024} KiB; clock / processor   aim {AIM_S:.1f} s")
    print(f"{'build':<8} {'in process':>16} {'command':>16} {'image-info':>16} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key.pem"
        with contextlib.redirect_stdout(io.StringIO()):
            espsecure.generate_signing_key("2", "rsa3072", str(key))
        new, old = release(Path(folder) / "new", "2.0.0"), release(Path(folder) / "old", "1.0.0")
        for name in ("plain", "signed"):
            if name == "signed":
                sign(new, key)
                sign(old, key)
            inner, whole, info = (fastest(run, new, old) for run in (in_process, command, image_info))
            verdict = "met" if whole.clock < AIM_S else "MISSED"
            ratio = whole.processor / info.processor
            print(f"{name:<8} {inner!s:>16} {whole!s:>16} {info!s:>16} {ratio:>6.1f}   {verdict}")


if __name__ == "__main__":
    main()
