"""The C rules of the cut line: what an app arms for the bootloader, and which operations are counted.

Held to `rig.virtual.cut_line`, whose tests say what the line does with them.
"""

import re
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.virtual.builds import read_variant
from rig.virtual.cut_line import Setting
from tests.rig.firmware.c_side import AGENT, PURE, CutRecord

SIZE = 28
BLOCK_SIZE, PAGE_SIZE = 0x10000, 0x100
HIGHEST = 0xFFFFFFFF

held = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = st.integers(0, HIGHEST)
records = st.builds(CutRecord, st.booleans(), st.integers(1, HIGHEST), numbers, numbers, numbers)
# Neighbours of each other, so that edges meet; and the end of what 32 bits can name.
near = st.integers(0, 4 * BLOCK_SIZE) | st.integers(HIGHEST - 2 * BLOCK_SIZE, HIGHEST)
edges = near.map(lambda place: place - place % PAGE_SIZE) | near
ranges = st.lists(edges, min_size=2, max_size=2, unique=True).map(lambda both: tuple(sorted(both)))


@held
@given(records)
def test_what_is_sealed_is_good_and_holds_what_was_given(c_side, record):
    raw = c_side.seal_record(record)
    assert len(raw) == SIZE
    assert c_side.record_is_good(raw)
    fields = [int.from_bytes(raw[at : at + 4], "little") for at in range(4, 24, 4)]
    assert fields == [*map(int, record)]


@held
@given(records)
def test_a_record_with_any_bit_flipped_is_not_good(c_side, record):
    raw = c_side.seal_record(record)
    for bit in range(8 * SIZE):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not c_side.record_is_good(bytes(flipped)), f"bit {bit}"


@held
@given(st.binary(min_size=SIZE, max_size=SIZE))
@example(bytes(SIZE))
@example(b"\xff" * SIZE)
def test_what_rtc_memory_holds_after_power_on_is_no_record(c_side, raw):
    assert not c_side.record_is_good(raw)


@held
@given(records, numbers)
def test_a_record_of_somebody_else_is_not_good_although_its_check_sum_is_right(c_side, record, magic):
    raw = c_side.seal_record(record)
    body = magic.to_bytes(4, "little") + raw[4:24]
    sealed = body + zlib.crc32(body).to_bytes(4, "little")
    assert c_side.record_is_good(sealed) is (sealed == raw)


def test_a_record_that_counts_to_nothing_is_not_good(c_side):
    assert not c_side.record_is_good(c_side.seal_record(CutRecord(False, 0, 0, 0, HIGHEST)))


@held
@given(records, numbers, st.integers(1, BLOCK_SIZE), st.booleans())
def test_a_cleared_record_is_not_good_and_names_nothing(c_side, record, address, size, program):
    cleared = c_side.clear_record(c_side.seal_record(record))
    assert cleared == bytes(SIZE)
    assert not c_side.record_is_good(cleared)
    assert not c_side.record_names(cleared, program, address, size)


@held
@given(st.binary(min_size=SIZE, max_size=SIZE), st.booleans(), numbers, numbers)
def test_any_bytes_can_be_asked(c_side, raw, program, address, size):
    assert c_side.record_names(raw, program, address, size) in (True, False)


def named_by_python(erase, meant, mutation):
    return Setting("app", erase, [meant], 1, 0.0).names(mutation)


def named_by_c(c_side, erase, meant, program, address, size):
    raw = c_side.seal_record(CutRecord(not erase, 1, 0, *meant))
    return c_side.record_names(raw, program, address, size)


@held
@given(st.booleans(), ranges, edges, st.integers(1, PAGE_SIZE))
@example(False, (0xD000, 0xF000), 0xCFFF, 1)
@example(False, (0xD000, 0xF000), 0xCFFF, 2)
@example(False, (0xD000, 0xF000), 0xEFFF, 1)
@example(False, (0xD000, 0xF000), 0xF000, 1)
@example(False, (0xD000, 0xF000), HIGHEST, 2)
def test_both_sides_count_the_same_programs(c_side, erase, meant, address, size):
    expected = named_by_python(erase, meant, Program(address, bytes(size)))
    assert named_by_c(c_side, erase, meant, True, address, size) == expected


@held
@given(st.booleans(), ranges, edges)
@example(True, (0xD000, 0xF000), 0xC000)
@example(True, (0xD000, 0xF000), 0xD000)
@example(True, (0xD000, 0xF000), 0xF000)
@example(True, (0xD000, 0xD001), 0xD000)
def test_both_sides_count_the_same_sector_erases(c_side, erase, meant, near_it):
    address = near_it - near_it % SECTOR_SIZE
    expected = named_by_python(erase, meant, Erase(address))
    assert named_by_c(c_side, erase, meant, False, address, SECTOR_SIZE) == expected


@held
@given(st.booleans(), ranges, edges)
@example(True, (0x1F000, 0x20000), 0x10000)
@example(True, (0x20000, 0x21000), 0x10000)
def test_a_block_erase_is_counted_when_one_of_its_sectors_is(c_side, erase, meant, near_it):
    address = near_it - near_it % BLOCK_SIZE
    sectors = range(address, address + BLOCK_SIZE, SECTOR_SIZE)
    expected = any(named_by_python(erase, meant, Erase(sector)) for sector in sectors)
    assert named_by_c(c_side, erase, meant, False, address, BLOCK_SIZE) == expected


COMMANDS = {
    0x02: (True, 64),
    0x12: (True, 64),
    0x20: (False, SECTOR_SIZE),
    0x21: (False, SECTOR_SIZE),
    0xD8: (False, BLOCK_SIZE),
    0xDC: (False, BLOCK_SIZE),
}
"""W25Q256JV data sheet: page program, sector erase and 64 KB block erase, with 3 and with 4 bytes of address."""


@pytest.mark.parametrize("command", range(0x100))
def test_commands_that_erase_or_program_are_told_from_all_others(c_side, command):
    assert c_side.flash_command(command, 64) == COMMANDS.get(command, (False, 0))


def test_the_record_fits_into_what_the_variant_reserves():
    assert read_variant("cut_line")["BOOTLOADER_CUSTOM_RESERVE_RTC_SIZE"] >= SIZE


def test_what_the_app_asks_with_the_cache_off_is_inlined():
    """A function of its own would lie in flash."""
    header = (PURE / "rig_cut_operation.h").read_text()
    assert re.findall(r"^(?!RIG_CUT_INLINE)\w.*\)$", header, re.MULTILINE) == []
    assert "#define RIG_CUT_INLINE static inline __attribute__((always_inline))" in header
    begins = re.findall(r"^static .*\b(\w+)\(.*\)$", (AGENT / "src" / "cut_line.c").read_text(), re.MULTILINE)
    in_ram = re.findall(r"^static .*IRAM_ATTR (\w+)\(", (AGENT / "src" / "cut_line.c").read_text(), re.MULTILINE)
    assert set(in_ram) == {"is_meant", "begun", "erase_sector", "erase_block", "program_page", "common_command"}
    assert set(in_ram) < set(begins)
