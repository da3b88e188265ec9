"""Crash points explored per second on the virtual board, one core, an update of 256 KiB; against booting each image.

Run: python -m benchmarks crash_points
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import ImageBooter
from rig.boards.install import flash_content
from rig.boards.virtual_images import VirtualBooter
from rig.crash.chain import otadata_offset
from rig.crash.explore import Lab
from rig.crash.images import CrashImages
from rig.crash.journal import Journal
from rig.crash.recording import Header, Recording
from rig.crash.repeat import Repeater
from rig.crash.sweep import Bench, model_of, new_image, sweep
from rig.idf import ota_ops
from rig.idf.effects import Effect, Mutation, Program
from rig.idf.image_build import build_image
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ImageState, make_entry
from rig.idf.watched import WatchedFlash
from rig.virtual.builds import make_build
from rig.virtual.firmware import VirtualFirmware

IMAGE_SIZE = 256 * 1024
CHUNK = 4096
PAGE = 256
BOOTED_ONE_BY_ONE = 60
AIM = 2_000


def app(version: str) -> bytes:
    code = random.Random(version).randbytes(IMAGE_SIZE - 0x400)
    return build_image(chip="esp32c3", version=version, segments=[("irom", code)])


def update_recording(folder: Path) -> Recording:
    """An update from the first erase to the confirmed boot, as the virtual board makes it."""
    build = FirmwareBuild.load(make_build(folder, variant="rollback", chip="esp32c3", version="1.0.0"))
    running = make_entry(1, ImageState.VALID).pack()
    base = flash_content(build, build, (running, b""), {"ota_0": app("1.0.0")})
    flash = FlashImage(base)
    made: list[Mutation] = []
    context = ota_ops.AppContext(flash, build.table, build.boot_config, "ota_0")
    image = app("2.0.0")

    def do(steps: object) -> object:
        result, effects = complete(steps, flash)  # type: ignore[arg-type,var-annotated]
        made.extend(pages(effects))
        return result

    _, handle = do(ota_ops.esp_ota_begin(context, "ota_1", len(image)))  # type: ignore[misc]
    for start in range(0, len(image), CHUNK):
        do(ota_ops.esp_ota_write(context, handle, image[start : start + CHUNK]))
    do(ota_ops.esp_ota_end(context, handle))
    do(ota_ops.esp_ota_set_boot_partition(context, "ota_1"))
    made += VirtualBooter(VirtualFirmware(), build.table).boot(WatchedFlash.of(flash)).mutations
    header = Header(
        scenario="update-ok",
        board="benchmark",
        kind="virtual",
        chip="esp32c3",
        variant="rollback",
        idf_version=build.boot_config.idf_version,
        diagnostics="pass",
        flash_size=build.flash_size,
        base_sha256=sha256(base).hexdigest(),
        boot_config=build.boot_config.to_json(),
        app_idf_version=build.idf_version,
    )
    return Recording(header, base, tuple(made))


def pages(effects: list[Effect]) -> Iterator[Mutation]:
    """As the flash sees them: a write is cut into page programs."""
    for effect in effects:
        if isinstance(effect, Program):
            for start in range(0, len(effect.data), PAGE):
                yield Program(effect.offset + start, effect.data[start : start + PAGE])
        elif isinstance(effect, Mutation):
            yield effect


def booter(recording: Recording) -> ImageBooter:
    return VirtualBooter(VirtualFirmware(), recording.table)


def one_by_one(recording: Recording) -> float:
    """Images booted per second when each is."""
    model, otadata = model_of(recording), otadata_offset(recording.table)
    lab = Lab(booter(recording), model, Repeater(model, new_image(recording), otadata), otadata)
    images = CrashImages.of(recording)
    points = list(images.points())[:: len(images) // BOOTED_ONE_BY_ONE]
    built = [images.build(point) for point in points]
    start = time.perf_counter()
    for image in built:
        lab.boot(image)
    return len(built) / (time.perf_counter() - start)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        recording = update_recording(Path(folder) / "build")
        baseline = one_by_one(recording)
        size = f"update of {IMAGE_SIZE // 1024} KiB, {len(recording.mutations):,} mutations"
        print(f"{size:<46}{'points':>9}{'booted':>8}{'share':>8}{'per second':>12}{'ratio':>7}{'peak MB':>9}")
        every = f"{'every image booted (a sample)':<46}{'':>9}{'':>8}{1:>8.1%}{baseline:>12,.0f}{1:>7.1f}"
        print(f"{every}{megabytes():>9.0f}")
        for depth, what in ((1, "covered by what was read"), (2, "and second cuts")):
            bench = Bench("benchmark", "virtual", lambda: booter(recording))
            start = time.perf_counter()
            swept = sweep(recording, bench, Journal(Path(folder) / "journal", recording, "benchmark"), depth=depth)
            rate = (points := swept.images + swept.nested_images) / (time.perf_counter() - start)
            share = swept.booted / points
            ratio = rate / baseline
            print(
                f"{what:<46}{points:>9,}{swept.booted:>8,}{share:>8.1%}{rate:>12,.0f}{ratio:>7.1f}{megabytes():>9.0f}"
            )
        print(f"{'aim':<46}{'':>9}{'':>8}{'':>8}{AIM:>12,}")


if __name__ == "__main__":
    main()
