"""What a test compares: plain values, which explain a difference with what witnesses it."""

import pytest

from rig.evidence.observe import describe_entry
from rig.evidence.records import BootRecord, Transition
from rig.evidence.seen import SeenBoots, SeenOtadata, SeenTransitions
from rig.idf.otadata import ImageState, make_entry

STEPS = [("ota_1", "none", "NEW", "app"), ("ota_1", "NEW", "PENDING_VERIFY", "bootloader")]
LINE = "line 42: I (157) boot: otadata[1] is selected as new and marked PENDING_VERIFY state"


def transitions(*steps):
    return SeenTransitions(
        [
            Transition(slot=slot, before=before, after=after, by=by, boot=number, witness=[LINE])
            for number, (slot, before, after, by) in enumerate(steps)
        ]
    )


def boots(*slots):
    return SeenBoots(
        [
            BootRecord(index=number, started_s=0.0, slot=slot, reset="0x1 (POWERON)", log_lines=(1, 9))
            for number, slot in enumerate(slots)
        ]
    )


def test_transitions_are_a_list_of_plain_steps():
    seen = transitions(*STEPS)
    assert seen == STEPS
    assert seen != STEPS[:1]
    assert seen.explain(STEPS) == []


def test_part_of_the_transitions_still_explains_itself():
    last = transitions(*STEPS)[-1:]
    assert last == STEPS[-1:]
    assert any(LINE in line for line in last.explain([("ota_1", "NEW", "VALID", "app")]))
    assert transitions(*STEPS)[0] == STEPS[0]


def test_a_different_transition_is_shown_side_by_side_with_its_witness():
    expected = [STEPS[0], ("ota_1", "NEW", "VALID", "app")]
    text = transitions(*STEPS).explain(expected)
    row = next(line for line in text if line.startswith("! "))
    left, right = (side.strip() for side in row.removeprefix("! ").split("|"))
    assert (left, right) == ("ota_1: NEW → VALID by app", "ota_1: NEW → PENDING_VERIFY by bootloader")
    assert any(LINE in line for line in text)
    assert text[0].startswith("transitions: 1 of 2 differ")
    assert not any(line.startswith("! ") and "none → NEW" in line for line in text), "what agrees is not marked"


def test_a_missing_and_an_additional_transition_are_both_shown():
    assert any("(nothing)" in line and "PENDING_VERIFY" in line for line in transitions(*STEPS).explain(STEPS[:1]))
    assert any("(nothing)" in line and "PENDING_VERIFY" in line for line in transitions(STEPS[0]).explain(STEPS))


def test_boots_are_a_list_of_slots_and_a_difference_tells_of_the_boot():
    seen = boots("ota_0", None, "ota_1")
    assert seen == ["ota_0", None, "ota_1"]
    text = seen.explain(["ota_0", "factory", "ota_1"])
    row = next(line for line in text if line.startswith("! "))
    assert [side.strip() for side in row.removeprefix("! ").split("|")] == ["factory", "(no app)"]
    assert any("boot 1, lines 1-9 of the log: reset 0x1 (POWERON)" in line for line in text)


def test_otadata_compares_as_bytes_and_explains_in_words():
    valid, new = make_entry(1, ImageState.VALID).pack(), make_entry(2, ImageState.NEW).pack()
    seen = SeenOtadata.of((valid, b"\xff" * 32))
    assert seen == (valid, b"")
    assert seen.explain((valid, b"")) == []
    assert seen.explain((valid, new)) == [f"otadata entry 1: expected {describe_entry(new)}, seen erased"]


@pytest.mark.parametrize("seen", [transitions(*STEPS), boots("ota_0"), SeenOtadata.of((b"\xff" * 32, b"\xff" * 32))])
@pytest.mark.parametrize("other", [None, 7, "ota_0", {"slot": "ota_0"}])
def test_a_comparison_with_something_else_is_left_to_pytest(seen, other):
    assert seen != other
    assert seen.explain(other) == []
