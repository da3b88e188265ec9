"""Adding up: classes, cells, windows and findings of a small update, from outcomes given by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from rig.crash.chain import Boot, Chain, Record, Stage
from rig.crash.explore import Explored, Seen
from rig.crash.images import CrashImages
from rig.crash.names import Cut, Name
from rig.crash.outcomes import CLASSES, Progress
from rig.crash.recording import Recording
from rig.crash.story import understand
from rig.crash.tally import Tally, describe
from rig.crash.torn import kind_of
from rig.evidence.records import RiskyWindow, Severity, Verdict
from rig.idf.effects import Erase
from tests.rig.crash.hand import (
    ABORTED,
    ENTRY_0,
    ENTRY_1,
    ERASED,
    PENDING,
    VALID,
    WITH_FACTORY,
    device,
    entry,
    recording,
    small_update,
    write,
)  # fmt: skip


def ended(slot: str | None, first: bytes = ERASED, second: bytes = ERASED, end: str = "runs") -> Chain:
    return Chain((Stage((Boot(slot, "VALID" if slot else None, end),), Record((first, second), 0)),), True)  # type: ignore[arg-type]


OLD = ended("ota_0", entry(1, VALID))
_DONE = Record((entry(1, VALID), entry(2, VALID)), 0)
NEW = Chain(tuple(Stage((Boot("ota_1", state, "runs"),), _DONE) for state in ("PENDING_VERIFY", "VALID")), True)
FAILED = ended("ota_0", entry(1, VALID), entry(2, ABORTED))
BRICK = ended(None, end="nothing bootable")
DEGRADED = ended("ota_0", entry(1, VALID)[:20].ljust(32, b"\xff"))
Ends = Callable[[Cut], Chain]


def seen(
    board: Chain, model: Chain | None = None, intact: Iterable[str] = ("ota_0", "ota_1"), repeats: bool = True
) -> Seen:
    return Seen(board, model or board, frozenset(intact), repeats, (), (), ())


def as_it_should(cut: Cut) -> Chain:
    """How a small update ends: mutations 1 to 3 download, 4 to 5 choose, 6 to 7 put on probation, 8 to 9 confirm."""
    if cut < Cut(5):
        return OLD
    if cut.number == 5:
        return OLD if cut.form else NEW
    if cut.number == 7 and not cut.form:
        return FAILED
    return NEW if cut == Cut(9) else OLD


def tally(ends: Ends = as_it_should, made: Recording | None = None, before: str = "ota_0") -> Tally:
    """Every crash image of the recording, ended as `ends` says."""
    made = made or small_update()
    found = Tally(understand(made, before))
    for number, point in enumerate(CrashImages.of(made).points()):
        found.add(Explored(point, seen(ends(point.cut)), number))
    return found


def but(change: Callable[[Cut], Chain | None]) -> Ends:
    """As it should, but for the cuts of which `change` says otherwise."""
    return lambda cut: change(cut) or as_it_should(cut)


# --- classes and cells -----------------------------------------------------------------------------------------------


def test_every_image_is_in_exactly_one_class() -> None:
    found = tally()
    assert found.images == len(CrashImages.of(small_update()))
    counts = {outcome.name: outcome.images for outcome in found.outcomes()}
    assert sum(counts.values()) == found.images
    assert counts["new app"] == 2
    assert counts["update failed, recorded"] == 1
    assert counts["new app silently lost"] == len([*CrashImages.of(small_update()).of_mutation(6)]) + 36
    assert counts["unbootable"] == 0


def test_classes_are_listed_from_the_mildest_on_with_what_they_mean() -> None:
    outcomes = tally(but(lambda cut: BRICK if cut == Cut(9) else None)).outcomes()
    order = list(CLASSES)
    ranks = [order.index(outcome.name) for outcome in outcomes]
    assert ranks == sorted(ranks)
    assert outcomes[-1].name == "unbootable"
    assert outcomes[-1].severity is Severity.BROKEN
    assert all(outcome.meaning == CLASSES[outcome.name].text for outcome in outcomes)


def test_each_mutation_has_a_cell_with_what_a_cut_after_it_gives_and_the_worst_of_its_forms() -> None:
    cells = tally(but(lambda cut: BRICK if cut == Cut(2, "torn-program-128") else None)).mutations()
    assert [cell.number for cell in cells] == list(range(10))
    assert (cells[0].text, cells[0].outcome, cells[0].images) == ("nothing", "old app", 1)
    assert (cells[2].outcome, cells[2].worst, cells[2].images) == ("old app", "unbootable", 5)
    assert (cells[6].outcome, cells[7].outcome) == ("new app silently lost", "update failed, recorded")
    assert cells[7].worst == "new app silently lost"


# --- windows ---------------------------------------------------------------------------------------------------------


def facts(window: RiskyWindow) -> tuple[str, str, str, list[str], bool]:
    return window.writer, window.change, window.sector, window.outcomes, window.single_bits


def test_an_update_has_two_windows() -> None:
    assert [facts(window) for window in tally().windows()] == [
        ("bootloader", "ota_1: NEW → PENDING_VERIFY", "active", ["new app silently lost"], False),
        ("app", "ota_1: PENDING_VERIFY → VALID", "active", ["confirmation lost"], False),
    ]


def test_a_window_reaches_from_the_first_unsafe_image_to_the_last_and_is_as_wide_as_these() -> None:
    window, _ = tally().windows()
    assert (window.first, window.last) == ("by-hand/m0006/torn-erase-1", "by-hand/m0007/torn-program-31")
    # Forms that leave single bits behind are not counted: 40 of the erase, and 31 of the program.
    assert (window.mutations, window.images) == (1, 40 + 1 + 31)
    assert (window.typical_ms, window.longest_ms) == (45.7, 403.0)


def test_a_window_within_the_program_alone_is_as_short_as_that() -> None:
    window, _ = tally(but(lambda cut: FAILED if cut.number == 6 else None)).windows()
    assert (window.first, window.mutations) == ("by-hand/m0007/torn-program-1", 0)
    assert (window.typical_ms, window.longest_ms) == (0.7, 3.0)


def test_if_only_single_bits_are_unsafe_the_window_says_so() -> None:
    def change(cut: Cut) -> Chain | None:
        unsafe = cut.number in (6, 7) and cut.form and kind_of(cut.form) == "bits"
        return FAILED if cut.number in (6, 7) and not unsafe else None

    window, _ = tally(but(change)).windows()
    assert (window.single_bits, window.mutations) == (True, 0)
    assert window.images == 4 + 5


def test_an_outcome_that_the_cut_before_or_after_has_too_is_no_window() -> None:
    assert tally(lambda cut: DEGRADED).windows() == []


def test_a_good_outcome_is_no_window_however_different() -> None:
    waiting = ended("ota_1", entry(1, VALID), entry(2, PENDING))
    between = but(lambda cut: waiting if cut in (Cut(6), Cut(8)) or (cut.form and cut.number >= 6) else None)
    found = tally(between)
    assert {outcome.name for outcome in found.outcomes() if outcome.images} == {
        "old app", "new app on probation", "update failed, recorded", "new app"
    }  # fmt: skip
    assert found.windows() == []


def test_a_write_that_hurts_even_without_a_cut_is_a_window_up_to_its_end() -> None:
    """BOOTLOADER.md: before v6.0 the slot already active, chosen again, loses the rollback target."""
    made = recording(device((entry(1, VALID), entry(2, VALID))), write(0, entry(2, VALID)))
    both, twice = ended("ota_1", entry(1, VALID), entry(2, VALID)), ended("ota_1", entry(2, VALID), entry(2, VALID))
    (window,) = tally(lambda cut: twice if cut.number else both, made, "ota_1").windows()
    assert facts(window) == ("app", "ota_1: VALID → VALID", "inactive", ["rollback target lost"], False)
    assert (window.first, window.last, window.mutations) == ("by-hand/m0001/torn-erase-1", "by-hand/m0002", 2)


def test_two_erases_are_as_long_as_two_erases() -> None:
    made = recording(device((entry(3, VALID), entry(2, VALID)), layout=WITH_FACTORY), [Erase(ENTRY_0), Erase(ENTRY_1)])
    half, old = ended("ota_1", ERASED, entry(2, VALID)), ended("ota_0", entry(3, VALID), entry(2, VALID))

    def ends(cut: Cut) -> Chain:
        return old if cut.number == 0 else ended("factory") if cut == Cut(2) else half

    found = Tally(understand(made, "ota_0"))
    for point in CrashImages.of(made).points():
        found.add(Explored(point, seen(ends(point.cut), intact=("factory", "ota_0", "ota_1")), 0))
    (window,) = found.windows()
    assert facts(window) == ("app", "otadata: written → erased", "both", ["another app"], False)
    assert (window.typical_ms, window.longest_ms) == (90.0, 800.0)


# --- findings --------------------------------------------------------------------------------------------------------


def test_what_hurts_though_the_model_does_the_same_is_a_hazard_with_a_remedy() -> None:
    found = tally()
    assert {finding.kind for finding in found.findings()} == {"hazard"}
    assert [(finding.image, finding.what.split(":")[0]) for finding in found.findings()] == [
        ("by-hand/m0008/torn-erase-1", "confirmation lost, by a cut at ota_1"),
        ("by-hand/m0006/torn-erase-1", "new app silently lost, by a cut at ota_1"),
    ]
    assert all(finding.remedy and finding.source for finding in found.findings())
    assert found.verdict is Verdict.PASS


def one_image(board: Chain, model: Chain) -> Tally:
    """A cut while PENDING_VERIFY is being written."""
    made = small_update()
    found = Tally(understand(made, "ota_0"))
    found.add(Explored(CrashImages.of(made).point(Cut(6)), seen(board, model), 0))
    return found


def test_a_board_that_does_not_do_what_the_model_does_deviates_and_fails() -> None:
    found = one_image(BRICK, OLD)
    (finding,) = found.findings()
    assert finding.kind == "deviation"
    assert finding.what == "unbootable, where ESP-IDF v5.5 as modelled gives new app silently lost"
    assert (finding.board_did, finding.model_did) == ("no app nothing bootable", "ota_0 VALID runs")
    assert (finding.image, finding.images, finding.remedy) == ("by-hand/m0006", 1, "")
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert {o.name: (o.images, o.model_images) for o in found.outcomes()} == {
        "new app silently lost": (0, 1), "unbootable": (1, 0)
    }  # fmt: skip


def test_a_deviation_to_the_better_is_one_too() -> None:
    found = one_image(NEW, OLD)
    assert [finding.kind for finding in found.findings()] == ["deviation"]
    assert found.verdict is Verdict.FIRMWARE_FAIL


def test_the_same_class_on_another_way_is_a_deviation() -> None:
    found = one_image(OLD, OLD._replace(stages=OLD.stages * 2))
    (finding,) = found.findings()
    assert finding.kind == "deviation"
    assert finding.what.startswith("new app silently lost, as with ESP-IDF v5.5 as modelled, but on another way")


def test_other_writes_to_otadata_are_a_deviation() -> None:
    made = small_update()
    found = Tally(understand(made, "ota_0"))
    one, both = ("erase otadata[1]",), ("erase otadata[0]", "erase otadata[1]")
    differs = seen(OLD)._replace(board_writes=(both,), model_writes=(one,))
    found.add(Explored(CrashImages.of(made).point(Cut(6)), differs, 0))
    (finding,) = found.findings()
    assert finding.kind == "deviation"
    assert finding.board_did == "ota_0 VALID runs; in power-up 1: erase otadata[0], erase otadata[1]"
    assert finding.model_did == "ota_0 VALID runs; in power-up 1: erase otadata[1]"


def test_writes_that_nobody_saw_are_no_deviation() -> None:
    made = small_update()
    found = Tally(understand(made, "ota_0"))
    unwatched = seen(OLD)._replace(board_writes=(), model_writes=(("erase otadata[1]",),))
    found.add(Explored(CrashImages.of(made).point(Cut(6)), unwatched, 0))
    assert [finding.kind for finding in found.findings()] == ["hazard"]


def test_what_is_broken_fails_even_if_the_model_does_the_same() -> None:
    found = one_image(BRICK, BRICK)
    assert [finding.kind for finding in found.findings()] == ["hazard"]
    assert found.verdict is Verdict.FIRMWARE_FAIL


def test_deviations_come_first_then_hazards_each_the_worst_first() -> None:
    made = small_update()
    found = Tally(understand(made, "ota_0"))
    ends = {
        Cut(4): (DEGRADED, DEGRADED),
        Cut(6): (OLD, OLD),
        Cut(7): (BRICK, BRICK),
        Cut(5): (NEW, OLD),
        Cut(8): (BRICK, OLD),
    }
    for cut, (board, model) in ends.items():
        found.add(Explored(CrashImages.of(made).point(cut), seen(board, model), 0))
    assert [(finding.kind, finding.image[-5:]) for finding in found.findings()] == [
        ("deviation", "m0008"),
        ("deviation", "m0005"),
        ("hazard", "m0007"),
        ("hazard", "m0004"),
        ("hazard", "m0006"),
    ]


def test_findings_alike_are_one_with_the_first_image_that_shows_it() -> None:
    """However many records the torn forms of one write leave behind."""
    made = small_update()
    found = Tally(understand(made, "ota_0"))
    for size in range(1, 28):
        left = Record((entry(1, VALID), entry(2, VALID)[:size].ljust(32, b"\xff")), 0)
        board = Chain((Stage((Boot(None, None, "nothing bootable"),), left),), True)
        model = Chain((Stage((Boot("ota_0", "VALID", "runs"),), left),), True)
        found.add(Explored(CrashImages.of(made).point(Cut(7, f"torn-program-{size}")), seen(board, model), 0))
    (finding,) = found.findings()
    assert (finding.image, finding.images) == ("by-hand/m0007/torn-program-1", 27)


def test_second_cuts_are_counted_apart_and_found_by_their_name() -> None:
    found = tally()
    images = found.images
    name = Name("by-hand", (Cut(5), Cut(1, "torn-erase-3")))
    assert found.add_nested(name, seen(BRICK, OLD), Progress(True), "PENDING_VERIFY", "ota_1: NEW → x") == "unbootable"
    assert (found.images, found.nested) == (images, 1)
    assert found.findings()[0].image == "by-hand/m0005/then/m0001/torn-erase-3"
    assert len(found.windows()) == 2, "windows are of the recorded run"


@pytest.mark.parametrize(
    ("chain", "text"),
    [
        (OLD, "ota_0 VALID runs"),
        (BRICK, "no app nothing bootable"),
        (NEW, "ota_1 PENDING_VERIFY runs; power off; ota_1 VALID runs"),
    ],
)
def test_boots_in_few_words(chain: Chain, text: str) -> None:
    assert describe(chain) == text
