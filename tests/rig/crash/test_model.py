"""The model as a board, held against the virtual chip's firmware on thousands of flash states."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rig.boards.image_boots import ImageBooter
from rig.crash.chain import Chain, follow
from rig.crash.model import ModelBooter
from rig.idf.config import IDF_VERSIONS, BootConfig
from rig.idf.effects import BurnSecureVersion, Mutation
from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import (
    ABORTED,
    ANTI_ROLLBACK,
    CHIP,
    CONFIG,
    ERASED,
    INVALID,
    NEW,
    NVS,
    NVS_SIZE,
    OTADATA,
    PENDING,
    TWO,
    UNDEFINED,
    VALID,
    WITH_FACTORY,
    app,
    corrupt,
    device,
    entry,
    examples,
    model,
    table,
    virtual,
)

STATES = st.sampled_from([NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED, 0x55])
GOOD = st.builds(entry, st.sampled_from([0, 1, 2, 3, 4, 5, 0xFFFFFFFE]), STATES)
BAD_CRC = st.builds(lambda data: data[:28] + b"\xff" * 4, st.builds(entry, st.integers(1, 3), STATES))
ENTRIES = st.one_of(GOOD, GOOD, st.just(ERASED), BAD_CRC)
LAYOUTS = st.sampled_from([TWO, WITH_FACTORY, table("ota_0", "ota_1", "ota_2")])
# `fail` has a test of its own.
DIAGNOSTICS = st.sampled_from(["pass", "hang", "panic", "watchdog", "reboot", "delay", "manual"])
RULES = st.sampled_from([CONFIG, CONFIG, ANTI_ROLLBACK, replace(CONFIG, rollback=False)])


class Case(NamedTuple):
    """A device, the ESP-IDF of its bootloader and of its apps, and how diagnostics end."""

    flash: FlashImage
    layout: PartitionTable
    config: BootConfig
    app_idf: str
    diagnostics: str


@st.composite
def cases(draw: st.DrawFn, entries: st.SearchStrategy[bytes] = ENTRIES, diagnostics=DIAGNOSTICS) -> Case:
    layout, outcome = draw(LAYOUTS), draw(diagnostics)
    config = replace(draw(RULES), idf_version=draw(st.sampled_from(IDF_VERSIONS)))
    app_idf = draw(st.sampled_from(IDF_VERSIONS))
    images = st.builds(app, st.just("1.0.0"), st.integers(0, 2), st.just(app_idf))
    images = st.one_of(images, images, images.map(corrupt), images.map(lambda image: image[:250]), st.just(b""))
    slots = {part.slot: draw(images) for part in layout.app_slots}
    pair = draw(entries), draw(entries)
    flash = device(pair, layout=layout, slots=slots, burnt=draw(st.integers(0, 2)), diagnostics=outcome)
    return Case(flash, layout, config, app_idf, outcome)


def followed(booter: ImageBooter, case: Case) -> tuple[Chain, list[Mutation]]:
    """The boots, and what the first power-up did to otadata, slots and eFuse; the app's own store is its own matter."""
    found = follow(booter, WatchedFlash.of(case.flash), OTADATA)
    mutations = [
        mutation
        for mutation in found.mutations
        if isinstance(mutation, BurnSecureVersion) or not NVS <= mutation.offset < NVS + NVS_SIZE
    ]
    return found.chain, mutations


def both(case: Case) -> tuple[tuple[Chain, list[Mutation]], tuple[Chain, list[Mutation]]]:
    booter = ModelBooter(case.config, case.app_idf, case.layout, case.diagnostics)
    return followed(booter, case), followed(virtual(case.config, case.layout), case)


@given(cases())
@examples(150)
def test_slots_states_endings_records_and_mutations_are_the_same(case: Case) -> None:
    mine, chip = both(case)
    assert mine == chip


@given(cases(diagnostics=st.just("fail")))
@examples(60)
def test_an_app_that_rejects_itself_does_the_same(case: Case) -> None:
    states = [int.from_bytes(case.flash.read(at + 24, 4), "little") for at in (OTADATA, OTADATA + 0x1000)]
    # The app forgets the outcome when it rejects; who comes on probation after it passes. The model knows one outcome.
    # A bootloader with rollback lets none come after it that was PENDING_VERIFY already.
    coming = states.count(NEW) + states.count(PENDING)
    assume(coming <= 1 or (NEW not in states and case.config.rollback))
    mine, chip = both(case)
    assert mine == chip


