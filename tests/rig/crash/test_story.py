"""What a recording wrote, in a person's words: who wrote what to otadata, and how far the run had come at each cut."""

from __future__ import annotations

import pytest

from rig.crash.names import Cut
from rig.crash.outcomes import Progress
from rig.crash.story import Story, state_of, understand
from rig.idf.effects import BurnSecureVersion, Erase, Mutation, Program
from rig.idf.otadata import parse
from rig.idf.partitions import PartitionTable
from tests.rig.crash.hand import (
    ABORTED,
    ENTRY_0,
    ENTRY_1,
    ERASED,
    INVALID,
    NEW,
    PENDING,
    TWO,
    VALID,
    WITH_FACTORY,
    device,
    entry,
    recording,
    small_update,
    table,
    write,
)  # fmt: skip

Told = tuple[int, int, str, str, str]
NOTHING = Progress()
CHOSEN = Progress(chosen=True)
TRIED = Progress(chosen=True, tried=True)


def story(
    entries: tuple[bytes, bytes],
    *mutations: Mutation,
    begin: int = 0,
    before: str = "ota_0",
    layout: PartitionTable = TWO,
) -> Story:
    return understand(recording(device(entries, layout=layout), mutations, begin=begin), before)


def told(story: Story) -> list[Told]:
    """Mutations, writer, sector and change of each write."""
    return [(write.first, write.last, write.writer, write.sector, write.change) for write in story.writes]


# --- who writes what, and where --------------------------------------------------------------------------------------


def test_an_update_is_three_writes_of_which_the_first_goes_to_the_inactive_entry() -> None:
    assert told(understand(small_update(), "ota_0")) == [
        (4, 5, "app", "inactive", "ota_1: none → NEW"),
        (6, 7, "bootloader", "active", "ota_1: NEW → PENDING_VERIFY"),
        (8, 9, "app", "active", "ota_1: PENDING_VERIFY → VALID"),
    ]


@pytest.mark.parametrize(
    ("entries", "mutations", "expected"),
    [
        pytest.param(
            (entry(1, VALID), entry(2, PENDING)), write(1, entry(2, ABORTED)),
            ("bootloader", "active", "ota_1: PENDING_VERIFY → ABORTED"), id="rolled back",
        ),
        pytest.param(
            (entry(1, VALID), entry(2, PENDING)), write(1, entry(2, INVALID)),
            ("app", "active", "ota_1: PENDING_VERIFY → INVALID"), id="rejected",
        ),
        pytest.param(
            (entry(1, VALID), entry(2, NEW)), write(1, entry(2, VALID)),
            ("app", "active", "ota_1: NEW → VALID"), id="confirmed before its first boot",
        ),
        pytest.param(
            (b"", b""), write(0, entry(1, VALID)),
            ("bootloader", "inactive", "ota_0: none → VALID"), id="first boot without factory",
        ),
        pytest.param(
            (b"", b""), write(0, entry(1, NEW)),
            ("app", "inactive", "ota_0: none → NEW"), id="first update from factory",
        ),
        pytest.param(
            (entry(1, VALID), entry(2, VALID)), write(1, entry(2, NEW)),
            ("app", "active", "ota_1: VALID → NEW"), id="chosen again from v6.0",
        ),
        pytest.param(
            (entry(1, VALID), entry(2, VALID)), write(0, entry(2, NEW)),
            ("app", "inactive", "ota_1: VALID → NEW"), id="chosen again before v6.0",
        ),
        pytest.param(
            (entry(3, VALID), entry(2, ABORTED)), [Erase(ENTRY_1)],
            ("app", "inactive", "ota_1: ABORTED → none"), id="erased by esp_ota_begin from v5.5",
        ),
        pytest.param(
            (entry(3, VALID), entry(2, VALID)), [Erase(ENTRY_0), Erase(ENTRY_1)],
            ("app", "both", "otadata: written → erased"), id="back to factory",
        ),
        pytest.param(
            (entry(1, VALID), b""), [Erase(ENTRY_1), *(Program(ENTRY_1 + at, entry(2, NEW)[at : at + 8])
                                                       for at in range(0, 32, 8))],
            ("app", "inactive", "ota_1: none → NEW"), id="in several programs",
        ),
    ],
)  # fmt: skip
def test_a_write_is_told_with_its_writer_and_its_sector(
    entries: tuple[bytes, bytes], mutations: list[Mutation], expected: tuple[str, str, str]
) -> None:
    assert told(story(entries, *mutations)) == [(1, len(mutations), *expected)]


def test_two_entries_are_aborted_in_two_writes() -> None:
    """Not in one over both: what lies between is a state of its own."""
    made = story((entry(1, PENDING), entry(2, PENDING)), *write(0, entry(1, ABORTED)), *write(1, entry(2, ABORTED)))
    assert told(made) == [
        (1, 2, "bootloader", "inactive", "ota_0: PENDING_VERIFY → ABORTED"),
        (3, 4, "bootloader", "active", "ota_1: PENDING_VERIFY → ABORTED"),
    ]


