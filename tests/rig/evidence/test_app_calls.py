"""Each call of the app is held to what the model makes of it: the error it returned, and otadata read back after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.app_calls import AppCall, Witnessed, judge_call, model_call
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.records import Verdict
from rig.evidence.witnesses import KnownFlash
from rig.idf.config import BootConfig
from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.idf.ota_ops import RESTART
from rig.idf.otadata import ERASED, ImageState, make_entry
from rig.idf.partitions import Partition, PartitionTable

CONFIG = BootConfig(idf_version="v5.5", chip="esp32c3", chip_revision=4, rollback=True)
TABLE = PartitionTable(
    (
        Partition("otadata", 1, 0, 0xD000, 0x2000),
        Partition("ota_0", 0, 0x10, 0x10000, 0x10000),
        Partition("ota_1", 0, 0x11, 0x20000, 0x10000),
    )
)
IMAGE = build_image(chip="esp32c3", version="2.0.0")
BLANK = ERASED.pack()


def entry(seq, state):
    return make_entry(seq, ImageState[state]).pack()


def both(first, second=BLANK):
    return (entry(*first), second if isinstance(second, bytes) else entry(*second))


@pytest.fixture
def flash():
    memory = FlashImage.erased(0x40000)
    memory.load(0x8000, TABLE.to_binary())
    memory.load(0x10000, build_image(chip="esp32c3", version="1.0.0"))
    return memory


@pytest.fixture
def updated(flash):
    flash.load(0x20000, IMAGE)
    return flash


def judged(memory, call, before, after, table=TABLE, config=CONFIG):
    """The verdict on a call asked for at byte 100, with otadata read at bytes 90 and 200."""
    samples = [Sample(before, "app", 90), Sample(after, "app", 200)]
    return judge_call(replace(call, start=100), samples, memory, table, config)


def call(kind, running="ota_0", slot=None, data=b"", error="ESP_OK"):
    return AppCall(kind, 0, running, slot, data, error)


RUNNING = ((1, "VALID"),)
PROBATION = ((1, "VALID"), (2, "PENDING_VERIFY"))

RIGHT = [
    ("update", call("update", slot="ota_1", data=IMAGE), RUNNING, ((1, "VALID"), (2, "NEW"))),
    ("begin", call("begin", slot="ota_1"), RUNNING, RUNNING),
    ("set_boot", call("set_boot", slot="ota_1"), RUNNING, ((1, "VALID"), (2, "NEW"))),
    ("confirm", call("confirm", "ota_1"), PROBATION, ((1, "VALID"), (2, "VALID"))),
    ("reject", call("reject", "ota_1", error=RESTART), PROBATION, ((1, "VALID"), (2, "INVALID"))),
    ("erase_previous", call("erase_previous", "ota_1"), ((1, "VALID"), (2, "VALID")), (BLANK, (2, "VALID"))),
]
IDS = [case[0] for case in RIGHT]


def pair(state):
    first, second = (*state, BLANK)[:2]
    return tuple(part if isinstance(part, bytes) else entry(*part) for part in (first, second))


@pytest.mark.parametrize(("name", "made", "before", "after"), RIGHT, ids=IDS)
def test_a_call_that_did_what_esp_idf_does_is_not_objected_to(updated, name, made, before, after):
    assert judged(updated, made, pair(before), pair(after)) is None


@pytest.mark.parametrize(("name", "made", "before", "after"), RIGHT, ids=IDS)
def test_a_call_that_returned_another_error_fails(updated, name, made, before, after):
    found = judged(updated, replace(made, error="ESP_FAIL"), pair(before), pair(after))
    assert found is not None
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert f"{name} " in found.reason
    assert f"returned ESP_FAIL, the model {made.error}" in found.reason


@pytest.mark.parametrize(("name", "made", "before", "after"), RIGHT, ids=IDS)
@pytest.mark.parametrize("number", [0, 1])
def test_a_call_that_left_another_entry_fails_and_shows_it_beside_the_model(updated, name, made, before, after, number):
    wrong = list(pair(after))
    wrong[number] = entry(9, "UNDEFINED")
    found = judged(updated, made, pair(before), tuple(wrong))
    assert found is not None
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert "left other otadata than the model" in found.reason
    rows = [[part.strip() for part in line.split("|")] for line in found.details.splitlines()]
    model = describe_entry(pair(after)[number])
    assert [f"entry {number} after", "seq 0x9 UNDEFINED", model] in rows
    assert [f"entry {number} before", describe_entry(pair(before)[number])] in [row[:2] for row in rows]


@pytest.mark.parametrize(("name", "made", "before", "after"), RIGHT, ids=IDS)
def test_judging_a_call_changes_nothing(updated, name, made, before, after):
    whole = updated.read(0, 0x40000)
    model_call(made, pair(before), updated, TABLE, CONFIG)
    assert updated.read(0, 0x40000) == whole


REFUSED = [
    ("update", call("update", "ota_1", "ota_0", IMAGE), PROBATION, "ESP_ERR_OTA_ROLLBACK_INVALID_STATE"),
    ("update", call("update", slot="ota_1", data=IMAGE[:-9]), RUNNING, "ESP_ERR_OTA_VALIDATE_FAILED"),
    ("begin", call("begin", slot="ota_0"), RUNNING, "ESP_ERR_OTA_PARTITION_CONFLICT"),
    ("reject", call("reject"), RUNNING, "ESP_ERR_OTA_ROLLBACK_FAILED"),
    ("confirm", call("confirm"), (BLANK, BLANK), "ESP_FAIL"),
    ("erase_previous", call("erase_previous"), RUNNING, "ESP_FAIL"),
]


@pytest.mark.parametrize(("name", "made", "state", "error"), REFUSED, ids=[f"{row[0]} {row[3]}" for row in REFUSED])
def test_a_refused_call_must_be_refused_with_that_error(flash, name, made, state, error):
    state = pair(state)
    assert judged(flash, replace(made, error=error), state, state) is None
    accepted = judged(flash, replace(made, error="ESP_OK"), state, state)
    assert accepted is not None
    assert accepted.verdict is Verdict.FIRMWARE_FAIL
    assert f"returned ESP_OK, the model {error}" in accepted.reason


# --- power lost in the call ------------------------------------------------------------------------------------------

CONFIRM = call("confirm", "ota_1", error=None)


@pytest.mark.parametrize(
    "left",
    [
        entry(2, "PENDING_VERIFY"),  # before the erase
        BLANK,  # between erase and write
        entry(2, "VALID")[:16] + b"\xff" * 16,  # half written
        entry(2, "VALID"),  # after the write
    ],
)
def test_what_a_cut_can_leave_is_not_objected_to(updated, left):
    assert judged(updated, CONFIRM, pair(PROBATION), (entry(1, "VALID"), left)) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (entry(1, "VALID"), entry(2, "ABORTED")),
        (entry(1, "VALID"), entry(4, "VALID")),
        (BLANK, entry(2, "PENDING_VERIFY")),
        (entry(3, "VALID"), entry(2, "VALID")),
    ],
)
def test_what_no_cut_can_leave_fails(updated, first, second):
    found = judged(updated, CONFIRM, pair(PROBATION), (first, second))
    assert found is not None
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert found.reason == "no power cut in confirm (app in ota_1) leaves this otadata"
    assert "(power lost)" in found.details


def test_what_only_single_torn_bits_explain_is_inconclusive(updated):
    torn = bytearray(entry(2, "PENDING_VERIFY"))
    torn[28] |= 0x02
    found = judged(updated, CONFIRM, pair(PROBATION), (entry(1, "VALID"), bytes(torn)))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "torn erase or write: repeat the cut" in found.reason


UPDATE = call("update", slot="ota_1", data=IMAGE, error=None)
HALF = IMAGE[: len(IMAGE) // 2].ljust(len(IMAGE), b"\xff")
BEGUN, CHOSEN = pair(((3, "VALID"),)), pair(((3, "VALID"), (4, "NEW")))


@pytest.mark.parametrize(
    ("left", "in_slot", "fails"),
    [
        (BEGUN, HALF, False),
        (BEGUN, IMAGE, False),
        ((entry(3, "VALID"), entry(4, "NEW")[:16] + b"\xff" * 16), IMAGE, False),
        ((entry(3, "VALID"), entry(4, "NEW")[:16] + b"\xff" * 16), HALF, True),
        (CHOSEN, IMAGE, False),
        (CHOSEN, HALF, True),
        (CHOSEN, None, False),
    ],
)
def test_a_slot_is_not_chosen_before_all_of_the_image_is_in_it(flash, left, in_slot, fails):
    """As far as the slot was read back after the cut."""
    samples = [Sample(pair(((3, "VALID"), (2, "VALID"))), "app", 90), Sample(left, "flash", 200)]
    after = KnownFlash(flash.read(0, 0x40000)).with_unknown(0x20000, 0x30000)
    if in_slot is not None:
        after = after.with_known(0x20000, in_slot)
    found = judge_call(replace(UPDATE, start=100), samples, flash, TABLE, CONFIG, Witnessed(flash=after))
    assert (found is not None and found.verdict is Verdict.FIRMWARE_FAIL) is fails
    assert found is None or "had chosen the slot when power was lost, and not all of the image" in found.reason


# --- an app of another ESP-IDF than its bootloader -------------------------------------------------------------------


@pytest.mark.parametrize("bootloader", ["v5.1", "v5.5", "v6.0"])
@pytest.mark.parametrize(("app", "left"), [("v5.1.6", entry(2, "VALID")), ("v5.5.1", BLANK), ("unknown", None)])
def test_the_app_follows_its_own_esp_idf(flash, bootloader, app, left):
    """From v5.5 on esp_ota_begin erases the inactive entry. An app that does not say is taken for the bootloader's."""
    if left is None:
        left = BLANK if bootloader >= "v5.5" else entry(2, "VALID")
    flash.load(0x10000, build_image(chip="esp32c3", version="1.0.0", idf_version=app))
    config = replace(CONFIG, idf_version=bootloader)
    before = pair(((3, "VALID"), (2, "VALID")))
    assert judged(flash, call("begin", slot="ota_1"), before, (before[0], left), config=config) is None


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offsets", [(), (90,), (200,)])
def test_without_otadata_on_both_sides_of_the_call_nothing_is_concluded(updated, offsets):
    samples = [Sample(pair(PROBATION), "app", offset) for offset in offsets]
    found = judge_call(replace(CONFIRM, start=100, error="ESP_OK"), samples, updated, TABLE, CONFIG)
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "otadata around confirm (app in ota_1) was not read back"


