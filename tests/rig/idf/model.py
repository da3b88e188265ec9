"""A small device for the tests of the reference model: flash with the vectors' layouts, and an app on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from rig.idf import ota_ops as ota
from rig.idf.bootloader import NONE, BootResult, Pins, boot
from rig.idf.config import BootConfig, FactoryReset
from rig.idf.effects import Effect, Erase, Log, Steps
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ERASED, ImageState, SelectEntry, parse
from rig.idf.partitions import PartitionTable
from rig.idf.vector_images import image
from rig.idf.vectors import layout_table

T = TypeVar("T")

NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED = ImageState
NO_ROLLBACK = BootConfig()
ROLLBACK = BootConfig(rollback=True)
ANTI_ROLLBACK = BootConfig(rollback=True, anti_rollback=True)
PINS = replace(ROLLBACK, factory_reset=FactoryReset(("nvs",), True), test_app_pin=True)
OTADATA = (0xD000, 0xE000)
OTA_0, OTA_1 = 0x20000, 0x30000
IMAGE = image("ok:7:1")


def device(
    table: PartitionTable, first: SelectEntry = ERASED, second: SelectEntry = ERASED, efuse: int = 0, **specs: str
) -> FlashImage:
    """Flash of a device whose slots hold a good app unless said otherwise."""
    flash = FlashImage.erased(max(part.end for part in table.entries), efuse)
    for part in table.app_slots:
        flash.load(part.offset, image(specs.get(part.slot or "", "ok:1:1")))
    for offset, entry in zip(OTADATA, (first, second), strict=True):
        flash.load(offset, entry.pack())
    return flash


def states(flash: FlashImage) -> tuple[int, int]:
    first, second = (parse(flash.read(offset, 32)).state for offset in OTADATA)
    return first, second


def lines(effects: list[Effect]) -> list[str]:
    found = [effect for effect in effects if isinstance(effect, Log)]
    return [f"{line.level} {line.tag}: {line.text}" for line in found if line.tag != "esp_image" or line.level == "E"]


def mutations(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Log)]


def start(flash: FlashImage, layout: str, config: BootConfig, pins: Pins = NONE) -> tuple[BootResult, list[Effect]]:
    return complete(boot(flash, layout_table(layout), config, pins), flash)


class App:
    """An app on a device whose slots hold a good image unless said otherwise."""

    def __init__(
        self,
        layout: str | PartitionTable = "n2",
        first: SelectEntry = ERASED,
        second: SelectEntry = ERASED,
        *,
        config: BootConfig = ROLLBACK,
        running: str = "ota_0",
        efuse: int = 0,
        **specs: str,
    ) -> None:
        self.table = layout_table(layout) if isinstance(layout, str) else layout
        self.flash = device(self.table, first, second, efuse, **specs)
        self.ctx = ota.AppContext(self.flash, self.table, config, running)
        self.effects: list[Effect] = []

    def call(self, steps: Steps[T]) -> T:
        result, effects = complete(steps, self.flash)
        self.effects += effects
        return result

    @property
    def entries(self) -> list[SelectEntry]:
        return [parse(self.flash.read(offset, 32)) for offset in OTADATA]

    @property
    def mutations(self) -> list[Effect]:
        return [effect for effect in self.effects if not isinstance(effect, Log)]

    @property
    def lines(self) -> list[str]:
        found = [effect for effect in self.effects if isinstance(effect, Log)]
        return [f"{line.level} {line.text}" for line in found if line.tag == "esp_ota_ops"]

    def update(self, slot: str, data: bytes = IMAGE, size: int = ota.OTA_SIZE_UNKNOWN) -> str:
        error, handle = self.call(ota.esp_ota_begin(self.ctx, slot, size))
        if handle is None:
            return error
        for at in range(0, len(data), 256):
            error = self.call(ota.esp_ota_write(self.ctx, handle, data[at : at + 256]))
            if error != "ESP_OK":
                return error
        error = self.call(ota.esp_ota_end(self.ctx, handle))
        return error if error != "ESP_OK" else self.call(ota.esp_ota_set_boot_partition(self.ctx, slot))


def version(name: str, base: BootConfig = ROLLBACK) -> BootConfig:
    return replace(base, idf_version=name)


def erases(*offsets: int) -> list[Effect]:
    return [Erase(offset) for offset in offsets]
