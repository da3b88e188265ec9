"""What the bootloader refuses or remarks on only because it loads an image, where an app merely verifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rig.idf import ota_ops as ota
from rig.idf.bootloader import BootResult
from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.effects import Effect, Log
from rig.idf.image import pack_image
from rig.idf.memory import FlashImage
from rig.idf.otadata import make_entry
from rig.idf.vectors import layout_table
from tests.rig.idf.model import ANTI_ROLLBACK, NO_ROLLBACK, OTA_1, UNDEFINED, App, device, lines, start

DROM, IROM = 0x3F400000, 0x400D0000
DESC = (0xABCD5432).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(248)


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """An image with these segments; mapped ones get the load address that fits their place in the file."""
    placed = []
    at = 24
    for address, data in segments:
        at += 8
        mapped = address in (DROM, IROM)
        placed.append((address + at if mapped else address, data))
        at += len(data)
    return pack_image(chip="esp32", segments=placed)


def booting(data: bytes, config: BootConfig = NO_ROLLBACK, efuse: int = 0) -> tuple[BootResult, list[Effect]]:
    """ota_1 is to boot and holds `data`; ota_0 holds a good app."""
    flash = device(layout_table("n2"), make_entry(2, UNDEFINED), efuse=efuse)
    put(flash, data)
    return start(flash, "n2", config)


def put(flash: FlashImage, data: bytes) -> None:
    flash.load(OTA_1, data.ljust(0x3000, b"\xff"))


def app_lines(effects: Sequence[Effect]) -> list[str]:
    return [line for line in lines(list(effects)) if not line.startswith("D esp_image")]


def test_an_app_with_two_segments_of_a_kind_starts_and_each_further_one_is_an_error_line() -> None:
    # unpack_load_app
    data = with_segments((DROM, DESC), (IROM, bytes(8)), (DROM, bytes(4)), (IROM, bytes(4)), (DROM, b""))
    result, effects = booting(data)
    assert result.slot == "ota_1"
    assert app_lines(effects) == [
        "I boot: Loaded app from partition at offset 0x30000",
        "I boot: Disabling RNG early entropy source...",
        "E boot: Image contains multiple DROM segments. Only the last one will be mapped.",
        "E boot: Image contains multiple IROM segments. Only the last one will be mapped.",
        "E boot: Image contains multiple DROM segments. Only the last one will be mapped.",
    ]


def test_debug_shows_the_first_segment_of_a_kind_as_mapped_and_not_the_next() -> None:
    # unpack_load_app
    data = with_segments((DROM, DESC), (DROM, bytes(4)), (IROM, bytes(8)))
    _, effects = booting(data, replace(NO_ROLLBACK, log_level="DEBUG"))
    assert [line for line in app_lines(effects) if "segment" in line] == [
        "D boot: Mapping segment 0 as DROM",
        "E boot: Image contains multiple DROM segments. Only the last one will be mapped.",
        "D boot: Mapping segment 2 as IROM",
    ]


@pytest.mark.parametrize(
    ("address", "size", "end"),
    [
        (0x10000000, 4, 0x10000004),
        (0x3FFADFFC, 8, 0x3FFAE004),
        (0x400A9FFC, 8, 0x400AA004),
        (0x50001FFC, 8, 0x50002004),
        (0x3D400020, 4, 0x3D400024),
    ],
)
def test_the_bootloader_refuses_a_segment_for_an_address_without_ram(address: int, size: int, end: int) -> None:
    # process_segment, verify_load_addresses
    result, effects = booting(with_segments((DROM, DESC), (address, bytes(size))))
    assert result == BootResult("booted", "ota_0", 0x20000, ("ota_1", "ota_0"))
    assert app_lines(effects)[:2] == [
        f"E esp_image: Segment 1 0x{address:08x}-0x{end:08x} invalid: bad load address range",
        "E boot: OTA app partition slot 1 is not bootable",
    ]


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (0x0FFFFFFC, 8),
        (0x00000000, 8),
        (0x3FFAE000, 16),
        (0x40080000, 16),
        (0x400C1FF8, 8),
        (0x3FF80000, 8),
        (0x50000000, 8),
        (0x3D400020, 0),
    ],
)
def test_padding_ram_rtc_memory_and_empty_segments_are_loaded(address: int, size: int) -> None:
    # should_load, verify_load_addresses
    result, _ = booting(with_segments((DROM, DESC), (address, bytes(size))))
    assert result.slot == "ota_1"


def test_the_first_segment_without_ram_ends_the_check_before_the_checksum() -> None:
    # process_segment
    broken = bytearray(with_segments((DROM, DESC), (0x20000000, bytes(4)), (0x20000004, bytes(4))))
    broken[24 + 8 + 100] ^= 1
    _, effects = booting(bytes(broken))
    segments = [line.text for line in effects if isinstance(line, Log) and line.text.startswith(("segment", "Segment"))]
    assert [text.split(":")[0] for text in segments[:3]] == [
        "segment 0",
        "segment 1",
        "Segment 1 0x20000000-0x20000004 invalid",
    ]


def test_an_app_that_only_verifies_takes_a_segment_without_ram() -> None:
    # image_load: an app build never loads
    app = App("n2", config=NO_ROLLBACK)
    put(app.flash, with_segments((DROM, DESC), (0x20000000, bytes(4))))
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_OK"


@pytest.mark.parametrize(("efuse", "booted"), [(0, "ota_1"), (1, "ota_0")])
def test_anti_rollback_takes_an_image_without_data_for_version_0_and_refuses_it_without_a_word(
    efuse: int, booted: str
) -> None:
    # image_load checks metadata.secure_version once more, and only process_esp_app_desc_data sets it
    data = pack_image(chip="esp32", segments=[], hash_appended=False) + DESC
    result, effects = booting(data, ANTI_ROLLBACK, efuse)
    assert result.tried[0] == "ota_1"
    assert result.slot == booted
    assert not [line for line in app_lines(effects) if "esp_image" in line]


@pytest.mark.parametrize(
    ("mapped", "outcome"), [(1, "exception"), (2, "booted"), (3, "exception")], ids=["one", "two", "three"]
)
@pytest.mark.parametrize("name", ["esp32c6", "esp32h2", "esp32p4"])
def test_with_one_window_for_code_and_data_an_app_must_have_two_mapped_segments(
    name: str, mapped: int, outcome: str
) -> None:
    # unpack_load_app asserts rom_index == 2
    target = chip(name)
    segments = [(target.drom[0] + 32, DESC)]
    for _ in range(mapped - 1):
        segments.append((segments[-1][0] + len(segments[-1][1]) + 8, bytes(256)))
    segments.append((target.dram[0], bytes(4)))
    flash = device(layout_table("n2"), make_entry(2, UNDEFINED))
    put(flash, pack_image(chip=name, segments=segments))
    result, effects = start(flash, "n2", BootConfig(chip=name, chip_revision=target.revision))
    assert (result.outcome, result.tried) == (outcome, ("ota_1",))
    assert app_lines(effects)[-1] == "I boot: Disabling RNG early entropy source..."
