"""What runs after the ROM: the second-stage bootloader of `rig.idf` with the real one's output, then the test app."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.chips import CHIPS
from rig.idf.config import BootConfig, idf_family
from rig.idf.errors import FormatError
from rig.idf.image import AppImage, BootloaderDesc, extent, parse
from rig.idf.image_desc import app_config
from rig.idf.partitions import MAX_LENGTH, PartitionTable
from rig.idf.signature import check_own_signature
from rig.virtual.app import Hang, TestApp
from rig.virtual.builds import embedded_config
from rig.virtual.console_log import ConsoleLog, full_version
from rig.virtual.cpu import Cpu, ResetReason
from rig.virtual.crash_output import print_abort
from rig.virtual.cut_line import line_of
from rig.virtual.encrypted_flash import Unmodelled, checking_encryption
from rig.virtual.features import Features
from rig.virtual.on_chip import ChipMemory, perform
from rig.virtual.ota import RunningImage
from rig.virtual.startup_lines import AppFacts, BuildStamp, print_app_start, print_bootloader_banner, print_main_task
from rig.virtual.wrong_bootloaders import Bootloader

ROM_SECONDS = 0.02
"""From reset to the bootloader's first line, and again from the app's entry to its own."""
LOAD_BYTES_PER_SECOND = 8e6
LONGEST_BOOTLOADER = 0x10000
_HEADER_SIZE = 24


@dataclass
class VirtualFirmware:
    """Code in flash, as a `Firmware`.

    The rules come from the bootloader binary in flash if `rig.virtual.builds` made it, else they are `default`, else
    those of a bootloader with nothing configured. An app with a descriptor runs as the test app, by its own embedded
    rules if it has any, else by the bootloader's. `pins` are the GPIOs held while the bootloader looks. `bootloader`
    takes the place of the reference model: one that is wrong on purpose (rig.virtual.wrong_bootloaders).
    """

    default: BootConfig | None = None
    pins: Pins = NONE
    bootloader: Bootloader | None = None

    def __call__(self, cpu: Cpu) -> None:
        found = _bootloader(cpu, self.default)
        if found is None:
            return
        config, stamp, header, features = found
        cpu.sleep(ROM_SECONDS)
        log = ConsoleLog(cpu, stamp.idf_version, config.log_level)
        print_bootloader_banner(log, config, header, stamp)
        _take_cut_line(cpu, features)
        decide = self.bootloader or run
        steps = decide(ChipMemory(cpu), config, self.pins)
        if features.flash_encryption:
            steps = checking_encryption(steps, cpu)
        try:
            result = perform(steps, cpu, log)
        except Unmodelled:
            return
        if result.outcome == "exception":
            # Integer divide by zero inside the bootloader: its watchdog ends it.
            cpu.restart(ResetReason.WATCHDOG)
        if result.outcome != "booted":
            cpu.restart(ResetReason.BOOTLOADER)
        _run_app(cpu, config, result)


def run_from_flash(cpu: Cpu) -> None:
    """A `Firmware` that does whatever the binaries in flash say, on any chip."""
    VirtualFirmware()(cpu)


def _bootloader(cpu: Cpu, default: BootConfig | None) -> tuple[BootConfig, BuildStamp, bytes, Features] | None:
    """Rules, build stamp, image header and features of the bootloader in flash; None where none is known."""
    for offset in sorted({known.bootloader_offset for known in CHIPS.values()}):
        content = _image_bytes(cpu, offset, LONGEST_BOOTLOADER)
        try:
            found = _rules_in(content, offset, default)
        except FormatError:
            continue
        if found is not None:
            return found
    return None


@lru_cache(maxsize=64)
def _rules_in(
    content: bytes, offset: int, default: BootConfig | None
) -> tuple[BootConfig, BuildStamp, bytes, Features] | None:
    image = parse(content)
    if image.chip.bootloader_offset != offset:
        return None
    config = embedded_config(content) or default or _bare_config(image)
    return config, _stamp(config, image.bootloader_desc), content[:_HEADER_SIZE], Features.find(content)


def _take_cut_line(cpu: Cpu, features: Features) -> None:
    """A bootloader with the component for it obeys what the app has armed."""
    line = line_of(cpu)
    if line is not None and line.waits and features.cut_line_gpio is not None:
        line.count()


def _bare_config(image: AppImage) -> BootConfig:
    version = image.bootloader_desc.idf_ver if image.bootloader_desc else ""
    family = idf_family(version) if version else BootConfig.idf_version
    return BootConfig(idf_version=family, chip=image.chip.name, chip_revision=image.chip.revision)


def _stamp(config: BootConfig, desc: BootloaderDesc | None) -> BuildStamp:
    if desc is None:
        return BuildStamp(full_version(config.idf_version))
    date, _, time = desc.date_time.rpartition(" ")
    return BuildStamp(full_version(desc.idf_ver or config.idf_version), date, time)


def _run_app(cpu: Cpu, bootloader: BootConfig, result: BootResult) -> None:
    """Start the app that was loaded; returns, which is hanging, when it is not one that can be run here."""
    table = _table(cpu, bootloader)
    part = None if table is None or result.slot is None else table.slot(result.slot)
    image = None if part is None else _image(cpu, part.offset, part.size)
    if table is None or part is None or result.slot is None or image is None or image.desc is None:
        return
    cpu.sleep(image.length / LOAD_BYTES_PER_SECOND + ROM_SECONDS)
    desc = image.desc
    content = ChipMemory(cpu).read(part.offset, image.length)
    config = app_config(_own_rules(content) or bootloader, desc)
    log = ConsoleLog(cpu, full_version(desc.idf_ver))
    features = _features_in(content)
    facts = AppFacts(
        project=desc.project,
        version=desc.version,
        secure_version=desc.secure_version,
        idf_version=full_version(desc.idf_ver),
        date=desc.date,
        time=desc.time,
        elf_sha256=desc.elf_sha.hex(),
        checks_encryption=features.flash_encryption,
    )
    print_app_start(log, config, facts)
    if not perform(check_own_signature(ChipMemory(cpu), part.offset, config), cpu, log):
        print_abort(log, config.chip, facts.elf_sha256, facts.idf_version)
        cpu.restart(ResetReason.SOFTWARE)
    print_main_task(log, config, facts)
    try:
        TestApp(cpu, log, table, RunningImage(result.slot, part, desc, config), features).main()
    except Hang:
        return


def _table(cpu: Cpu, config: BootConfig) -> PartitionTable | None:
    try:
        return PartitionTable.from_binary(ChipMemory(cpu).read(config.partition_table_offset, MAX_LENGTH))
    except FormatError:
        return None


def _image(cpu: Cpu, offset: int, size: int) -> AppImage | None:
    try:
        return _parsed(_image_bytes(cpu, offset, size))
    except FormatError:
        return None


_parsed = lru_cache(maxsize=64)(parse)
_features_in = lru_cache(maxsize=64)(Features.find)


def _image_bytes(cpu: Cpu, offset: int, limit: int) -> bytes:
    """The image at flash `offset` and no byte behind it, so that what lies there cannot matter."""
    memory = ChipMemory(cpu)
    return memory.read(offset, extent(memory, offset, min(limit, cpu.flash.size - offset)))


@lru_cache(maxsize=64)
def _own_rules(content: bytes) -> BootConfig | None:
    try:
        return embedded_config(content)
    except FormatError:
        return None
