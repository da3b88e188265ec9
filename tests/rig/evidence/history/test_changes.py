"""What changed between two runs: by test and board, better and worse, and much slower."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.history.changes import changes, exit_code, slower
from rig.evidence.records import Verdict

VERDICTS = st.sampled_from([verdict.value for verdict in Verdict])
RUNS = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["one", "two"])),
    st.tuples(VERDICTS, st.just(""), st.floats(0.1, 50)),
    max_size=6,
)


def run(*tests, seconds=1.0):
    return {(name, board): (verdict, "why", seconds) for name, board, verdict in tests}


@pytest.mark.parametrize(
    ("before", "after", "worse", "code"),
    [
        ("pass", "firmware fail", True, 1),
        ("inconclusive", "firmware fail", True, 1),
        ("pass", "bench fault", True, 4),
        ("pass", "inconclusive", True, 4),
        ("pass", "skipped", True, 4),
        ("firmware fail", "pass", False, 0),
        ("firmware fail", "bench fault", False, 0),
        ("bench fault", "inconclusive", False, 0),
    ],
)
def test_a_verdict_that_changed_is_better_or_worse(before, after, worse, code):
    found = changes(run(("t", "one", before)), run(("t", "one", after)))
    assert [(change.before, change.after, change.worse) for change in found] == [(before, after, worse)]
    assert exit_code(found) == code


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("firmware fail", 1), ("bench fault", 4)])
def test_a_new_test_is_measured_against_a_pass(verdict, code):
    assert exit_code(changes({}, run(("t", "one", verdict)))) == code


@pytest.mark.parametrize(("verdict", "code"), [("pass", 4), ("firmware fail", 0)])
def test_a_test_that_no_longer_runs_is_worse_than_one_that_passed(verdict, code):
    assert exit_code(changes(run(("t", "one", verdict)), {})) == code


def test_a_spread_test_is_the_same_test_on_another_board():
    assert changes(run(("t", "one", "pass")), run(("t", "two", "pass"))) == []
    (change,) = changes(run(("t", "one", "pass")), run(("t", "two", "firmware fail")))
    assert (change.board, change.worse) == ("two", True)


def test_what_takes_much_longer_or_much_less_is_shown_if_it_is_long_enough_to_tell():
    before = {
        ("slow", "one"): ("pass", "", 2.0),
        ("tiny", "one"): ("pass", "", 0.1),
        ("same", "one"): ("pass", "", 9.0),
    }
    after = {
        ("slow", "one"): ("pass", "", 5.0),
        ("tiny", "one"): ("pass", "", 0.9),
        ("same", "one"): ("pass", "", 10.0),
    }
    assert [(one.test, one.before, one.after) for one in slower(before, after)] == [("slow", 2.0, 5.0)]


@given(RUNS)
def test_a_run_does_not_differ_from_itself(some):
    assert changes(some, some) == []
    assert slower(some, some) == []


@given(RUNS, RUNS)
def test_what_got_worse_one_way_did_not_get_worse_the_other_way(before, after):
    there = {(change.test, change.board) for change in changes(before, after) if change.worse and change.before}
    back = {(change.test, change.board) for change in changes(after, before) if change.worse and change.before}
    assert not (there & back)
