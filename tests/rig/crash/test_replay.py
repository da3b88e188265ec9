"""One crash image by its name: what a sweep said of it is what is seen again."""

from __future__ import annotations

import pytest

from rig.boards.virtual_images import VirtualBooter
from rig.crash.chain import otadata_offset
from rig.crash.explore import Explored, Lab
from rig.crash.images import CrashImages, name_of
from rig.crash.names import parse
from rig.crash.recording import Recording
from rig.crash.repeat import Repeater
from rig.crash.replay import Replayed, locate, replay
from rig.crash.sweep import model_of, new_image, story_of
from rig.crash.tally import Tally
from rig.errors import UserError
from rig.evidence.records import Verdict
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import recording, small_update, virtual

STEP = 5
"""Of the images every so many are replayed."""


def seen(made: Recording, image: str, booter: VirtualBooter | None = None) -> Replayed:
    """What `rig crash replay` of that name shows."""
    booter, story, name = booter or virtual(), story_of(made), parse(image)
    located = locate(made, story, name, lambda flash: booter.boot(WatchedFlash.of(flash)).mutations)
    return replay(made, story, name, located, booter)


@pytest.mark.parametrize("diagnostics", ["pass", "fail", "reboot"])
def test_a_name_shows_what_the_sweep_said_of_it(diagnostics: str) -> None:
    made = small_update(diagnostics)
    model, otadata, images = model_of(made), otadata_offset(made.table), CrashImages.of(made)
    lab = Lab(virtual(), model, Repeater(model, new_image(made), otadata), otadata)
    tally = Tally(story_of(made))
    for number, point in enumerate(images.points()):
        outcome = tally.add(Explored(point, lab.boot(images.build(point)).seen, number))
        if number % STEP == 0:
            again = seen(made, name_of(made, point))
            assert (again.outcome, again.model_outcome) == (outcome, outcome), point.cut


def test_it_shows_the_console_and_what_board_and_model_did() -> None:
    again = seen(small_update(), "by-hand/m0006/torn-erase-4")
    assert again.where == "ota_1: NEW → PENDING_VERIFY"
    assert again.board_did == again.model_did == "ota_0 VALID runs"
    assert not again.deviates
    assert again.verdict is Verdict.PASS
    assert b"Loaded app from partition at offset 0x10000" in again.log


def test_an_image_from_before_the_part_that_matters_has_seen_nothing_of_it() -> None:
    made = recording(small_update().start(), small_update().mutations, begin=3)
    assert seen(made, "by-hand/m0001").outcome == "old app"


@pytest.mark.parametrize(
    "image", ["by-hand/m0010", "by-hand/m0006/torn-program-1", "by-hand/m0006/then/m0002", "by-hand/m0000/torn-erase-1"]
)
def test_a_cut_that_there_is_not_is_refused(image: str) -> None:
    with pytest.raises(UserError) as refused:
        seen(small_update(), image)
    assert refused.value.hint is not None


# --- second cuts -----------------------------------------------------------------------------------------------------


def test_a_second_cut_is_one_in_the_boot_that_follows_the_first() -> None:
    """After the choice the boot erases for PENDING_VERIFY, writes it, counts itself, and erases to confirm."""
    assert seen(small_update(), "by-hand/m0005/then/m0001").outcome == "new app silently lost"
    assert seen(small_update(), "by-hand/m0005/then/m0002").outcome == "update failed, recorded"
    assert seen(small_update(), "by-hand/m0005/then/m0004").outcome == "confirmation lost"
    assert seen(small_update(), "by-hand/m0005/then/m0005").outcome == "new app"


@pytest.mark.parametrize(
    ("diagnostics", "outcome"),
    [
        ("pass", "confirmation lost"),
        ("fail", "failure forgotten"),
        ("reboot", "failure forgotten"),
    ],
)
def test_a_second_cut_that_changes_nothing_leaves_what_the_first_one_led_to(diagnostics: str, outcome: str) -> None:
    """Mutation 8 erases the record to write the last state; then the boot of the old app counts itself."""
    made = small_update(diagnostics)
    assert seen(made, "by-hand/m0008").outcome == outcome
    assert seen(made, "by-hand/m0008/then/m0001/torn-program-1").outcome == outcome
    assert seen(made, "by-hand/m0008/then/m0001").outcome == outcome