def test_erases_of_both_entries_end_with_the_second() -> None:
    made = story((entry(1, VALID), entry(2, NEW)), Erase(ENTRY_0), Erase(ENTRY_1), Program(ENTRY_0, entry(1, VALID)),
                 Program(ENTRY_1, entry(2, PENDING)))  # fmt: skip
    assert [(first, last) for first, last, *_ in told(made)] == [(1, 2), (3, 3), (4, 4)]


def test_mutations_of_other_sectors_divide_writes() -> None:
    made = story((entry(3, VALID), entry(2, VALID)), Erase(ENTRY_0), Erase(0x20000), Erase(ENTRY_1))
    assert [(first, last) for first, last, *_ in told(made)] == [(1, 1), (3, 3)]


def test_a_write_keeps_the_entries_before_and_after_it() -> None:
    first, second, _ = understand(small_update(), "ota_0").writes
    assert first.entries_before == (parse(entry(1, VALID)), parse(ERASED))
    assert first.entries_after == second.entries_before == (parse(entry(1, VALID)), parse(entry(2, NEW)))


@pytest.mark.parametrize(("number", "change"), [(3, None), (4, "NEW"), (5, "NEW"), (6, "PENDING_VERIFY"), (10, None)])
def test_a_mutation_belongs_to_the_write_it_is_part_of(number: int, change: str | None) -> None:
    found = understand(small_update(), "ota_0").write_at(number)
    assert (found.after if found else None) == change


# --- texts -----------------------------------------------------------------------------------------------------------


def test_every_mutation_is_told_where_it_goes() -> None:
    made = story(
        (entry(1, VALID), b""),
        Erase(0x20000),
        Program(0x20100, bytes(256)),
        Program(0x9040, bytes(64)),
        Program(0x8C00, bytes(4)),
        BurnSecureVersion(0, 2),
        *write(1, entry(2, NEW)),
    )
    assert made.texts == (
        "nothing",
        "erase ota_1 at 0x20000",
        "program 256 bytes of ota_1 at 0x20100",
        "program 64 bytes of nvs at 0x9040",
        "program 4 bytes of outside all partitions at 0x8c00",
        "burn the secure version 0 → 2 into the eFuse",
        "erase otadata[1] at 0xe000: app writes ota_1: none → NEW",
        "program 32 bytes of otadata[1] at 0xe000: app writes ota_1: none → NEW",
    )


def test_what_is_going_on_at_a_mutation_is_the_whole_write_or_what_it_does_by_itself() -> None:
    made = story((entry(1, VALID), b""), Erase(0x20000), *write(1, entry(2, NEW)), BurnSecureVersion(0, 1))
    assert [made.what_at(number) for number in range(5)] == [
        "nothing",
        "erase ota_1",
        "ota_1: none → NEW",
        "ota_1: none → NEW",
        "burn the secure version 0 → 1 into the eFuse",
    ]


@pytest.mark.parametrize(
    ("data", "state"),
    [(ERASED, "none"), (entry(2, PENDING), "PENDING_VERIFY"), (entry(2, NEW)[:28] + bytes(4), "damaged")],
)
def test_the_state_of_an_entry(data: bytes, state: str) -> None:
    assert state_of(parse(data)) == state


# --- what the run was for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mutations", "target"),
    [
        pytest.param(write(1, entry(2, NEW)), "ota_1", id="another slot is chosen"),
        pytest.param([*write(1, entry(2, NEW)), *write(0, entry(3, NEW))], "ota_0", id="the last one chosen counts"),
        pytest.param([Erase(ENTRY_0), Erase(ENTRY_1)], "factory", id="factory is chosen"),
        pytest.param([Program(0x9040, b"\0")], "ota_0", id="nothing is chosen"),
        pytest.param([], "ota_0", id="nothing happens"),
    ],
)
def test_the_target_is_the_slot_that_the_run_chose(mutations: list[Mutation], target: str) -> None:
    assert story((entry(1, VALID), b""), *mutations).target == target


@pytest.mark.parametrize("earlier", [write(1, entry(2, NEW)), [Erase(ENTRY_0), Erase(ENTRY_1)]])
def test_what_was_chosen_before_the_part_that_matters_is_not_the_target(earlier: list[Mutation]) -> None:
    assert story((entry(1, VALID), b""), *earlier, Program(0x9040, b"\0"), begin=2, before="here").target == "here"


