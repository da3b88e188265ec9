"""Bootloaders that are wrong on purpose: wrong in the one way that is promised, and right in everything else."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.inventory import VirtualBoardSection
from rig.idf.bootloader import BootResult, run
from rig.idf.effects import Effect, Erase, Log, Mutation, Program
from rig.idf.memory import FlashImage, complete, cut_after
from rig.idf.partitions import PartitionTable
from rig.virtual.wrong_bootloaders import WRONG, Bootloader, erases_both_entries, needs_an_entry
from tests.rig.crash.hand import (
    ABORTED,
    CONFIG,
    ENTRY_0,
    ENTRY_1,
    ERASED,
    INVALID,
    NEW,
    OTADATA,
    PENDING,
    TWO,
    UNDEFINED,
    VALID,
    WITH_FACTORY,
    content,
    device,
    entry,
    examples,
)

STATES = st.sampled_from([NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED])
ENTRIES = st.one_of(st.just(ERASED), st.builds(entry, st.integers(1, 4), STATES), st.binary(min_size=32, max_size=32))
LAYOUTS = st.sampled_from([TWO, WITH_FACTORY])


def boot(bootloader: Bootloader, flash: FlashImage) -> tuple[BootResult, list[Effect]]:
    return complete(bootloader(flash, CONFIG), flash)


def mutations(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Mutation)]


def blank_moments(bootloader: Bootloader, image: FlashImage) -> int:
    """After how many mutations of a boot both entries are blank."""
    _, effects = boot(bootloader, image.copy())
    found = 0
    for count in range(1, len(mutations(effects)) + 1):
        flash = image.copy()
        cut_after(bootloader(flash, CONFIG), flash, count)
        found += flash.read(ENTRY_0, 32) == flash.read(ENTRY_1, 32) == ERASED
    return found


# --- erases both entries ---------------------------------------------------------------------------------------------


@given(ENTRIES, ENTRIES, LAYOUTS)
@examples(150)
def test_undisturbed_it_boots_logs_and_leaves_the_same_as_the_right_one(
    first: bytes, second: bytes, layout: PartitionTable
) -> None:
    right, wrong = device((first, second), layout=layout), device((first, second), layout=layout)
    result, effects = boot(run, right)
    wrong_result, wrong_effects = boot(erases_both_entries, wrong)
    assert wrong_result == result
    assert [line for line in wrong_effects if isinstance(line, Log)] == [
        line for line in effects if isinstance(line, Log)
    ]
    assert content(wrong) == content(right)


@pytest.mark.parametrize("number", [0, 1])
def test_to_write_one_entry_it_erases_both_first_and_writes_both_then(number: int) -> None:
    old, new, pending = entry(1, VALID), entry(2, NEW), entry(2, PENDING)
    flash = device((new, old) if number == 0 else (old, new))
    _, effects = boot(erases_both_entries, flash)
    active, other = (ENTRY_0, ENTRY_1) if number == 0 else (ENTRY_1, ENTRY_0)
    assert mutations(effects) == [Erase(other), Erase(active), Program(active, pending), Program(other, old)]


def test_two_entries_on_probation_are_both_aborted() -> None:
    flash = device((entry(1, PENDING), entry(2, PENDING)))
    boot(erases_both_entries, flash)
    assert [flash.read(at, 32) for at in (ENTRY_0, ENTRY_1)] == [entry(1, ABORTED), entry(2, ABORTED)]


@pytest.mark.parametrize(
    "entries",
    [
        (entry(1, VALID), entry(2, NEW)),
        (entry(3, NEW), entry(2, VALID)),
        (entry(1, VALID), entry(2, PENDING)),
    ],
)
def test_only_the_wrong_one_has_a_moment_without_any_record(entries: tuple[bytes, bytes]) -> None:
    assert blank_moments(run, device(entries)) == 0
    assert blank_moments(erases_both_entries, device(entries)) == 1


@given(ENTRIES, ENTRIES)
@examples(50)
def test_where_the_right_one_writes_nothing_it_writes_nothing(first: bytes, second: bytes) -> None:
    _, effects = boot(run, device((first, second)))
    _, wrong = boot(erases_both_entries, device((first, second)))
    assert bool(mutations(wrong)) == bool(mutations(effects))


# --- needs an entry --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [
        (ERASED, ERASED),
        (entry(1, ABORTED), entry(2, INVALID)),
        (entry(1, VALID)[:20], ERASED),
    ],
    ids=["blank", "both failed", "torn"],
)
@pytest.mark.parametrize("layout", [TWO, WITH_FACTORY], ids=["without factory", "with factory"])
def test_without_an_entry_that_can_be_chosen_it_boots_nothing(
    entries: tuple[bytes, bytes], layout: PartitionTable
) -> None:
    assert boot(run, device(entries, layout=layout))[0].outcome == "booted"
    result, effects = boot(needs_an_entry, device(entries, layout=layout))
    assert (result.outcome, result.slot) == ("reset", None)
    assert mutations(effects) == []
    assert Log("E", "boot", "No bootable app partitions in the partition table") in effects


@pytest.mark.parametrize("state", [NEW, VALID, UNDEFINED])
def test_with_an_entry_it_boots_as_the_other_wrong_one(state: int) -> None:
    entries = entry(1, VALID), entry(2, state)
    assert boot(needs_an_entry, device(entries)) == boot(erases_both_entries, device(entries))


# --- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bootloader", WRONG.values(), ids=WRONG)
def test_without_a_partition_table_they_do_as_the_right_one(bootloader: Bootloader) -> None:
    flash = device((entry(1, VALID), entry(2, NEW)))
    flash.load(0x8000, b"\0" * 0xC00)
    assert boot(bootloader, flash.copy()) == boot(run, flash.copy())


@pytest.mark.parametrize("bootloader", WRONG.values(), ids=WRONG)
def test_without_otadata_they_do_as_the_right_one(bootloader: Bootloader) -> None:
    bare = PartitionTable(tuple(part for part in WITH_FACTORY.entries if not part.is_otadata))
    flash = device(layout=bare)
    assert boot(bootloader, flash.copy()) == boot(run, flash.copy())
    assert flash.read(OTADATA, 32) == ERASED


def test_a_board_can_be_given_each_of_them() -> None:
    """The names of rig.toml are those of the bootloaders."""
    annotation = VirtualBoardSection.model_fields["wrong_bootloader"].annotation
    (names,) = (choice for choice in get_args(annotation) if choice is not type(None))
    assert set(get_args(names)) == set(WRONG)