@pytest.mark.parametrize(
    ("diagnostics", "boots", "state"),
    [
        ("pass", [("ota_1", "PENDING_VERIFY", "runs")], VALID),
        ("delay", [("ota_1", "PENDING_VERIFY", "runs")], VALID),
        ("manual", [("ota_1", "PENDING_VERIFY", "runs")], PENDING),
        ("hang", [("ota_1", "PENDING_VERIFY", "hangs")], PENDING),
        ("fail", [("ota_1", "PENDING_VERIFY", "restarts"), ("ota_0", "VALID", "runs")], INVALID),
        ("panic", [("ota_1", "PENDING_VERIFY", "restarts"), ("ota_0", "VALID", "runs")], ABORTED),
        ("watchdog", [("ota_1", "PENDING_VERIFY", "restarts"), ("ota_0", "VALID", "runs")], ABORTED),
        ("reboot", [("ota_1", "PENDING_VERIFY", "restarts"), ("ota_0", "VALID", "runs")], ABORTED),
    ],
)
def test_each_outcome_of_the_diagnostics(diagnostics: str, boots: list[tuple[str, str, str]], state: int) -> None:
    """firmware_under_test/PROTOCOL.md, section 4."""
    flash = device((entry(1, VALID), entry(2, NEW)), diagnostics=diagnostics)
    mine, chip = both(Case(flash, TWO, CONFIG, "v5.5", diagnostics))
    assert mine == chip
    first = mine[0].stages[0]
    assert list(first.boots) == boots
    assert first.left.entries == (entry(1, VALID), entry(2, state))


def test_only_an_app_on_probation_judges_itself() -> None:
    """Without rollback in the bootloader it never is: its state stays NEW."""
    flash = device((entry(1, VALID), entry(2, NEW)), diagnostics="reboot")
    mine, chip = both(Case(flash, TWO, replace(CONFIG, rollback=False), "v5.5", "reboot"))
    assert mine == chip
    assert mine[0].stages[0].boots == (("ota_1", "NEW", "runs"),)


@pytest.mark.parametrize("idf", ["v5.1", "v6.0"])
@pytest.mark.parametrize("layout", [TWO, WITH_FACTORY], ids=["without factory", "with factory"])
@pytest.mark.parametrize("ota_1", [app("ota_1"), corrupt(app("ota_1"))], ids=["good", "corrupt"])
def test_every_combination_of_states(idf: str, layout: PartitionTable, ota_1: bytes) -> None:
    config = replace(CONFIG, idf_version=idf)
    states = (None, NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED)
    records = [(b"" if state is None else entry(seq, state) for state in states) for seq in (1, 2)]
    first, second = map(list, records)
    for pair in ((one, other) for one in first for other in second):
        case = Case(device(pair, layout=layout, slots={"ota_1": ota_1}), layout, config, "v5.5", "pass")
        mine, chip = both(case)
        assert mine == chip, pair


# --- where both have to decide the same though nothing is well -------------------------------------------------------


def test_a_c_assertion_in_the_app_is_a_panic() -> None:
    """With anti-rollback ESP-IDF asserts on an image without descriptor, here when the new app rejects itself."""
    headless = bytearray(build_image(chip=CHIP, version="1.0.0"))
    headless[32:36] = bytes(4)
    flash = device((entry(1, VALID), entry(2, NEW)), slots={"ota_0": bytes(headless)}, diagnostics="fail")
    mine, chip = both(Case(flash, TWO, ANTI_ROLLBACK, "v5.5", "fail"))
    assert chip[0].stages[0].boots[0] == ("ota_1", "PENDING_VERIFY", "restarts")
    assert mine == chip


def test_a_bootloader_that_crashes_restarts_for_ever() -> None:
    """Anti-rollback divides by the number of OTA slots, even if there are none."""
    layout = table("factory")
    case = Case(device((entry(1, VALID), b""), layout=layout), layout, ANTI_ROLLBACK, "v5.5", "pass")
    mine, chip = both(case)
    assert {boot for boot in mine[0].stages[0].boots} == {(None, None, "restarts")}
    assert mine == chip


def test_an_older_app_under_a_newer_bootloader_keeps_its_own_rules() -> None:
    booter = model(replace(CONFIG, idf_version="v6.0"))
    assert booter.app_config.idf_version == "v6.0"
    older = ModelBooter(CONFIG, "v5.1.7", TWO, "pass")
    assert (older.config.idf_version, older.app_config.idf_version) == ("v5.5", "v5.1")