def test_the_samples_next_to_the_call_count(updated):
    states = ["NEW", "PENDING_VERIFY", "INVALID", "ABORTED"]
    samples = [
        Sample((entry(1, "VALID"), entry(2, state)), "app", offset)
        for state, offset in zip(states, (10, 99, 100, 300), strict=True)
    ]
    made = AppCall("reject", 100, "ota_1", error=RESTART)
    assert judge_call(made, samples, updated, TABLE, CONFIG) is None
    assert judge_call(replace(made, start=99), samples, updated, TABLE, CONFIG) is not None
    assert judge_call(replace(made, start=101), samples, updated, TABLE, CONFIG) is not None


def test_a_slot_that_nobody_knows_makes_the_call_inconclusive(updated):
    memory = KnownFlash(updated.read(0, 0x40000)).with_unknown(0x20000, 0x21000)
    found = judged(memory, call("set_boot", slot="ota_1"), pair(RUNNING), pair(((1, "VALID"), (2, "NEW"))))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the model cannot follow set_boot ota_1 (app in ota_0): the content of flash 0x20000" in found.reason


def test_an_update_needs_no_knowledge_of_the_slot_it_fills(updated):
    memory = KnownFlash(updated.read(0, 0x40000)).with_unknown(0x20000, 0x30000)
    made = call("update", slot="ota_1", data=IMAGE)
    assert judged(memory, made, pair(RUNNING), pair(((1, "VALID"), (2, "NEW")))) is None


entries = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.builds(
        lambda seq, state, label, crc: (
            made := make_entry(seq, state, label),
            made if crc is None else made._replace(crc=crc),
        )[1].pack(),
        st.integers(0, 4),
        st.sampled_from(list(ImageState)),
        st.sampled_from([b"\xff" * 20, b"app".ljust(20, b"\0")]),
        st.sampled_from([None, 0, 0xFFFFFFFF]),
    ),
)


@given(entries, entries)
def test_entries_that_differ_are_described_differently(one, other):
    assert (describe_entry(one) == describe_entry(other)) == (one == other)
