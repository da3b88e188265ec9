"""Bootloader decisions per second on one core, against the same decisions with nothing remembered about images.

Each decision puts one of many pairs of otadata entries into flash and runs a whole boot: selection, its writes, image
checks, log lines. Run: python -m benchmarks bootloader_decisions
"""

from __future__ import annotations

import time
from itertools import product

from rig.idf.bootloader import boot
from rig.idf.config import BootConfig
from rig.idf.image import build_image
from rig.idf.memory import FlashImage, Verdict, complete
from rig.idf.otadata import ERASED, ImageState, make_entry
from rig.idf.partitions import PartitionTable

SECONDS = 1.5
AIM = 50_000
SLOT_SIZE = 0x100000
IMAGE_SIZE = 0x30000
TABLE = """
nvs,      data, nvs,   0x9000,   0x4000
otadata,  data, ota,   0xd000,   0x2000
phy_init, data, phy,   0xf000,   0x1000
ota_0,    app,  ota_0, 0x10000,  0x100000
ota_1,    app,  ota_1, 0x110000, 0x100000
"""


class ForgetfulFlash(FlashImage):
    """Flash that verifies every image anew."""

    def verdict(self, offset: int, size: int, config: BootConfig) -> Verdict:
        return self._fresh_verdict(self, offset, size, config)


def device(kind: type[FlashImage], table: PartitionTable) -> FlashImage:
    flash = kind.erased(0x400000)
    for index, part in enumerate(table.app_slots):
        code = bytes(IMAGE_SIZE)
        flash.load(part.offset, build_image(chip="esp32c3", version=f"1.{index}", segments=[("irom", code)]))
    return flash


def entry_pairs() -> list[tuple[bytes, bytes]]:
    """Every pair of seven states and four sequence numbers, a broken and an erased entry."""
    states = [*ImageState, 0x55]
    entries = [make_entry(seq, state).pack() for seq in range(1, 5) for state in states]
    entries += [make_entry(1, ImageState.VALID)._replace(crc=0).pack(), ERASED.pack()]
    return list(product(entries, entries))


def decisions_per_second(flash: FlashImage, table: PartitionTable, config: BootConfig) -> float:
    pairs = entry_pairs()
    load = flash.load
    for first, second in pairs[:3]:  # images are verified once before the clock starts
        load(0xD000, first)
        load(0xE000, second)
        complete(boot(flash, table, config), flash)
    done = 0
    start = time.perf_counter()
    while True:
        for first, second in pairs:
            load(0xD000, first)
            load(0xE000, second)
            complete(boot(flash, table, config), flash)
            done += 1
            if done % 16 == 0:
                spent = time.perf_counter() - start
                if spent > SECONDS:
                    return done / spent


def main() -> None:
    table = PartitionTable.from_csv(TABLE)
    builds = {
        "no rollback": BootConfig(chip="esp32c3", chip_revision=4),
        "rollback": BootConfig(chip="esp32c3", chip_revision=4, rollback=True),
        "anti-rollback": BootConfig(chip="esp32c3", chip_revision=4, rollback=True, anti_rollback=True),
    }
    baseline = decisions_per_second(device(ForgetfulFlash, table), table, builds["rollback"])
    print(f"{'bootloader decisions (2 slots, 192 KiB apps)':<46}{'per second':>12}{'ratio':>9}")
    print(f"{'rollback, every image verified at every boot':<46}{baseline:>12,.0f}{1:>9.1f}")
    for name, config in builds.items():
        rate = decisions_per_second(device(FlashImage, table), table, config)
        print(f"{name:<46}{rate:>12,.0f}{rate / baseline:>9.1f}")
    print(f"{'aim':<46}{AIM:>12,}")


if __name__ == "__main__":
    main()
