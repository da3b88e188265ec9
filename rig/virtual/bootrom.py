"""What the mask ROM does after a reset: its lines, flash boot or download mode, loading the bootloader."""

from __future__ import annotations

import struct
from enum import Enum

from rig.virtual.chips import ChipSpec
from rig.virtual.cpu import Cpu, Firmware, FlashPort, ResetReason
from rig.virtual.encrypted_flash import cached
from rig.virtual.life import Life
from rig.virtual.loader import Exit, Loader, Machine, RomLoader, checksum
from rig.virtual.stub import StubLoader

IMAGE_MAGIC = 0xE9
HEADER_SIZE = 24
SEGMENT_HEADER_SIZE = 8
MAX_SEGMENTS = 16
SPI_MODES = ("QIO", "QOUT", "DIO", "DOUT", "FAST READ", "SLOW READ")
INVALID_HEADER_LINES = 8
INVALID_HEADER_PERIOD_S = 0.1


class Strap(Enum):
    """Boot strap as sampled when EN rose."""

    FLASH = "flash boot"
    DOWNLOAD = "download mode"


class BadImage(Exception):
    """The ROM refuses the bootloader; `lines` are what it prints."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__(lines)
        self.lines = lines


def run_rom(machine: Machine, strap: Strap, firmware: Firmware) -> None:
    """One life from reset: never returns, ends with ChipHalted."""
    cpu, spec = machine.cpu, machine.spec
    _print(cpu, *spec.rom_banner, _reset_line(spec, cpu.reset_reason, strap))
    if strap is Strap.DOWNLOAD:
        _print(cpu, "waiting for download")
        _serve_downloads(machine)
        _print(cpu, "user code done")
    _boot_flash(cpu, spec, firmware)


def announced(spec: ChipSpec, firmware: Firmware) -> Firmware:
    """`firmware` behind the ROM's first lines, which say why the chip was reset; nothing else of the ROM."""

    def run(cpu: Cpu) -> None:
        _print(cpu, *spec.rom_banner, _reset_line(spec, cpu.reset_reason, Strap.FLASH))
        firmware(cpu)

    return run


def _serve_downloads(machine: Machine) -> None:
    """Returns when the program in flash is to run."""
    loader: Loader = RomLoader(machine)
    while (how := loader.run()) is Exit.RUN_RAM:
        loader = StubLoader(machine)
    if how is Exit.RESTART:
        machine.cpu.restart(ResetReason.SOFTWARE)


def _boot_flash(cpu: Life, spec: ChipSpec, firmware: Firmware) -> None:
    flash = cached(cpu)
    header = flash.read(spec.bootloader_offset, HEADER_SIZE)
    if header[0] != IMAGE_MAGIC:
        word = int.from_bytes(header[:4], "little")
        for _ in range(INVALID_HEADER_LINES):
            _print(cpu, f"invalid header: 0x{word:08x}")
            cpu.sleep(INVALID_HEADER_PERIOD_S)
        cpu.restart(ResetReason.WATCHDOG)
    _print(cpu, *spec.rom_preload, _mode_line(spec, header))
    try:
        _load_segments(cpu, flash, spec, header)
    except BadImage as bad:
        _print(cpu, *bad.lines)
        cpu.sleep(INVALID_HEADER_LINES * INVALID_HEADER_PERIOD_S)
        cpu.restart(ResetReason.WATCHDOG)
    firmware(cpu)
    cpu.hang()


def _reset_line(spec: ChipSpec, reason: ResetReason, strap: Strap) -> str:
    reset = spec.resets[reason]
    boot = spec.boot_download if strap is Strap.DOWNLOAD else spec.boot_flash
    return f"rst:{reset.number:#x} ({reset.name}),{boot}"


def _mode_line(spec: ChipSpec, header: bytes) -> str:
    mode = SPI_MODES[header[2]] if header[2] < len(SPI_MODES) else f"{header[2]:#x}"
    return f"mode:{mode}, clock div:{spec.spi_clock_div.get(header[3] & 0xF, 2)}"


def _load_segments(cpu: Life, flash: FlashPort, spec: ChipSpec, header: bytes) -> None:
    """Print what is loaded where, and check the image's checksum.

    The XOR of every segment's bytes stands in the last byte of the 16-byte block after the last one.
    """
    count, entry = header[1], struct.unpack_from("<I", header, 4)[0]
    at = spec.bootloader_offset + HEADER_SIZE
    total = 0
    if count > MAX_SEGMENTS:
        raise BadImage((f"invalid segment count {count}", *spec.invalid_image_lines[1:]))
    for _ in range(count):
        address, length = struct.unpack("<II", flash.read(at, SEGMENT_HEADER_SIZE))
        at += SEGMENT_HEADER_SIZE
        if at + length > flash.size:
            raise BadImage((f"invalid segment length {length:#x}", *spec.invalid_image_lines[1:]))
        shown = f"{length:#x}" if spec.load_length_hex else f"{length}"
        _print(cpu, f"load:0x{address:08x},len:{shown}")
        if address in spec.load_notes:
            _print(cpu, spec.load_notes[address])
        total ^= checksum(flash.read(at, length)) ^ checksum(b"")
        at += length
    stored = flash.read(at + 15 - (at - spec.bootloader_offset) % 16, 1)[0]
    computed = total ^ checksum(b"")
    if stored != computed:
        raise BadImage(tuple(line.format(got=computed, want=stored) for line in spec.invalid_image_lines))
    _print(cpu, f"entry 0x{entry:08x}")


def _print(cpu: Cpu, *lines: str) -> None:
    cpu.write("".join(f"{line}\r\n" for line in lines).encode())
