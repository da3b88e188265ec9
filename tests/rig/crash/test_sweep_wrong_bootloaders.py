"""Negative controls: bootloaders that are wrong on purpose are found out, and what is found can be seen again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.boards import kinds
from rig.boards.virtual_images import VirtualBooter
from rig.crash.journal import Journal
from rig.crash.names import parse
from rig.crash.recording import Recording
from rig.crash.replay import Replayed, locate, replay
from rig.crash.sweep import Bench, story_of, sweep
from rig.evidence.records import CutFinding, SweepRecord, Verdict
from rig.idf.watched import WatchedFlash
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.wrong_bootloaders import WRONG
from tests.rig.crash.conftest import Recorded, Swept, section
from tests.rig.crash.hand import CONFIG, TWO, choosing

BRICK = "unbootable"


def deviations(record: SweepRecord) -> list[CutFinding]:
    return [finding for finding in record.findings if finding.kind == "deviation"]


def seen_again(made: Recording, image: str, booter: VirtualBooter) -> Replayed:
    """What `rig crash replay` of that name shows."""
    story, name = story_of(made), parse(image)
    located = locate(made, story, name, lambda flash: booter.boot(WatchedFlash.of(flash)).mutations)
    return replay(made, story, name, located, booter)


def small(wrong: str, folder: Path, depth: int = 2) -> SweepRecord:
    """The last step of an update, and second cuts, on a chip with that bootloader."""
    bench = Bench("b", "virtual", lambda: wrong_booter(wrong))
    return sweep(choosing(), bench, Journal(folder / "journal", choosing(), "b"), depth=depth)


def wrong_booter(wrong: str) -> VirtualBooter:
    return VirtualBooter(VirtualFirmware(CONFIG, bootloader=WRONG[wrong]), TWO)


# --- a whole recorded update -----------------------------------------------------------------------------------------


def test_one_that_erases_both_entries_deviates(swept: Swept) -> None:
    record = swept("update-ok", wrong="erases_both_entries")
    assert record.verdict is Verdict.FIRMWARE_FAIL
    assert any("erase otadata[0]" in finding.board_did for finding in deviations(record))
    assert not any("erase otadata[0], erase otadata[1]" in finding.model_did for finding in deviations(record))


def test_one_that_erases_both_entries_has_a_window_that_esp_idf_has_not(swept: Swept) -> None:
    windows = swept("update-ok", wrong="erases_both_entries").windows
    assert ("both", True) in [(window.sector, "degraded otadata" in window.outcomes) for window in windows]


def test_one_that_needs_an_entry_is_a_brick_with_a_name(swept: Swept) -> None:
    record = swept("update-ok", wrong="needs_an_entry")
    assert record.verdict is Verdict.FIRMWARE_FAIL
    bricks = {outcome.name: outcome for outcome in record.outcomes}[BRICK]
    assert bricks.images > 0
    assert bricks.model_images == 0
    worst = deviations(record)[0]
    assert worst.what.startswith("unbootable, where ESP-IDF v5.5 as modelled gives ")
    assert worst.image.startswith("update-ok/m")
    assert worst.board_did.startswith("no app nothing bootable")
    assert worst.model_did.startswith("ota_0 ")


def test_the_name_of_a_brick_shows_that_boot_again(recorded: Recorded, swept: Swept) -> None:
    made = recorded("update-ok", wrong="needs_an_entry")
    booter = kinds.image_booter(section("needs_an_entry"), made.table)
    bricks = [finding for finding in deviations(swept("update-ok", wrong="needs_an_entry")) if BRICK in finding.what]
    for finding in bricks:
        again = seen_again(made, finding.image, booter)  # type: ignore[arg-type]
        assert again.outcome == BRICK
        assert f"unbootable, where ESP-IDF v5.5 as modelled gives {again.model_outcome}" == finding.what
        assert again.verdict is Verdict.FIRMWARE_FAIL
        if finding.board_did.startswith("no app"):
            assert b"No bootable app partitions in the partition table" in again.log


def test_the_same_image_on_a_sound_board_boots(recorded: Recorded, swept: Swept) -> None:
    made = recorded("update-ok", wrong="needs_an_entry")
    brick = deviations(swept("update-ok", wrong="needs_an_entry"))[0]
    again = seen_again(made, brick.image, kinds.image_booter(section(), made.table))  # type: ignore[arg-type]
    assert again.outcome == again.model_outcome != BRICK
    assert again.verdict is Verdict.PASS


# --- second cuts -----------------------------------------------------------------------------------------------------


def test_a_brick_in_the_boot_after_the_update_is_found_by_a_second_cut(tmp_path: Path) -> None:
    """The recording ends before the wrong bootloader writes anything; only cuts in its own boot show the brick."""
    record = small("needs_an_entry", tmp_path)
    bricks = [finding for finding in deviations(record) if finding.what.startswith(BRICK)]
    assert bricks
    assert {finding.image.split("/then/")[0] for finding in bricks} == {"by-hand/m0002"}
    for finding in bricks:
        again = seen_again(choosing(), finding.image, wrong_booter("needs_an_entry"))
        assert again.outcome == BRICK


@pytest.mark.parametrize("wrong", ["erases_both_entries", "needs_an_entry"])
def test_without_any_cut_in_it_its_writes_alone_are_a_deviation(wrong: str, tmp_path: Path) -> None:
    record = small(wrong, tmp_path, depth=1)
    assert record.verdict is Verdict.FIRMWARE_FAIL
    whole = [finding for finding in deviations(record) if finding.image == "by-hand/m0002"]
    assert [finding.board_did.split("; in power-up 1: ")[1] for finding in whole] == [
        "erase otadata[0], erase otadata[1], write otadata[1], write otadata[0], erase otadata[1], write otadata[1]"
    ]


def test_a_deviation_in_what_is_written_fails_in_a_replay_too(tmp_path: Path) -> None:
    small("erases_both_entries", tmp_path, depth=1)
    again = seen_again(choosing(), "by-hand/m0002", wrong_booter("erases_both_entries"))
    assert again.verdict is Verdict.FIRMWARE_FAIL
