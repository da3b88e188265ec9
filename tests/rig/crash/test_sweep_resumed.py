"""An interrupted sweep goes on where it stopped: the same record, fewer boots, whatever happened to its journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rig.boards.image_boots import PowerUp
from rig.crash.journal import Journal
from rig.crash.recording import Recording
from rig.crash.sweep import Bench, sweep
from rig.errors import BenchFault
from rig.evidence.records import SweepRecord
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import recording, small_update, virtual


@dataclass
class Counting:
    """The virtual board; raises `error` instead of power-up number `last`, and counts power-ups and closings."""

    last: int | None = None
    error: BaseException = field(default_factory=lambda: BenchFault("the bench failed", board="b"))
    power_ups: int = 0
    closed: int = 0

    def boot(self, flash: WatchedFlash) -> PowerUp:
        if self.power_ups == self.last:
            raise self.error
        self.power_ups += 1
        return virtual().boot(flash)

    def close(self) -> None:
        self.closed += 1


@dataclass
class Place:
    """Where a sweep keeps its journal."""

    path: Path

    def run(self, booter: Counting, made: Recording | None = None, board: str = "b") -> SweepRecord:
        made = made or small_update()
        return sweep(made, Bench(board, "virtual", lambda: booter), Journal(self.path, made, board))

    def interrupted(self, after: int = 40) -> None:
        """A sweep that the bench failed in."""
        with pytest.raises(BenchFault):
            self.run(Counting(after))

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def put(self, lines: list[str]) -> None:
        self.path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "journal")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepRecord, int]:
    """An undisturbed sweep, and its power-ups."""
    booter = Counting()
    return Place(tmp_path_factory.mktemp("whole") / "journal").run(booter), booter.power_ups


def assert_same(record: SweepRecord, other: SweepRecord) -> None:
    """But for how long it took and how many had to be booted."""
    same = {"duration_s": 0.0, "booted": 0}
    assert record.model_copy(update=same) == other.model_copy(update=same)


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 25])
def test_it_goes_on_where_the_bench_failed(place: Place, whole: tuple[SweepRecord, int], after: int) -> None:
    place.interrupted(after)
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    # Of the image in which it failed power-ups are lost; the beginning is booted again.
    assert after + booter.power_ups <= whole[1] + 8
    assert not place.path.exists(), "a complete sweep leaves no journal"


def test_however_often_it_is_interrupted(place: Place, whole: tuple[SweepRecord, int]) -> None:
    for _ in range(3):
        place.interrupted(15)
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups < whole[1] - 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("bug")], ids=lambda e: type(e).__name__)
def test_whatever_interrupts_it(place: Place, whole: tuple[SweepRecord, int], error: BaseException) -> None:
    with pytest.raises(type(error)):
        place.run(Counting(40, error))
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups < whole[1] - 20


def test_a_bench_fault_is_passed_on_with_the_chips_closed_and_the_journal_kept(place: Place) -> None:
    booter = Counting(40)
    with pytest.raises(BenchFault, match="the bench failed"):
        place.run(booter)
    assert booter.closed == 1
    assert len(place.lines) > 10


def test_the_number_of_booted_images_does_not_depend_on_interruptions(
    place: Place, whole: tuple[SweepRecord, int]
) -> None:
    place.interrupted()
    assert place.run(Counting()).booted == whole[0].booted


def test_a_complete_sweep_begins_anew(place: Place, whole: tuple[SweepRecord, int]) -> None:
    place.run(Counting())
    booter = Counting()
    place.run(booter)
    assert booter.power_ups == whole[1]


def test_booted_in_another_order_it_is_the_same(place: Place, whole: tuple[SweepRecord, int]) -> None:
    place.interrupted()
    header, *booted = place.lines
    place.put([header, *booted[::-1]])
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups < whole[1] - 20


# --- a damaged journal -----------------------------------------------------------------------------------------------

Damage = Callable[[str], str]


def changed(*path: str | int, value: object = None) -> Damage:
    """The line with one of its values replaced."""

    def damage(line: str) -> str:
        whole = inner = json.loads(line)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return json.dumps(whole)

    return damage


DAMAGES: dict[str, Damage] = {
    "cut short": lambda line: line[: len(line) // 2],
    "empty": lambda line: "",
    "no JSON": lambda line: "@" + line,
    "a number": lambda line: "7",
    "a list": lambda line: "[]",
    "an object": lambda line: "{}",
    "no chain": changed("board"),
    "no stages": changed("model", 0, value=7),
    "one entry": changed("board", 0, 0, 1, value=["ff" * 32]),
    "no hex": changed("board", 0, 0, 1, value=["xx", "yy"]),
    "half a boot": changed("board", 0, 0, 0, value=[["ota_0"]]),
    "no ranges": changed("ranges", value=[7]),
    "no digests": changed("reads", 1, value=[7]),
    "fewer digests": changed("reads", 1, value=[]),
    "no mutations": changed("mutations", value=[{"erase": "x"}]),
    "no writes": changed("writes", value=[]),
    "surplus writes": changed("writes", value=[[], [], []]),
}


KNOWN = [pytest.param(damage, id=name) for name, damage in DAMAGES.items()]


@pytest.mark.parametrize("damage", KNOWN)
def test_a_damaged_line_is_dropped_with_what_follows_it(place: Place, damage: Damage) -> None:
    place.interrupted()
    lines = place.lines
    journal = Journal(place.path, small_update(), "b")
    assert len(journal.load()) == len(lines) - 1
    for at in (1, 7, len(lines) - 1):
        place.put([*lines[:at], damage(lines[at]), *lines[at + 1 :]])
        assert len(journal.load()) == at - 1


def test_lines_before_a_damaged_one_are_used(place: Place, whole: tuple[SweepRecord, int]) -> None:
    place.interrupted()
    place.path.write_text(place.path.read_text()[:-40])
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups < whole[1] - 20


BRACKETS = pytest.param(b"[" * 100_000, id="brackets")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"{}\n", BRACKETS])
def test_something_else_in_its_place_is_ignored(place: Place, content: bytes) -> None:
    place.path.write_bytes(content)
    assert Journal(place.path, small_update(), "b").load() == []


def test_without_a_journal_nothing_is_known(place: Place) -> None:
    assert Journal(place.path, small_update(), "b").load() == []


def test_the_journal_of_another_recording_is_ignored(place: Place, whole: tuple[SweepRecord, int]) -> None:
    with pytest.raises(BenchFault):
        place.run(Counting(40), recording(small_update().start(), small_update().mutations, diagnostics="manual"))
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups == whole[1]


def test_the_journal_of_another_board_is_ignored(place: Place, whole: tuple[SweepRecord, int]) -> None:
    with pytest.raises(BenchFault):
        place.run(Counting(40), board="another")
    booter = Counting()
    assert_same(place.run(booter), whole[0])
    assert booter.power_ups == whole[1]