def test_the_ways_are_the_slots_that_otadata_could_choose_from() -> None:
    assert story((b"", b"")).ways == 0
    assert story((entry(1, VALID), b"")).ways == 1
    assert story((entry(1, VALID), entry(2, VALID))).ways == 2
    assert story((entry(2, VALID), entry(2, NEW))).ways == 1
    assert story((entry(1, VALID), entry(2, VALID)[:28] + bytes(4))).ways == 1


# --- how far it had come ---------------------------------------------------------------------------------------------


def test_progress_follows_the_record_of_the_new_app() -> None:
    made = understand(small_update(), "ota_0")
    confirmed = TRIED._replace(confirmed=True)
    assert [made.progress(number) for number in range(10)] == [
        *[NOTHING] * 5, CHOSEN, CHOSEN, TRIED, TRIED, confirmed
    ]  # fmt: skip


@pytest.mark.parametrize("state", [INVALID, ABORTED])
def test_an_app_that_failed_has_failed(state: int) -> None:
    states = (NEW, PENDING, state)
    made = story((entry(1, VALID), b""), *(step for after in states for step in write(1, entry(2, after))))
    assert made.progress(6) == TRIED._replace(failed=True)


def test_records_from_before_the_run_do_not_count() -> None:
    stale = entry(3, VALID), entry(2, ABORTED)
    made = story(stale, Erase(0x20000), *write(1, entry(4, NEW)))
    assert [made.progress(number) for number in range(4)] == [NOTHING, NOTHING, NOTHING, CHOSEN]


def test_an_update_after_one_that_was_rolled_back_counts_though_it_has_the_same_number() -> None:
    """From ota_0 with number 1 every update of ota_1 gets number 2, also the next one after a failure."""
    made = story((entry(1, VALID), entry(2, ABORTED)), *write(1, entry(2, NEW)), *write(1, entry(2, PENDING)))
    assert [made.progress(number) for number in range(5)] == [NOTHING, NOTHING, CHOSEN, CHOSEN, TRIED]


def test_progress_is_counted_from_the_part_that_matters_on() -> None:
    mutations = [Program(0x9040, b"\0"), Program(0x9041, b"\0"), *write(1, entry(2, NEW))]
    made = story((entry(1, VALID), b""), *mutations, begin=2)
    assert [made.progress(number) for number in range(5)] == [NOTHING, NOTHING, NOTHING, NOTHING, CHOSEN]


@pytest.mark.parametrize(
    ("cut", "state"),
    [
        (Cut(3), ""),
        (Cut(4, "torn-erase-1"), "NEW"),
        (Cut(4), "NEW"),
        (Cut(5, "torn-program-31"), "NEW"),
        (Cut(5), ""),
        (Cut(6, "torn-erase-1"), "PENDING_VERIFY"),
        (Cut(8), "VALID"),
        (Cut(9, "torn-program-bits-1"), "VALID"),
        (Cut(9), ""),
    ],
)
def test_a_cut_within_a_write_interrupts_a_state(cut: Cut, state: str) -> None:
    assert understand(small_update(), "ota_0").interrupted(cut) == state


def test_a_write_for_another_app_is_none_of_the_new_ones() -> None:
    made = story((entry(3, PENDING), entry(2, VALID)), *write(0, entry(3, ABORTED)), *write(0, entry(4, NEW)))
    assert made.target == "ota_1"
    assert made.interrupted(Cut(1)) == ""


# --- parts of a story ------------------------------------------------------------------------------------------------


def test_a_power_up_after_a_cut_belongs_to_the_same_story() -> None:
    """After a cut in the update the bootloader goes on with it: its target and what is stale stay those of the run."""
    outer = story((entry(1, VALID), entry(2, ABORTED)), Erase(0x20000), *write(1, entry(2, NEW)))
    after = recording(device((entry(1, VALID), entry(2, NEW))), write(1, entry(2, PENDING)))
    inner = outer.followed_by(after)
    assert (inner.before, inner.target, inner.ways) == ("ota_0", "ota_1", 2)
    assert [inner.progress(number) for number in range(3)] == [CHOSEN, CHOSEN, TRIED]
    assert inner.interrupted(Cut(1)) == "PENDING_VERIFY"


def test_without_otadata_there_is_nothing_to_tell_but_the_mutations() -> None:
    bare = PartitionTable(tuple(part for part in table("factory").entries if not part.is_otadata))
    made = understand(recording(device(layout=bare), [Erase(0x9000)]), "factory")
    assert (made.writes, made.target, made.otadata) == ((), "factory", None)
    assert made.progress(1) == NOTHING


def test_the_setting_of_a_story_is_what_its_classes_depend_on() -> None:
    made = story((b"", b""), *write(0, entry(1, NEW)), before="factory", layout=WITH_FACTORY)
    setting = made.setting
    assert (setting.before, setting.target, setting.slots, setting.ways) == ("factory", "ota_0", 2, 0)
    assert setting.config == made.recording.boot_config
