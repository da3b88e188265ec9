"""The sweep of every power cut of an update of unmodified firmware on QEMU, against booting each of its crash images.

Run: RIG_TEST_BUILDS=builds python -m benchmarks crash_qemu

RIG_TEST_BUILDS names the folder that `rig build --target esp32c3 --variant rollback` filled. Booting each image takes
half an hour or more, so its rate is measured on a sample in the same run; `rig crash sweep --boot-all` does all.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.boards import kinds
from rig.boards.board import powered
from rig.boards.inventory import QemuBoardSection
from rig.boards.shelf import BuiltShelf
from rig.crash import record, scenarios
from rig.crash.images import CrashImages
from rig.crash.journal import Journal
from rig.crash.recording import Recording
from rig.crash.sweep import Bench, sweep
from rig.emulator.find import find_qemu
from rig.errors import UserError
from rig.evidence.trial import Trial
from rig.idf.watched import WatchedFlash

SAMPLE = 60
AIM_S = 60
SECTION = QemuBoardSection.model_validate({"name": "benchmark", "kind": "qemu", "chip": "esp32c3"})


def recorded(builds: Path, folder: Path) -> Recording:
    with powered(kinds.open_board(SECTION)) as board:
        return record.record(
            scenarios.find("update-ok"), Trial(board, BuiltShelf(builds, SECTION.chip, folder), folder)
        )


def boots_per_second(recording: Recording, at_once: int) -> float:
    """Of crash images, each booted once."""
    images = CrashImages.of(recording)
    points = list(images.points())[:: max(1, len(images) // SAMPLE)]
    shares = [[WatchedFlash.of(images.build(point)) for point in points[n::at_once]] for n in range(at_once)]

    def boot(share: list[WatchedFlash]) -> None:
        booter = kinds.image_booter(SECTION, recording.table)
        try:
            for flash in share:
                booter.boot(flash)
        finally:
            booter.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(boot, shares))
    return len(points) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    builds = os.environ.get("RIG_TEST_BUILDS")
    try:
        find_qemu(SECTION.chip, None)
    except UserError as error:
        print(f"QEMU is not measured: {error.what}")
        return
    if builds is None:
        print("QEMU is not measured: RIG_TEST_BUILDS names no folder of builds")
        return
    at_once = kinds.booters_at_once(SECTION)
    with tempfile.TemporaryDirectory() as name:
        recording = recorded(Path(builds), Path(name))
        rate = boots_per_second(recording, at_once)
        bench = Bench(SECTION.name, "qemu", lambda: kinds.image_booter(SECTION, recording.table), at_once)
        began = time.perf_counter()
        swept = sweep(recording, bench, Journal(Path(name) / "journal", recording, "benchmark"))
        spent = time.perf_counter() - began
    head = f"{len(recording.mutations):,} mutations, {at_once} at once"
    print(f"{head:<46} {'images':>8} {'booted':>7} {'time':>10}")
    whole = swept.images / rate
    print(f"{'each image booted, from the rate of a sample':<46} {swept.images:>8,} {'all':>7} {whole:>8.0f} s")
    print(f"{'covered by what was read':<46} {swept.images:>8,} {swept.booted:>7} {spent:>8.1f} s")
    print(f"{'aim':<46} {'':>8} {'':>7} {AIM_S:>8} s")
    print(f"{rate:.1f} boots a second; {whole / spent:.0f} times as fast with the read set")


if __name__ == "__main__":
    main()
