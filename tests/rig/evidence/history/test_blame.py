"""Blame: a planted cause is found, with its counts, and where none was planted nobody is blamed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.evidence.history.blame import Culprit, Outcome, bad_boards, bad_builds, blame, suspects_of
from rig.evidence.records import Verdict

PASS, FAIL, FAULT = Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT
TESTS = [f"test{number}" for number in range(8)]


def history(boards, builds, wrong, runs_a_build=3, tests=TESTS):
    """Every test on every board with every build; `wrong(test, board, build, run)` is a verdict, or None for pass."""
    run, found = 0, []
    for build in builds:
        for _ in range(runs_a_build):
            run += 1
            found += [
                Outcome(test, board, build, run, wrong(test, board, build, run) or PASS)
                for test in tests
                for board in boards
            ]
    return found


def blamed(outcomes, test):
    own = [outcome for outcome in outcomes if outcome.test == test]
    return blame(test, own, suspects_of(outcomes))


@given(st.integers(2, 5), st.integers(1, 4), st.sets(st.sampled_from(TESTS), min_size=1))
def test_a_build_that_broke_tests_on_every_board_is_the_firmwares_fault(boards, runs, broken):
    names = [f"board{number}" for number in range(boards)]
    outcomes = history(
        names, ["old", "new"], lambda t, _b, build, _r: FAIL if build == "new" and t in broken else None, runs
    )
    for test in TESTS:
        found = blamed(outcomes, test)
        if test in broken:
            assert (found.culprit, found.what) == (Culprit.FIRMWARE, "new"), found
            # Of this test alone, or of all that the build broke where they are enough to tell.
            counts = [f"{boards * runs} of {boards * runs} tries", f"in {boards * runs * len(broken)} of "]
            assert any(count in found.why for count in counts)
            assert "with builds before 0 of " in found.why or "with builds before in 0 of " in found.why
        else:
            assert found is None


@given(st.integers(3, 5), st.sampled_from([FAIL, FAULT, Verdict.INCONCLUSIVE]), st.integers(3, 8))
def test_a_board_that_does_badly_in_many_tests_that_pass_elsewhere_is_to_blame(boards, verdict, broken):
    names = [f"board{number}" for number in range(boards)]
    outcomes = history(
        names, ["old", "new"], lambda t, b, _f, _r: verdict if b == "board1" and t in TESTS[:broken] else None
    )
    found = blamed(outcomes, "test0")
    assert (found.culprit, found.what) == (Culprit.BOARD, "board1")
    assert f"board1 goes wrong in {6 * broken} of 48 tries" in found.why


def test_a_bad_board_does_not_hide_a_firmware_regression():
    def wrong(test, board, build, _run):
        if board == "bad" or (build == "new" and test == "test7"):
            return FAIL
        return None

    outcomes = history(["bad", "good", "fine"], ["old", "new"], wrong)
    assert (blamed(outcomes, "test7").culprit, blamed(outcomes, "test7").what) == (Culprit.FIRMWARE, "new")
    assert (blamed(outcomes, "test0").culprit, blamed(outcomes, "test0").what) == (Culprit.BOARD, "bad")


def test_bench_faults_on_several_good_boards_are_the_benchs_fault():
    outcomes = history(["one", "two"], ["only"], lambda t, _b, _f, run: FAULT if t == "test1" and run == 2 else None)
    found = blamed(outcomes, "test1")
    assert found.culprit is Culprit.BENCH
    assert "none of which does badly elsewhere" in found.why


def test_a_bench_fault_is_never_blamed_on_firmware():
    outcomes = history(["one", "two"], ["old", "new"], lambda _t, _b, build, _r: FAULT if build == "new" else None)
    assert {blamed(outcomes, test).culprit for test in TESTS} == {Culprit.BENCH}


@pytest.mark.parametrize(
    ("boards", "builds", "runs", "said"),
    [
        (["one"], ["new"], 3, "run the last good one, too"),
        (["one"], ["old", "new"], 1, "only one board ran this build"),
    ],
)
def test_what_the_runs_do_not_tell_is_unknown_with_what_would_tell(boards, builds, runs, said):
    outcomes = history(boards, builds, lambda t, _b, build, _r: FAIL if build == "new" and t == "test0" else None, runs)
    found = blamed(outcomes, "test0")
    assert found.culprit is Culprit.UNKNOWN
    assert said in found.why


def test_one_board_that_ran_both_builds_often_enough_tells():
    outcomes = history(
        ["one"], ["old", "new"], lambda t, _b, build, _r: FAIL if build == "new" and t == "test0" else None
    )
    assert blamed(outcomes, "test0").culprit is Culprit.FIRMWARE


def test_a_build_that_breaks_many_tests_is_to_blame_also_where_one_board_ran_it():
    old = [Outcome(test, board, "old", 1, PASS) for test in TESTS for board in ("one", "two")]
    new = [Outcome(test, "one" if number % 2 else "two", "new", 2, FAIL) for number, test in enumerate(TESTS)]
    found = blamed(old + new, "test0")
    assert (found.culprit, found.what) == (Culprit.FIRMWARE, "new")
    assert "in 8 of 8 tries, in 8 tests on one, two; the same tests with builds before in 0 of 16" in found.why


def test_a_build_that_one_test_brings_on_purpose_every_night_is_new_to_the_others_when_they_run_on_it():
    boards = ("one", "two")
    old = [Outcome(test, board, "old", run, PASS) for test in TESTS for board in boards for run in (1, 2)]
    old += [Outcome("brings it", "one", "other", run, PASS) for run in (1, 2)]
    new = [Outcome(test, "one" if number % 2 else "two", "other", 3, FAIL) for number, test in enumerate(TESTS)]
    new.append(Outcome("brings it", "two", "other", 3, PASS))
    found = blamed(old + new, "test0")
    assert (found.culprit, found.what) == (Culprit.FIRMWARE, "other")
    assert "in 8 of 8 tries, in 8 tests on one, two; the same tests with builds before in 0 of 32" in found.why


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.1]))
def test_where_no_cause_was_planted_neither_board_nor_build_is_blamed(seed, rate):
    chance = random.Random(seed)
    outcomes = history(
        ["one", "two", "three", "four"], ["old", "new"], lambda *_: FAIL if chance.random() < rate else None, 5
    )
    # At this size one in a few thousand such histories may look guilty by chance; more would be a fault.
    assert len(bad_boards(outcomes)) <= (rate > 0)
    assert not bad_builds(outcomes)


def test_a_build_that_fails_everywhere_does_not_hide_a_bad_board():
    def wrong(test, board, build, _run):
        return FAIL if build == "new" or (board == "bad" and test in TESTS[:4]) else None

    outcomes = history(["bad", "good", "fine"], ["old", "new"], wrong)
    assert list(bad_boards(outcomes)) == ["bad"]
    assert blamed(outcomes, "test0").culprit is Culprit.FIRMWARE


def test_a_bad_build_that_only_one_board_got_does_not_make_it_a_bad_board():
    outcomes = [Outcome(test, "one", "new", 2, FAIL) for test in TESTS]
    outcomes += [Outcome(test, board, "old", 1, PASS) for test in TESTS for board in ("one", "two")]
    assert bad_boards(outcomes) == {}
    assert blamed(outcomes, "test0").culprit is Culprit.UNKNOWN
    assert "run it on another" in blamed(outcomes, "test0").why


def test_a_test_that_passes_with_its_newest_build_is_nobodys_fault():
    outcomes = history(["one"], ["old", "new"], lambda _t, _b, build, _r: FAIL if build == "old" else None)
    assert blamed(outcomes, "test0") is None
