"""Choosing the mutation at which power is lost, and recording them."""

from __future__ import annotations

import pytest

from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Program
from rig.virtual.tap import Cut, MutationTap


def fires(cut: Cut, *mutations: Erase | Program | BurnSecureVersion) -> list[bool]:
    tap = MutationTap()
    tap.arm(cut)
    return [tap.announce(mutation).power_lost for mutation in mutations]


def test_a_cut_chooses_by_kind() -> None:
    assert fires(Cut(kind="program"), Erase(0), Program(0, b"x")) == [False, True]
    assert fires(Cut(kind="erase"), Program(0, b"x"), Erase(0)) == [False, True]
    assert fires(Cut(kind="burn"), Erase(0), BurnSecureVersion(0, 1)) == [False, True]


def test_a_cut_chooses_by_flash_range() -> None:
    otadata = Cut(start=0xD000, end=0xF000)
    assert fires(otadata, Erase(0xC000), Erase(0xF000), Program(0xCFFF, b"x"), Erase(0xE000)) == [
        False,
        False,
        False,
        True,
    ]


def test_a_program_that_reaches_into_the_range_counts() -> None:
    assert fires(Cut(start=0xD000, end=0xF000), Program(0xCFFF, b"xy")) == [True]


def test_a_cut_counts_only_matching_mutations_and_fires_once() -> None:
    assert fires(Cut(kind="erase", nth=2), Erase(0), Program(0, b"x"), Erase(0), Erase(0)) == [
        False,
        False,
        True,
        False,
    ]


def test_disarming_prevents_the_cut() -> None:
    tap = MutationTap()
    tap.arm(Cut())
    tap.disarm()
    assert not tap.announce(Erase(0)).power_lost
    assert not tap.fired


def test_firing_is_reported() -> None:
    tap = MutationTap()
    tap.arm(Cut())
    assert not tap.wait_fired(0)
    tap.announce(Erase(0))
    assert tap.wait_fired(0)


def test_nothing_is_recorded_unless_asked_for() -> None:
    tap = MutationTap()
    tap.announce(Erase(0))
    tap.start_recording()
    tap.life = 3
    tap.announce(Erase(SECTOR_SIZE))
    assert tap.stop_recording() == ((3, Erase(SECTOR_SIZE)),)
    tap.announce(Erase(0))
    assert len(tap.records) == 1


@pytest.mark.parametrize(("phase", "recorded"), [("before", 0), ("torn", 0), ("after", 1)])
def test_only_a_completed_mutation_is_recorded_at_a_cut(phase: str, recorded: int) -> None:
    tap = MutationTap()
    tap.start_recording()
    tap.arm(Cut(phase=phase))  # type: ignore[arg-type]
    tap.announce(Erase(0))
    assert len(tap.records) == recorded


def test_counting_from_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1"):
        MutationTap().arm(Cut(nth=0))
