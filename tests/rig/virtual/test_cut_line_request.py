"""The request `cut_line`: what PROTOCOL.md section 9 takes and what it refuses."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rig.idf.partitions import PartitionTable
from rig.virtual.builds import FIRMWARE
from rig.virtual.cut_line import Setting
from rig.virtual.cut_line_request import LONGEST_DELAY_US, MOST, OPERATIONS, setting_of

TABLE = PartitionTable.from_csv((FIRMWARE / "partitions" / "factory_2ota.csv").read_text())
OTADATA = tuple((part.offset, part.end) for part in TABLE.entries if part.is_otadata)
SLOTS = tuple((part.offset, part.end) for part in TABLE.entries if part.slot)
PLAIN = {"op": "otadata_erase", "in": "app", "nth": "1", "delay_us": "0"}

values = (
    st.sampled_from([*OPERATIONS, "off", "app", "bootloader", "", "0", "1", "100000", "0x10", "1000000"])
    | st.integers(-5, 2_000_000).map(str)
    | st.text(max_size=8)
)
requests = st.dictionaries(st.sampled_from([*PLAIN, "else"]), values)


@pytest.mark.parametrize(
    ("op", "erase", "ranges"),
    [
        ("otadata_erase", True, OTADATA),
        ("otadata_program", False, OTADATA),
        ("slot_erase", True, SLOTS),
        ("slot_program", False, SLOTS),
    ],
)
def test_an_operation_is_named_by_kind_and_place(op: str, erase: bool, ranges: tuple[tuple[int, int], ...]) -> None:
    assert len(SLOTS) == 3
    assert setting_of(PLAIN | {"op": op}, TABLE) == Setting("app", erase, ranges, 1, 0.0)


def test_the_furthest_is_taken() -> None:
    asked = PLAIN | {"in": "bootloader", "nth": "100000", "delay_us": "1000000"}
    assert setting_of(asked, TABLE) == Setting("bootloader", True, OTADATA, 100_000, 1.0)


@pytest.mark.parametrize(("text", "nth"), [("7", 7), ("007", 7), ("0x1f", 31), ("0X1F", 31)])
def test_numbers_are_read_as_the_contract_has_them(text: str, nth: int) -> None:
    assert setting_of(PLAIN | {"nth": text}, TABLE).nth == nth


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"op": ""}, "op: otadata_erase, otadata_program, slot_erase, slot_program, off"),
        ({"op": "otadata"}, "op: otadata_erase,"),
        ({"op": "off"}, "op: otadata_erase,"),
        ({"in": "rom"}, "in: app, bootloader"),
        ({"in": ""}, "in: app, bootloader"),
        ({"nth": "0"}, "nth: 1 to 100000"),
        ({"nth": "100001"}, "nth: 1 to 100000"),
        ({"nth": "-1"}, "nth: 1 to 100000"),
        ({"nth": "one"}, "nth: 1 to 100000"),
        ({"nth": ""}, "nth: 1 to 100000"),
        ({"nth": "1_0"}, "nth: 1 to 100000"),
        ({"nth": "\u0663"}, "nth: 1 to 100000"),
        ({"nth": "0x"}, "nth: 1 to 100000"),
        ({"delay_us": "1000001"}, "delay_us: 0 to 1000000"),
        ({"delay_us": "-1"}, "delay_us: 0 to 1000000"),
        ({"delay_us": "0.5"}, "delay_us: 0 to 1000000"),
        ({"op": "slot_erase", "in": "bootloader"}, "the bootloader writes no slot"),
        ({"op": "slot_program", "in": "bootloader"}, "the bootloader writes no slot"),
        ({"op": "otadata_program", "in": "bootloader", "delay_us": "1"}, "delay_us: only 0 for a program"),
    ],
)
def test_what_is_out_of_range_is_refused_in_words(change: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        setting_of(PLAIN | change, TABLE)


@given(requests)
@example({"op": "otadata_erase", "nth": "08", "delay_us": "0"})
@example({"op": "otadata_erase", "nth": "9" * 5000, "delay_us": "0"})
def test_any_request_is_a_setting_within_range_or_refused(args: dict[str, str]) -> None:
    try:
        setting = setting_of(args, TABLE)
    except ValueError:
        return
    assert args["op"] in OPERATIONS
    assert setting.erase is args["op"].endswith("erase")
    assert setting.ranges == (SLOTS if args["op"].startswith("slot") else OTADATA)
    assert 1 <= setting.nth <= MOST
    assert 0 <= setting.delay_s <= LONGEST_DELAY_US / 1e6
    assert setting.where == args.get("in", "app")
    assert setting.where == "app" or (setting.ranges == OTADATA and (setting.erase or setting.delay_s == 0))
