"""Chips with a dummy firmware, and the real esptool in this process."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Iterator

import esptool
import pytest

from rig.virtual.chip import VirtualChip, build_chip
from rig.virtual.chips import chip_spec
from rig.virtual.cpu import Cpu, Firmware
from rig.virtual.loader import checksum
from rig.virtual.port import plug, unplug

PATIENCE_S = 30.0
GREETING = b"dummy firmware is up\r\n"

_numbers = itertools.count(1)


def echo_firmware(cpu: Cpu) -> None:
    """Greets, then sends back what it receives."""
    cpu.write(GREETING)
    while True:
        cpu.write(cpu.read())


def tiny_bootloader(spi_mode: int = 2, speed: int = 0xF, segments: int = 2) -> bytes:
    """The smallest image a ROM accepts: `segments` segments of 16 bytes at 0x3fcd5820, 0x3fcd5920, ..."""
    image = struct.pack("<BBBBI", 0xE9, segments, spi_mode, 0x20 | speed, 0x403CC710) + bytes(16)
    payload = b""
    for number in range(segments):
        content = bytes(range(number + 1, number + 17))
        payload += content
        image += struct.pack("<II", 0x3FCD5820 + 0x100 * number, len(content)) + content
    image += bytes(15 - len(image) % 16)
    return image + bytes([checksum(payload)])


class Lab:
    """Makes chips, plugs them, and talks to them as a host does."""

    def __init__(self) -> None:
        self._chips: list[VirtualChip] = []
        self.seen = bytearray()

    def chip(
        self, model: str = "esp32c3", firmware: Firmware = echo_firmware, bootloader: bytes | None = None
    ) -> VirtualChip:
        """A plugged chip without power, with a valid bootloader unless another one is given."""
        chip = build_chip(f"lab{next(_numbers)}", model, firmware)
        chip.flash.load(chip_spec(model).bootloader_offset, tiny_bootloader() if bootloader is None else bootloader)
        plug(chip)
        self._chips.append(chip)
        return chip

    def esptool(self, chip: VirtualChip, *arguments: str) -> None:
        """Run one esptool command; the progress display is off."""
        esptool.main(["--port", f"virtual://{chip.name}", *arguments])

    def read_until(self, chip: VirtualChip, text: bytes) -> bytes:
        """What the chip sends up to and including `text`; fails when it does not come."""
        received = bytearray()
        deadline = time.monotonic() + PATIENCE_S
        while text not in received:
            if time.monotonic() > deadline:
                pytest.fail(f"{text!r} did not come; got {bytes(received)!r}")
            received += chip.host_read(timeout=0.2, size=1)
        return bytes(received)

    def close(self) -> None:
        for chip in self._chips:
            chip.power_off()
            unplug(chip)
        errors = [error for chip in self._chips for error in chip.firmware_errors]
        assert errors == []


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """The test leaves no thread behind that it started."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE_S
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == set()
