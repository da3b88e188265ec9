"""Partition tables: the rules of gen_esp32part.py on one side, those of the bootloader on the other."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.config import BootConfig
from rig.idf.errors import FormatError
from rig.idf.partitions import Partition, PartitionTable, check_table

FLASH = 4 << 20
TWO_OTA = """\
# a comment
nvs,      data, nvs,     0x9000,  0x4000
otadata,  data, ota,     0xd000,  0x2000
phy_init, data, phy,     0xf000,  4K
factory,  app,  factory, 0x10000, 1M
ota_0,    app,  ota_0,   ,        1M
ota_1,    app,  ota_1,   ,        1M
"""


def table_of(*rows, **options):
    return PartitionTable.from_csv("\n".join(rows), **options)


def refusal(*rows, **options):
    with pytest.raises(FormatError) as caught:
        table_of(*rows).verify(FLASH, **options)
    return str(caught.value)


def test_slots_and_offsets_of_a_usual_table():
    table = PartitionTable.from_csv(TWO_OTA)
    table.verify(FLASH)
    found = {entry.slot: entry.offset for entry in table.app_slots}
    assert found == {"factory": 0x10000, "ota_0": 0x110000, "ota_1": 0x210000}
    assert table.otadata_for_app == table.by_label("otadata")
    assert (table.ota_count_app, table.ota_count_bootloader) == (2, 2)
    assert table.slot_at(0x110000) == "ota_0"
    assert table.slot_at(0x9000) is None
    assert table.warnings() == ()


def test_binary_is_what_gen_esp32part_writes():
    # rows, MD5 row, 0xFF up to 0xC00; the digest is over the rows
    table = table_of("nvs, data, nvs, 0x9000, 0x6000", "app, 0, ota_3, 0x10000, 64K, encrypted:readonly")
    rows = bytes.fromhex(
        "aa50010200900000006000006e7673000000000000000000000000000000000000"[:64]
        + "aa5000130000010000000100617070000000000000000000000000000300000000"[:64]
    )
    binary = table.to_binary()
    assert binary[:28] == rows[:28]
    assert binary[32:60] == rows[32:60]
    assert binary[60:64] == b"\x03\0\0\0"
    assert binary[64:80] == b"\xeb\xeb" + b"\xff" * 14
    assert binary[80:96] == hashlib.md5(binary[:64]).digest()
    assert binary[96:] == b"\xff" * (0xC00 - 96)


def test_types_and_subtypes_by_name_number_and_custom_number():
    table = table_of(
        "a, app, OTA_15, , 64K",
        "b, 0x00, 0x20, , 64K",
        "c, data, , , 4096",
        "d, 0x40, 7, , 0x1000",
        "e, data, 0x99, , 0x1000",
    )
    assert [(entry.type, entry.subtype) for entry in table.entries] == [(0, 31), (0, 32), (1, 6), (0x40, 7), (1, 0x99)]
    assert [entry.slot for entry in table.entries] == ["ota_15", "test", None, None, None]


def test_custom_subtype_names_can_be_given():
    table = table_of("a, data, mine, , 4K", extra_subtypes={1: {"mine": 0x55}})
    assert table.entries[0].subtype == 0x55


def test_automatic_offset_is_aligned_and_app_ends_on_64k():
    table = table_of("a, data, nvs, , 0x3000", "b, app, ota_0, , 0x11000", "c, data, fat, , 1K", "d, data, fat, , 1K")
    assert [entry.offset for entry in table.entries] == [0x9000, 0x10000, 0x21000, 0x22000]


def test_negative_size_reaches_up_to_that_flash_offset():
    assert table_of("a, data, fat, 0x10000, -4M").entries[0].size == FLASH - 0x10000


def test_table_offset_moves_the_first_free_offset():
    assert table_of("a, data, nvs, , 0x3000", table_offset=0x10000).entries[0].offset == 0x11000


def test_bootloader_and_table_partitions_get_their_place_from_the_build():
    table = table_of(
        "boot, bootloader, primary, ,",
        "table, partition_table, primary, ,",
        "nvs, data, nvs, , 0x4000",
        "boot2, bootloader, ota, ,",
        "spare, bootloader, recovery, ,",
        bootloader_offset=0x2000,
        recovery_offset=0x3F0000,
    )
    table.verify(FLASH)
    places = [(entry.offset, entry.size) for entry in table.entries]
    assert places == [(0x2000, 0x6000), (0x8000, 0x1000), (0x9000, 0x4000), (0xD000, 0x6000), (0x3F0000, 0x6000)]


def test_variables_are_replaced():
    assert table_of("a, data, nvs, $WHERE, ${SIZE}", variables={"WHERE": "0xa000", "SIZE": "12K"}).entries == (
        Partition("a", 1, 2, 0xA000, 0x3000),
    )


def test_long_label_is_cut_to_the_16_bytes_that_fit():
    table = table_of("a_label_of_more_than_16_bytes, data, nvs, , 0x3000")
    assert table.entries[0].label == "a_label_of_more_"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a, , nvs, , 4K", "the type is empty; allowed: app, data"),
        ("a, ap, nvs, , 4K", "'ap' is not valid; known names: app, data, bootloader, partition_table"),
        ("a, app, , , 64K", "an app partition needs a subtype"),
        ("a, app, ota_16, , 64K", "'ota_16' is not valid"),
        ("a, data, nsv, , 4K", "'nsv' is not valid; known names: ota, phy, nvs"),
        ("a, data, nvs, , ", "the size is empty; allowed: 4096, 0x1000, 4K, 1M"),
        ("a, data, nvs, , 4G", "'4G' is not valid; allowed: 4096"),
        ("a, data, nvs, here, 4K", "'here' is not valid"),
        ("a, data, nvs, , 4K, hidden", "unknown flag 'hidden'; known: encrypted, readonly"),
        ("a, 256, 0, , 4K", "type 0x100 is out of range"),
        ("a, 1, 300, , 4K", "subtype 0x12c is out of range"),
        ("a, data, nvs, 0x100000000, 4K", "out of range"),
        ("a, data, nvs, , 5000M", "out of range"),
        ("a, data, nvs, 0x8000, 4K", "use 0x9000 or higher"),
        ("a, data, nvs, 2M, -1M", "ends before it begins"),
        ("a, data, nvs, $NOPE, 4K", "unknown variable 'NOPE'"),
        ("a, bootloader, primary, ,", "bootloader's flash offset is not known"),
        ("a, bootloader, recovery, ,", "flash offset is not known"),
    ],
)
def test_wrong_csv_line_is_refused_naming_the_line_and_what_is_allowed(row, said):
    with pytest.raises(FormatError) as caught:
        table_of("# first line", row)
    assert "line 2: " in str(caught.value)
    assert said in str(caught.value)


def test_overlap_in_file_order_names_line_partition_and_the_free_offset():
    with pytest.raises(FormatError) as caught:
        table_of("nvs, data, nvs, 0x9000, 0x4000", "otadata, data, ota, 0xc000, 0x2000")
    assert str(caught.value) == (
        "line 2: partition 'otadata' at 0xc000 overlaps: partition 'nvs' ends at 0xd000; "
        "use 0xd000 or higher, or leave the offset empty"
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a, app, ota_0, 0x11000, 64K"], "not aligned; allowed: multiples of 0x10000"),
        (["a, data, nvs, 0x9004, 16K"], "not aligned; allowed: multiples of 0x1000"),
        (["a, app, ota_0, 0x10000, 0x10800"], "size 0x10800; allowed: multiples of 0x1000"),
        (["a, data, ota, , 0x2000, readonly"], "always written; it cannot be readonly"),
        (["a, data, coredump, , 64K, readonly"], "always written; it cannot be readonly"),
        (["a, data, nvs, , 0x2000"], "NVS needs 0x3000 or more"),
        (["a, data, nvs, , 16K", "a, data, phy, , 4K"], "line 2: partition 'a' has the label of the one at 0x9000"),
        (["a, data, ota, , 8K", "b, data, ota, , 8K"], "a second otadata partition beside 'a'; allowed: one"),
        (["a, data, tee_ota, , 8K", "b, data, tee_ota, , 8K"], "a second TEE otadata partition"),
        (["a, data, ota, , 0x1000"], "otadata must have 0x2000"),
        (["a, data, ota, , 0x3000"], "otadata must have 0x2000"),
        (["a, app, factory, , 8M"], "behind the flash's end at 0x400000"),
    ],
)
def test_build_rules_refuse_the_table(rows, said):
    message = refusal(*rows)
    assert said in message
    assert message.startswith("line ")


def test_overlap_and_offset_below_the_table_are_found_in_binary_tables_too():
    overlapping = PartitionTable((Partition("a", 1, 2, 0x9000, 0x4000), Partition("b", 1, 1, 0xB000, 0x1000)))
    with pytest.raises(FormatError, match="'b' at 0xb000 overlaps 'a', which takes 0x9000 to 0xd000"):
        overlapping.verify()
    below = PartitionTable((Partition("a", 1, 1, 0x7000, 0x1000),))
    with pytest.raises(FormatError, match="'a' at 0x7000 is below 0x9000"):
        below.verify()


@pytest.mark.parametrize(
    ("row", "accepted_by", "refused_by"),
    [
        ("a, data, nvs, 0x9004, 16K", "v4.4.8", "v5.0"),
        ("a, app, ota_0, 0x10000, 0x10800", "v5.2.6", "v5.3"),
        ("a, data, ota, , 0x2000, readonly", "v5.1.7", "v5.2"),
        ("a, data, nvs, , 0x2000", "v5.4.3", "v5.5"),
    ],
)
def test_a_rule_holds_from_the_release_that_brought_it(row, accepted_by, refused_by):
    table_of(row).verify(FLASH, idf_version=accepted_by)
    assert refusal(row, idf_version=refused_by)


def test_last_partition_may_end_where_flash_ends():
    table_of("a, app, ota_0, 0x10000, 0x3f0000").verify(FLASH)


def test_more_rows_than_the_sector_holds_are_refused():
    entries = tuple(Partition(f"p{index}", 1, 0x99, 0x9000 + 0x1000 * index, 0x1000) for index in range(95))
    PartitionTable(entries[:94]).to_binary()
    with pytest.raises(FormatError, match="95 partitions do not fit; allowed: 94"):
        PartitionTable(entries).to_binary()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["ota_0, app, ota_0, , 1M", "ota_1, app, ota_1, , 1M"], "without an otadata partition"),
        (["otadata, data, ota, , 8K", "ota_0, app, ota_0, , 1M"], "an update has nowhere to go"),
        (["o, data, ota, , 8K", "a, app, ota_0, , 1M", "b, app, ota_2, , 1M"], "without gap"),
        (["nvs, data, fat, , 16K"], "named like a subtype"),
        (["app, data, fat, , 16K"], "named like a type"),
    ],
)
def test_accepted_but_hardly_meant_tables_are_warned_about(rows, said):
    assert any(said in warning for warning in table_of(*rows).warnings())


def test_bootloader_and_app_see_different_partitions_when_a_subtype_repeats():
    table = PartitionTable(
        (
            Partition("first", 1, 0, 0x9000, 0x2000),
            Partition("second", 1, 0, 0xB000, 0x2000),
            Partition("a", 0, 0x10, 0x10000, 0x10000),
            Partition("b", 0, 0x10, 0x20000, 0x10000),
            Partition("c", 0, 0x12, 0x30000, 0x10000),
        )
    )
    assert (table.otadata_for_bootloader.label, table.otadata_for_app.label) == ("second", "first")
    assert (table.slot("ota_0").label, table.slot_for_app("ota_0").label) == ("b", "a")
    assert (table.ota_count_bootloader, table.ota_count_app) == (3, 1)
    assert table.slot("ota_1") is None


labels = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=16)


@st.composite
def tables(draw):
    entries, end = [], 0x9000
    for label in draw(st.lists(labels, max_size=12, unique=True)):
        type_ = draw(st.sampled_from([0, 1, 0x40, 0xFE]))
        subtype = draw(st.integers(3, 0xFE)) if type_ else draw(st.integers(0x10, 0x20))
        step = 0x10000 if type_ == 0 else 0x1000
        offset = (end + step - 1) // step * step + step * draw(st.integers(0, 3))
        size = 0x1000 * draw(st.integers(1, 40))
        entries.append(Partition(label, type_, subtype, offset, size, draw(st.integers(0, 3)) if subtype > 4 else 0))
        end = offset + size
    return PartitionTable(tuple(entries))


@given(tables())
def test_table_survives_csv_and_binary(table):
    assert PartitionTable.from_csv(table.to_csv()) == table
    assert PartitionTable.from_binary(table.to_binary()) == table


@given(tables(), st.data())
def test_one_flipped_bit_in_the_rows_is_found_by_build_and_bootloader(table, data):
    binary = bytearray(table.to_binary())
    rows = 32 * len(table.entries)
    # of the MD5 row only magic number and digest count
    byte = data.draw(st.integers(0, rows + 1) | st.integers(rows + 16, rows + 31))
    binary[byte] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FormatError):
        PartitionTable.from_binary(bytes(binary))
    assert not check_table(bytes(binary), 1 << 27, BootConfig(idf_version="v5.5")).ok


@given(tables(), st.data())
def test_table_cut_anywhere_before_its_end_marker_is_refused(table, data):
    binary = table.to_binary()
    cut = data.draw(st.integers(0, 32 * len(table.entries) + 32 + 31))
    with pytest.raises(FormatError):
        PartitionTable.from_binary(binary[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_table_or_a_format_error(data):
    with suppress(FormatError):
        PartitionTable.from_binary(data)


@given(st.text(max_size=80))
def test_any_text_gives_a_table_or_a_format_error(text):
    with suppress(FormatError):
        PartitionTable.from_csv(text).verify(FLASH)


# what the bootloader does with a table

V44, V51, V55, V60, V61 = (BootConfig(idf_version=version) for version in ("v4.4", "v5.1", "v5.5", "v6.0", "v6.1"))
ALL = [V44, V51, V55, V60, V61]


def said_by_bootloader(binary, config=V55, flash_size=FLASH):
    check = check_table(binary, flash_size, config)
    assert check.ok == (check.table is not None)
    return [f"{line.level} {line.tag}: {line.text}" for line in check.logs]


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.idf_version)
def test_bootloader_accepts_a_good_table_and_sees_the_same_partitions(config):
    table = PartitionTable.from_csv(TWO_OTA)
    check = check_table(table.to_binary(), FLASH, config)
    assert check.table == table
    # the MD5 row is an entry of its own
    assert check.logs[0].text == "partition table verified, 7 entries"


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.idf_version)
def test_bootloader_needs_no_md5_row(config):
    rows = PartitionTable.from_csv(TWO_OTA).to_binary()[: 6 * 32]
    assert check_table(rows + b"\xff" * 32, FLASH, config).ok


def test_bootloader_refuses_a_row_with_a_wrong_magic_number():
    binary = bytearray(PartitionTable.from_csv(TWO_OTA).to_binary())
    binary[64:66] = b"\x12\x34"
    assert said_by_bootloader(bytes(binary)) == ["E flash_parts: partition 2 invalid magic number 0x3412"]


def test_bootloader_refuses_a_wrong_md5():
    binary = bytearray(PartitionTable.from_csv(TWO_OTA).to_binary())
    binary[40] ^= 1
    assert said_by_bootloader(bytes(binary)) == ["E flash_parts: Incorrect MD5 checksum"]


def test_bootloader_refuses_a_second_md5_row():
    binary = PartitionTable.from_csv(TWO_OTA).to_binary()
    twice = binary[: 7 * 32] + binary[6 * 32 : 7 * 32] + b"\xff" * 32
    assert said_by_bootloader(twice) == ["E flash_parts: Only one MD5 checksum is allowed"]
    with pytest.raises(FormatError, match="second MD5 row"):
        PartitionTable.from_binary(twice)


def test_bootloader_refuses_a_partition_behind_the_end_of_flash():
    binary = PartitionTable.from_csv(TWO_OTA).to_binary()
    assert said_by_bootloader(binary, flash_size=0x200000) == [
        "E flash_parts: partition 4 invalid - offset 0x110000 size 0x100000 exceeds flash chip size 0x200000"
    ]


def test_partition_that_wraps_around_4_gib_is_refused_only_from_v6_1():
    row = Partition("a", 1, 0x99, 0x300000, 0xFFFFF000).to_binary() + b"\xff" * 32
    assert check_table(row, FLASH, V60).ok
    assert not check_table(row, FLASH, V61).ok


def test_bootloader_refuses_a_table_without_end_marker():
    rows = b"".join(Partition(f"p{index}", 1, 0x99, 0x9000, 0x1000).to_binary() for index in range(96))
    assert said_by_bootloader(rows) == ["E flash_parts: partition table has no terminating entry, not valid"]
    with pytest.raises(FormatError, match="no end marker"):
        PartitionTable.from_binary(rows)


def test_erased_table_is_empty_before_v5_5_and_invalid_from_then_on():
    assert check_table(b"\xff" * 0xC00, FLASH, V51).table == PartitionTable(())
    assert said_by_bootloader(b"\xff" * 0xC00, V55) == ["E flash_parts: partition 0 invalid magic number 0xffff"]
