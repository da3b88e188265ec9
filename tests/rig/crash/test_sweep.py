"""Sweeps of small recordings: what is covered has the same outcome as what is booted, in whatever order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from rig.boards.image_boots import BootSeen, ImageBooter, PowerUp
from rig.crash.chain import otadata_offset
from rig.crash.explore import Explored, Lab
from rig.crash.images import CrashImages
from rig.crash.recording import Recording
from rig.crash.repeat import Repeater
from rig.crash.story import understand
from rig.crash.sweep import model_of, new_image
from rig.crash.tally import Tally
from rig.crash.whole import ReadsAll
from rig.evidence.records import SweepRecord, Verdict
from rig.idf.effects import Erase, Program
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import (
    ANTI_ROLLBACK,
    ENTRY_1,
    NEW,
    VALID,
    Hand,
    app,
    choosing,
    content,
    device,
    entry,
    recording,
    small_update,
    virtual,
    write,
)  # fmt: skip
from tests.rig.crash.sweeping import Open, run, said


@cache
def clean() -> SweepRecord:
    """What the small update leads to on a board that is well."""
    with tempfile.TemporaryDirectory() as folder:
        return run(small_update(), Path(folder))


@cache
def with_burn() -> Recording:
    """A small update that raises the secure version."""
    start = device((entry(1, VALID), b""), slots={"ota_1": b""})
    hand = Hand(start.copy(), "ota_0", ANTI_ROLLBACK)
    hand.update(app("2.0.0", 1), "ota_1")
    hand.boot()
    return recording(start, hand.mutations, config=ANTI_ROLLBACK)


@cache
def first_boot() -> Recording:
    """The first boot of a device without factory app."""
    start = device()
    hand = Hand(start.copy(), "ota_0")
    hand.boot()
    return recording(start, hand.mutations)


def renewed() -> tuple[Erase, Program]:
    """The image of ota_1 is erased, and written again."""
    return Erase(0x20000), Program(0x20000, app("2.0.0"))


@cache
def chosen_too_early() -> Recording:
    """The new app is chosen, then erased and written: what nobody looked at before is looked at from the choice on."""
    return recording(choosing().start(), (*choosing().mutations, *renewed()))


@cache
def erased_unseen() -> Recording:
    """Chosen, taken back, erased while nobody looks there, and chosen again."""
    new = entry(2, NEW)
    erased, image = renewed()
    return recording(choosing().start(), [*write(1, new), Erase(ENTRY_1), erased, Program(ENTRY_1, new), image])


@cache
def burnt() -> Recording:
    """The choice of an app with the secure version that is burnt already."""
    slots = {slot: app(slot, 1) for slot in ("ota_0", "ota_1")}
    start = device((entry(1, VALID), b""), slots=slots, burnt=1, diagnostics="pass")
    return recording(start, choosing().mutations, config=ANTI_ROLLBACK)


RUNS: dict[str, Callable[[], Recording]] = {
    "confirmed": small_update,
    "rolled back by v5.1": lambda: small_update("reboot", "v5.1"),
    "rejected": lambda: small_update("fail"),
    "secure version raised": with_burn,
    "first boot": first_boot,
    "chosen too early": chosen_too_early,
    "erased unseen": erased_unseen,
    "burnt before": burnt,
}


# --- covering is sound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", RUNS.values(), ids=RUNS)
def test_it_gives_the_same_as_booting_every_image_one_by_one(made: Callable[[], Recording], tmp_path: Path) -> None:
    """The whole record: classes, cells of the map, windows and findings."""
    record = run(made(), tmp_path)
    model, otadata, images = model_of(made()), otadata_offset(made().table), CrashImages.of(made())
    lab = Lab(virtual(made().boot_config), model, Repeater(model, new_image(made()), otadata), otadata)
    tally = Tally(understand(made(), "ota_0"))
    for number, point in enumerate(images.points()):
        tally.add(Explored(point, lab.boot(images.build(point)).seen, number))
    assert record.outcomes == tally.outcomes()
    assert record.mutations == tally.mutations()
    assert record.windows == tally.windows()
    assert record.findings == tally.findings()
    assert record.images == len(images)
    assert record.booted < record.images


def test_where_the_read_set_is_not_known_every_different_image_is_booted(tmp_path: Path) -> None:
    made = small_update()
    images = CrashImages.of(made)
    flashes = [images.build(point) for point in images.points()]
    different = {content(flash) for flash in flashes}
    record = run(made, tmp_path, lambda: ReadsAll(virtual()))
    # The image at the beginning is booted before, to see what runs there.
    assert record.booted in (len(different), len(different) + 1)
    assert said(record) == said(clean())


def test_an_efuse_burn_alone_makes_another_image(tmp_path: Path) -> None:
    """No byte of flash differs before and after it, yet the older app boots before and not after."""
    start = device((entry(1, VALID), b""), slots={"ota_0": app("1.0.0", 0), "ota_1": app("2.0.0", 1)})
    made = recording(start, [m for m in with_burn().mutations if hasattr(m, "after")], config=ANTI_ROLLBACK)
    record = run(made, tmp_path, lambda: ReadsAll(virtual(ANTI_ROLLBACK)))
    assert len({cell.outcome for cell in record.mutations}) == 2


# --- in whatever order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [2, 5])
def test_several_chips_at_once_give_the_same_as_one(at_once: int, tmp_path: Path) -> None:
    assert said(run(small_update(), tmp_path, at_once=at_once)) == said(clean())


def test_it_is_the_same_every_time(tmp_path: Path) -> None:
    again = run(small_update(), tmp_path)
    assert said(again) == said(clean())
    assert again.booted == clean().booted


def test_a_run_that_leaves_no_image_behind_has_nothing_to_repeat(tmp_path: Path) -> None:
    made = recording(device((entry(1, VALID), b"")), [Erase(0x20000)])
    assert {outcome.name for outcome in run(made, tmp_path).outcomes if outcome.images} == {"old app"}


def test_a_run_without_mutations_is_its_beginning_alone(tmp_path: Path) -> None:
    record = run(recording(device((entry(1, VALID), b""))), tmp_path)
    assert (record.images, record.windows, record.findings) == (1, [], [])
    assert record.verdict is Verdict.PASS


# --- progress and resources ------------------------------------------------------------------------------------------


def test_progress_is_told_for_every_image(tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    record = run(small_update(), tmp_path, told=lambda *numbers: told.append(numbers))
    assert [done for done, _, _ in told] == list(range(1, record.images + 1))
    assert {total for _, total, _ in told} == {record.images}
    booted = [booted for _, _, booted in told]
    assert booted == sorted(booted)
    assert booted[-1] == record.booted


@dataclass
class Counted:
    """Opens booters and counts them."""

    opened: int = 0
    closed: int = 0
    open: Open = field(default=virtual)

    def __call__(self) -> ImageBooter:
        self.opened += 1
        return Closing(self.open(), self)


@dataclass
class Closing:
    booter: ImageBooter
    counted: Counted

    def boot(self, flash: WatchedFlash) -> PowerUp:
        return self.booter.boot(flash)

    def close(self) -> None:
        self.counted.closed += 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_chips_are_opened_than_may_work_and_all_are_closed(at_once: int, tmp_path: Path) -> None:
    counted = Counted()
    run(small_update(), tmp_path, counted, at_once)
    assert 1 <= counted.opened <= at_once
    assert counted.closed == counted.opened


# --- boards that are not well ----------------------------------------------------------------------------------------


@dataclass
class Sick:
    """The virtual board, but with the download begun and entry 1 blank it ends as `seen`."""

    seen: BootSeen

    def boot(self, flash: WatchedFlash) -> PowerUp:
        if flash.read(ENTRY_1, 4) == b"\xff" * 4 and flash.read(0x20000, 1) != b"\xff":
            return PowerUp((self.seen,), b"")
        return virtual().boot(flash)

    def close(self) -> None:
        pass


def test_a_board_that_hangs_on_an_image_is_an_outcome_and_the_sweep_goes_on(tmp_path: Path) -> None:
    hangs = BootSeen("ota_0", None, None, "hangs", ())
    record = run(small_update(), tmp_path, lambda: Sick(hangs))
    counts = {outcome.name: (outcome.images, outcome.model_images) for outcome in record.outcomes}
    assert counts["hangs"][0] > 0
    assert counts["hangs"][1] == 0
    assert sum(images for images, _ in counts.values()) == record.images
    assert record.verdict is Verdict.FIRMWARE_FAIL
    deviations = [finding for finding in record.findings if finding.kind == "deviation"]
    assert deviations[0].what.startswith("hangs, where ESP-IDF v5.5 as modelled gives ")
    assert deviations[0].image == "by-hand/m0002/torn-program-1"


def test_a_board_that_finds_nothing_is_told_from_a_model_that_boots_well(tmp_path: Path) -> None:
    """The model's class is its own: what the board did not look at says nothing of the model's app."""
    nothing = BootSeen(None, None, None, "nothing bootable", ())
    record = run(small_update(), tmp_path, lambda: Sick(nothing))
    whats = {finding.what for finding in record.findings if finding.kind == "deviation"}
    assert "unbootable, where ESP-IDF v5.5 as modelled gives old app" in whats
    assert not any("damaged app boots" in what for what in whats)


def test_a_board_that_fails_from_the_beginning_is_still_judged_by_the_slots_of_the_run(tmp_path: Path) -> None:
    """Which app ran before is what the model boots, as in a replay; not what a broken board does."""

    class Dead(Sick):
        def boot(self, flash: WatchedFlash) -> PowerUp:
            return PowerUp((self.seen,), b"")

    record = run(small_update(), tmp_path, lambda: Dead(BootSeen(None, None, None, "nothing bootable", ())))
    by_the_model = {outcome.name for outcome in record.outcomes if outcome.model_images}
    assert {"old app", "new app", "new app silently lost", "confirmation lost"} <= by_the_model


def test_a_board_that_deviates_in_one_way_is_one_finding(tmp_path: Path) -> None:
    """However many torn forms show it."""
    nothing = BootSeen(None, None, None, "nothing bootable", ())
    record = run(small_update(), tmp_path, lambda: Sick(nothing))
    deviations = [finding for finding in record.findings if finding.kind == "deviation"]
    assert len(deviations) <= 8
    assert sum(finding.images for finding in deviations) > 40
