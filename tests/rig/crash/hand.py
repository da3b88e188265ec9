"""Devices and recordings made by hand: images of half a kilobyte, slots of 64 KiB, and no chip that has to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256

from hypothesis import HealthCheck, settings

from rig.boards.virtual_images import VirtualBooter
from rig.crash.model import ModelBooter
from rig.crash.recording import Header, Recording
from rig.idf import ota_ops
from rig.idf.config import BootConfig
from rig.idf.effects import Effect, Erase, Mutation, Program, Steps
from rig.idf.image import build_bootloader, build_image
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ImageState, make_entry
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from rig.virtual.cpu import ResetReason
from rig.virtual.diagnostics import Diagnostics
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.nvs import Nvs
from rig.virtual.quick import QuickCpu

NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED = ImageState
CHIP = "esp32c3"
NVS, NVS_SIZE, OTADATA, SECTOR = 0x9000, 0x4000, 0xD000, 0x1000
ENTRY_0, ENTRY_1 = OTADATA, OTADATA + SECTOR
FLASH_SIZE = 0x400000
ERASED = b"\xff" * 32
CONFIG = BootConfig(idf_version="v5.5", chip=CHIP, chip_revision=4, rollback=True)
ANTI_ROLLBACK = replace(CONFIG, anti_rollback=True)
_ROWS = f"nvs,data,nvs,{NVS},{NVS_SIZE}\notadata,data,ota,{OTADATA},0x2000\n"


def examples(count: int) -> settings:
    """So many examples, however slow the machine is just now."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@cache
def table(*slots: str) -> PartitionTable:
    """nvs, otadata, and these slots of 64 KiB each from 0x10000 on."""
    rows = (f"{slot},app,{slot},{0x10000 * number},0x10000\n" for number, slot in enumerate(slots, 1))
    return PartitionTable.from_csv(_ROWS + "".join(rows))


TWO = table("ota_0", "ota_1")
WITH_FACTORY = table("factory", "ota_0", "ota_1")


def entry(seq: int, state: int) -> bytes:
    """The 32 bytes of a select entry with a good CRC."""
    return make_entry(seq, state).pack()


@cache
def app(version: str, secure_version: int = 0, idf: str = "v5.5") -> bytes:
    """A test app of about half a kilobyte."""
    return build_image(chip=CHIP, version=version, secure_version=secure_version, idf_version=idf)


@cache
def _bootloader() -> bytes:
    return build_bootloader(chip=CHIP)


def corrupt(image: bytes) -> bytes:
    """The image with one bit of its code flipped: it does not verify, its descriptor stays readable."""
    return image[:-60] + bytes([image[-60] ^ 0x01]) + image[-59:]


def device(
    entries: tuple[bytes, bytes] = (b"", b""),
    *,
    layout: PartitionTable = TWO,
    slots: Mapping[str, bytes] | None = None,
    burnt: int = 0,
    diagnostics: str | None = None,
) -> FlashImage:
    """Flash of a device: every slot holds a good app unless `slots` says otherwise; `burnt` is the eFuse field."""
    flash = FlashImage.erased(max(part.end for part in layout.entries), burnt)
    flash.load(0, _bootloader())
    flash.load(0x8000, layout.to_binary())
    for part in layout.app_slots:
        assert part.slot is not None
        flash.load(part.offset, (slots or {}).get(part.slot, app(part.slot)))
    for number, data in enumerate(entries):
        flash.load(OTADATA + number * SECTOR, data)
    if diagnostics is not None:
        Diagnostics(Nvs(QuickCpu(flash, ResetReason.POWERON).flash, NVS, NVS_SIZE)).set(diagnostics, 1)
    return flash


def content(flash: FlashImage) -> tuple[str, int]:
    """All bytes of flash as a hash, and the eFuse field: to be compared without printing either."""
    return sha256(flash.read(0, len(flash))).hexdigest(), flash.secure_version


