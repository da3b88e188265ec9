"""Classes of outcomes: each by situations as a person would tell them, and which one counts when several do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.chain import Boot, Chain, Record, Stage, follow
from rig.crash.outcomes import CLASSES, RANK, Ending, Progress, Setting, classify, is_degraded
from rig.evidence.records import Severity
from rig.idf.config import BootConfig
from rig.idf.otadata import active_index, parse
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import (
    ABORTED,
    ANTI_ROLLBACK,
    CONFIG,
    ERASED,
    INVALID,
    NEW,
    OTADATA,
    PENDING,
    UNDEFINED,
    VALID,
    device,
    entry,
    examples,
    model,
)  # fmt: skip

OLD = entry(1, VALID)
TORN = entry(1, VALID)[:20] + b"\xff" * 12
UPDATE = Setting("ota_0", "ota_1", 2, 1, CONFIG)
"""An update of ota_1 by an app in ota_0."""
FROM_FACTORY = Setting("factory", "ota_0", 2, 0, CONFIG)
TO_FACTORY = Setting("ota_0", "factory", 2, 2, CONFIG)
CHOSEN_AGAIN = Setting("ota_1", "ota_1", 2, 2, CONFIG)
"""esp_ota_set_boot_partition() for the slot that runs, when otadata knows both slots."""
NOT_YET = Progress()
CHOSEN = Progress(chosen=True)
TRIED = Progress(chosen=True, tried=True)
CONFIRMED = Progress(chosen=True, tried=True, confirmed=True)
FAILED = Progress(chosen=True, tried=True, failed=True)


def ended(
    slot: str | None,
    first: bytes = ERASED,
    second: bytes = ERASED,
    end: str = "runs",
    on_the_way: tuple[str, ...] = (),
    settled: bool = True,
) -> Chain:
    """The board ended up with `slot`; apps read the states `on_the_way`."""
    before = tuple(Boot("ota_1", state, "restarts") for state in on_the_way)
    return Chain((Stage((*before, Boot(slot, None, end)), Record((first, second), 0)),), settled)  # type: ignore[arg-type]


def outcome(
    chain: Chain,
    progress: Progress = NOT_YET,
    interrupted: str = "",
    setting: Setting = UPDATE,
    intact: tuple[str, ...] = ("factory", "ota_0", "ota_1"),
    repeats: bool = True,
) -> str:
    found = classify(Ending(chain, frozenset(intact), repeats), progress, interrupted, setting)
    assert found in CLASSES
    return found


# --- all is well -----------------------------------------------------------------------------------------------------


def test_power_is_lost_in_the_download_and_the_old_app_runs() -> None:
    assert outcome(ended("ota_0", OLD)) == "old app"


def test_power_is_lost_while_the_new_app_is_being_chosen_and_the_old_app_runs() -> None:
    assert outcome(ended("ota_0", OLD), NOT_YET, "NEW") == "old app"


def test_the_record_of_an_earlier_failure_does_not_make_this_update_a_failed_one() -> None:
    assert outcome(ended("ota_0", OLD, entry(2, ABORTED))) == "old app"


def test_power_is_lost_before_factory_is_chosen_and_the_old_app_runs() -> None:
    assert outcome(ended("ota_0", OLD), setting=TO_FACTORY) == "old app"


def test_power_is_lost_after_the_update_and_the_new_app_runs_confirmed() -> None:
    assert outcome(ended("ota_1", OLD, entry(2, VALID)), CONFIRMED) == "new app"


def test_power_is_lost_before_the_first_boot_and_the_new_app_confirms_itself_in_the_next_one() -> None:
    assert outcome(ended("ota_1", OLD, entry(2, VALID), on_the_way=("PENDING_VERIFY",)), CHOSEN) == "new app"


@pytest.mark.parametrize("state", [NEW, PENDING])
def test_the_new_app_runs_and_still_waits_to_be_confirmed(state: int) -> None:
    assert outcome(ended("ota_1", OLD, entry(2, state)), CHOSEN) == "new app on probation"


@pytest.mark.parametrize("state", [INVALID, ABORTED])
def test_the_new_app_fails_and_otadata_says_so(state: int) -> None:
    assert outcome(ended("ota_0", OLD, entry(2, state)), TRIED) == "update failed, recorded"


def test_factory_was_asked_for_and_runs() -> None:
    assert outcome(ended("factory"), setting=TO_FACTORY) == "factory app"


# --- hazards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [CHOSEN, TRIED])
def test_the_new_app_was_chosen_and_nothing_is_left_of_that(progress: Progress) -> None:
    assert outcome(ended("ota_0", OLD), progress) == "new app silently lost"


def test_the_first_update_was_chosen_and_factory_runs_as_if_nothing_had_been() -> None:
    assert outcome(ended("factory"), CHOSEN, "PENDING_VERIFY", FROM_FACTORY) == "new app silently lost"


@pytest.mark.parametrize(
    ("progress", "interrupted"),
    [(TRIED, "VALID"), (CONFIRMED, "")],
    ids=["while it confirmed", "after it had confirmed"],
)
def test_the_new_app_had_passed_and_the_old_one_runs(progress: Progress, interrupted: str) -> None:
    assert outcome(ended("ota_0", OLD), progress, interrupted) == "confirmation lost"


def test_the_confirmed_app_was_chosen_again_and_its_record_is_lost() -> None:
    assert outcome(ended("ota_0", OLD), setting=CHOSEN_AGAIN) == "confirmation lost"
    assert outcome(ended("ota_0", OLD), CHOSEN, "PENDING_VERIFY", CHOSEN_AGAIN) == "confirmation lost"


@pytest.mark.parametrize(
    ("progress", "interrupted"),
    [(TRIED, "INVALID"), (TRIED, "ABORTED"), (FAILED, "")],
    ids=["while it was rejected", "while it was rolled back", "after that"],
)
def test_the_new_app_failed_and_nothing_says_so(progress: Progress, interrupted: str) -> None:
    assert outcome(ended("ota_0", OLD), progress, interrupted) == "failure forgotten"


def test_the_running_app_was_chosen_again_over_the_record_of_the_other() -> None:
    """BOOTLOADER.md 7.5: before v6.0 the same number goes into the other sector."""
    assert outcome(ended("ota_1", entry(2, VALID), entry(2, VALID)), setting=CHOSEN_AGAIN) == "rollback target lost"
    assert outcome(ended("ota_1", ERASED, entry(2, VALID)), setting=CHOSEN_AGAIN) == "rollback target lost"
    assert outcome(ended("ota_1", OLD, entry(2, VALID)), setting=CHOSEN_AGAIN) == "old app"
    assert outcome(ended("ota_1", OLD, entry(2, VALID)), TRIED, "VALID", CHOSEN_AGAIN) == "old app"


@pytest.mark.parametrize("state", [UNDEFINED, 0x61BEC32D])
def test_the_new_app_runs_in_a_state_that_is_not_put_on_probation(state: int) -> None:
    assert outcome(ended("ota_1", OLD, entry(2, state)), CHOSEN) == "new app without probation"
    assert outcome(ended("ota_1", OLD, entry(2, state)), TRIED, "VALID") == "new app without probation"


def test_the_new_app_runs_as_valid_though_it_never_was_on_probation() -> None:
    """BOOTLOADER.md 7.8: ota_0 is NEW, loses its entry, and is taken for the first app of a blank device."""
    setting = Setting("ota_1", "ota_0", 2, 1, CONFIG)
    assert outcome(ended("ota_0", entry(1, VALID)), CHOSEN, setting=setting) == "new app without probation"


@pytest.mark.parametrize("other", [ERASED, entry(2, ABORTED), TORN], ids=["blank", "failed", "torn, too"])
def test_an_entry_is_torn_and_no_other_can_be_chosen(other: bytes) -> None:
    assert outcome(ended("ota_0", TORN, other)) == "degraded otadata"
    assert outcome(ended("ota_0", other, TORN)) == "degraded otadata"


def test_the_only_entry_left_is_that_of_the_app_that_failed() -> None:
    """BOOTLOADER.md 7.4: it is never repaired, and whoever runs can never confirm."""
    assert outcome(ended("ota_0", ERASED, entry(2, ABORTED)), FAILED) == "degraded otadata"


def test_a_factory_app_needs_no_entry() -> None:
    assert outcome(ended("factory", TORN), setting=FROM_FACTORY) == "old app"


def test_half_of_otadata_was_erased_for_factory_and_the_older_app_runs() -> None:
    """BOOTLOADER.md 7.11."""
    assert outcome(ended("ota_1", ERASED, entry(2, VALID)), setting=TO_FACTORY) == "another app"


def test_a_third_app_runs() -> None:
    setting = UPDATE._replace(slots=3)
    assert outcome(ended("ota_2", ERASED, entry(3, VALID)), CHOSEN, setting=setting, intact=("ota_2",)) == "another app"


@pytest.mark.parametrize("first", [entry(1, ABORTED), entry(1, INVALID)])
@pytest.mark.parametrize("second", [ERASED, entry(2, VALID), entry(2, ABORTED)], ids=["blank", "good", "failed, too"])
def test_a_failed_app_runs_though_another_one_is_intact(first: bytes, second: bytes) -> None:
    """BOOTLOADER.md 7.1 and 7.4."""
    assert outcome(ended("ota_0", first, second), FAILED) == "barred app boots"


def test_a_failed_app_that_is_the_only_one_left_had_better_run() -> None:
    assert outcome(ended("ota_0", entry(1, ABORTED)), FAILED, intact=("ota_0",)) == "degraded otadata"


# --- broken ----------------------------------------------------------------------------------------------------------


def test_the_same_update_done_again_does_not_lead_to_the_new_app() -> None:
    assert outcome(ended("ota_0", OLD), repeats=False) == "update cannot be repeated"


def test_it_never_settles() -> None:
    assert outcome(ended("ota_0", OLD, settled=False)) == "not settled"


def test_the_app_restarts_again_and_again() -> None:
    assert outcome(ended("ota_1", OLD, entry(2, VALID), "restarts"), CONFIRMED) == "restarts for ever"


def test_the_app_hangs() -> None:
    assert outcome(ended("ota_1", OLD, entry(2, VALID), "hangs"), CONFIRMED) == "hangs"


def test_the_bootloader_hangs_before_any_app() -> None:
    assert outcome(ended(None, OLD, entry(2, VALID), "hangs")) == "hangs"


def test_an_image_runs_that_does_not_verify() -> None:
    assert outcome(ended("ota_1", OLD, entry(2, VALID)), intact=("ota_0",)) == "damaged app boots"


@pytest.mark.parametrize("end", ["nothing bootable", "restarts"])
def test_nothing_is_found_to_boot(end: str) -> None:
    assert outcome(ended(None, OLD, entry(2, VALID), end)) == "unbootable"


def test_a_bootloader_that_gives_up_after_it_loaded_an_app_is_a_brick() -> None:
    assert outcome(ended("ota_1", end="nothing bootable")) == "unbootable"


# --- which one counts ------------------------------------------------------------------------------------------------


def test_the_worst_thing_that_can_be_said_is_said() -> None:
    """Everything is wrong at once; one after the other is mended."""
    first, second = entry(1, ABORTED), TORN
    wrong = ended("ota_0", first, second, "hangs", settled=False)
    assert outcome(wrong, FAILED, intact=("ota_1",), repeats=False) == "damaged app boots"
    assert outcome(wrong, FAILED, repeats=False) == "hangs"
    restarting = ended("ota_0", first, second, "restarts", settled=False)
    assert outcome(restarting, FAILED, repeats=False) == "restarts for ever"
    unsettled = ended("ota_0", first, second, settled=False)
    assert outcome(unsettled, FAILED, repeats=False) == "not settled"
    settled = ended("ota_0", first, second)
    assert outcome(settled, FAILED, repeats=False) == "update cannot be repeated"
    assert outcome(settled, FAILED) == "barred app boots"
    assert outcome(ended("ota_0", TORN), FAILED) == "degraded otadata"
    assert outcome(ended("ota_0", OLD), FAILED) == "failure forgotten"
    ranks = [RANK[name] for name in ("failure forgotten", "degraded otadata", "barred app boots")]
    assert ranks == sorted(ranks)


def test_severities_never_fall_as_ranks_rise() -> None:
    order = [Severity.GOOD, Severity.HAZARD, Severity.BROKEN]
    severities = [order.index(meaning.severity) for meaning in CLASSES.values()]
    assert severities == sorted(severities)
    assert sorted(RANK, key=RANK.__getitem__) == list(CLASSES)
    assert max(CLASSES, key=RANK.__getitem__) == "unbootable"


# --- what otadata says when a board has settled ----------------------------------------------------------------------

STATES = st.sampled_from([NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED])
ENTRIES = st.one_of(
    st.just(ERASED),
    st.builds(entry, st.integers(1, 3), STATES),
    st.builds(lambda state: entry(1, state)[:28] + b"\xff" * 4, STATES),
)


@given(ENTRIES, ENTRIES, st.sampled_from([CONFIG, ANTI_ROLLBACK]))
@examples(150)
def test_without_a_factory_app_otadata_is_degraded_if_and_only_if_no_boot_repairs_it(
    first: bytes, second: bytes, config: BootConfig
) -> None:
    """Held against the model: what it leaves when it has settled it will leave for ever."""
    chain = follow(model(config), WatchedFlash.of(device((first, second))), OTADATA).chain
    one, other = chain.record.entries
    useless = active_index((parse(one), parse(other))) < 0
    assert is_degraded(chain, UPDATE._replace(config=config)) == useless


# --- how far the run had come ----------------------------------------------------------------------------------------


def test_progress_adds_up_what_the_record_said() -> None:
    progress = NOT_YET.saw("none")
    assert progress == NOT_YET
    assert (progress := progress.saw("NEW")) == CHOSEN
    assert (progress := progress.saw("PENDING_VERIFY")) == TRIED
    assert progress.saw("VALID") == CONFIRMED
    assert progress.saw("INVALID") == progress.saw("ABORTED") == FAILED
    assert progress.saw("VALID").saw("none") == CONFIRMED


def test_a_state_without_a_name_says_nothing() -> None:
    assert NOT_YET.saw("0x61bec32d") == NOT_YET


def test_what_either_of_two_parts_saw() -> None:
    assert CHOSEN.joined(Progress(failed=True)) == Progress(chosen=True, failed=True)