def recording(
    start: FlashImage,
    mutations: Iterable[Mutation] = (),
    *,
    scenario: str = "by-hand",
    config: BootConfig = CONFIG,
    diagnostics: str = "pass",
    begin: int = 0,
    **header: object,
) -> Recording:
    """A recording that begins with that flash."""
    base = start.read(0, len(start))
    facts = {
        "scenario": scenario,
        "board": "hand",
        "kind": "virtual",
        "chip": CHIP,
        "variant": "rollback",
        "idf_version": config.idf_version,
        "app_idf_version": config.idf_version,
        "diagnostics": diagnostics,
        "flash_size": FLASH_SIZE,
        "base_sha256": sha256(base).hexdigest(),
        "secure_version": start.secure_version,
        "begin": begin,
        "boot_config": config.to_json(),
    }
    return Recording(Header.model_validate(facts | header), base, tuple(mutations))


def write(number: int, data: bytes) -> list[Mutation]:
    """Erase and program of one select entry."""
    return [Erase(OTADATA + number * SECTOR), Program(OTADATA + number * SECTOR, data)]


def model(config: BootConfig = CONFIG, layout: PartitionTable = TWO, diagnostics: str = "pass") -> ModelBooter:
    """The reference model with an app of the same ESP-IDF."""
    return ModelBooter(config, config.idf_version, layout, diagnostics)


def virtual(config: BootConfig = CONFIG, layout: PartitionTable = TWO) -> VirtualBooter:
    """The virtual chip's firmware with that bootloader."""
    return VirtualBooter(VirtualFirmware(config), layout)


class Hand:
    """Runs calls of an app on flash and keeps the mutations, as a recording does."""

    def __init__(self, flash: FlashImage, running: str, config: BootConfig = CONFIG, layout: PartitionTable = TWO):
        self.flash = flash
        self.config = config
        self.layout = layout
        self.mutations: list[Mutation] = []
        self.context = ota_ops.AppContext(flash, layout, config, running)

    def call(self, steps: Steps[object]) -> object:
        result, effects = complete(steps, self.flash)
        self._keep(effects)
        return result

    def update(self, image: bytes, slot: str) -> None:
        """Download `image` into `slot` and choose it."""
        error, handle = self.call(ota_ops.esp_ota_begin(self.context, slot, len(image)))  # type: ignore[misc]
        assert error == "ESP_OK"
        for at in range(0, len(image), 256):
            self.call(ota_ops.esp_ota_write(self.context, handle, image[at : at + 256]))
        assert self.call(ota_ops.esp_ota_end(self.context, handle)) == "ESP_OK"
        assert self.call(ota_ops.esp_ota_set_boot_partition(self.context, slot)) == "ESP_OK"

    def boot(self, diagnostics: str = "pass") -> None:
        """A power-up, with whatever an app on probation does then."""
        watched = WatchedFlash.of(self.flash)
        for boot in model(self.config, self.layout, diagnostics).boot(watched).boots:
            self._keep(boot.mutations)
            for mutation in boot.mutations:
                self.flash.apply(mutation)

    def _keep(self, effects: Iterable[Effect]) -> None:
        self.mutations += [effect for effect in effects if isinstance(effect, Mutation)]


@cache
def small_update(diagnostics: str = "pass", idf: str = "v5.5") -> Recording:
    """An update of a small image from ota_0 to ota_1, up to its end: some 10 mutations."""
    config = replace(CONFIG, idf_version=idf)
    start = device((entry(1, VALID), b""), slots={"ota_1": b""}, diagnostics=diagnostics)
    hand = Hand(start.copy(), "ota_0", config)
    hand.update(app("2.0.0", idf=idf), "ota_1")
    hand.boot(diagnostics)
    return recording(start, hand.mutations, config=config, diagnostics=diagnostics)


@cache
def choosing() -> Recording:
    """The last step of an update alone: the new app is there already, and is chosen. 82 images."""
    start = device((entry(1, VALID), b""), slots={"ota_1": app("2.0.0")}, diagnostics="pass")
    return recording(start, write(1, entry(2, NEW)))
