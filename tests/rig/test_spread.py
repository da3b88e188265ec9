"""Tests spread over boards: each runs once, slow ones first; only bench faults are done again; bad boards drop out."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.records import Verdict
from rig.spread import TRIES, Spread, SpreadTest

FAULT = Verdict.BENCH_FAULT


def some(*names, **seconds):
    return [SpreadTest(name, seconds=seconds.get(name)) for name in names]


def boards(*names):
    return {name: () for name in names}


def test_slow_tests_go_first_and_unknown_ones_count_as_typical():
    spread = Spread(some("quick", "new", "slow", "newer", quick=1, slow=9), boards("a", "b", "c", "d"))
    assert [spread.take(board) for board in "abcd"] == ["slow", "new", "newer", "quick"]


def test_a_board_has_one_test_at_a_time():
    spread = Spread(some("one", "two"), boards("a"))
    assert spread.take("a") == "one"
    assert spread.take("a") is None
    spread.ended("a", Verdict.PASS)
    assert spread.take("a") == "two"


def test_a_test_goes_to_a_board_that_can_do_what_it_needs():
    needy = SpreadTest("cut", frozenset({"power_cut"}))
    spread = Spread([needy, *some("plain")], {"bare": {"power_cut", "wifi"}, "switched": {"wifi"}})
    assert spread.take("bare") == "plain"
    assert spread.take("switched") == "cut"


def test_a_test_that_no_board_can_do_runs_somewhere_to_be_skipped_visibly():
    spread = Spread([SpreadTest("radio", frozenset({"wifi"}))], {"a": {"wifi"}, "b": {"wifi"}})
    assert spread.take("b") == "radio"
    assert not spread.ended("b", Verdict.SKIPPED)
    assert spread.over


def test_a_test_whose_able_board_was_quarantined_is_skipped_visibly_by_another():
    spread = Spread([SpreadTest("cut", frozenset({"power_cut"}))], {"able": (), "bare": {"power_cut"}})
    spread.quarantine("able", "no power")
    assert spread.take("bare") == "cut"


def test_a_bench_fault_is_done_again_on_another_board():
    spread = Spread(some("one"), boards("a", "b"))
    spread.take("a")
    assert spread.ended("a", FAULT, "port gone")
    assert spread.take("a") is None
    assert spread.take("b") == "one"
    assert not spread.ended("b", Verdict.PASS)
    assert spread.over
    assert not spread.quarantined


def test_with_one_board_it_is_done_again_there():
    spread = Spread(some("one"), boards("a"))
    for again in [True] * (TRIES - 1) + [False]:
        assert spread.take("a") == "one"
        assert spread.ended("a", FAULT) is again
    assert not spread.quarantined


def test_a_board_with_bench_faults_in_two_tests_in_a_row_gets_no_more():
    spread = Spread(some("one", "two", "three"), boards("bad", "good"))
    for _ in range(2):
        spread.take("bad")
        spread.ended("bad", FAULT, "port gone")
    assert "the last: port gone" in spread.quarantined["bad"]
    assert spread.take("bad") is None
    done = []
    while (name := spread.take("good")) is not None:
        done.append(name)
        spread.ended("good", Verdict.PASS)
    assert sorted(done) == ["one", "three", "two"]
    assert spread.over


def test_a_test_that_went_well_in_between_clears_a_board():
    spread = Spread(some("one", "two", "three"), boards("a", "b"))
    for verdict in (FAULT, Verdict.PASS, FAULT):
        spread.take("a")
        spread.ended("a", verdict)
    assert not spread.quarantined


def test_a_firmware_fail_stands_and_a_second_board_bears_witness_once():
    spread = Spread(some("wrong"), boards("a", "b", "c"))
    assert spread.take("b") == "wrong"
    assert not spread.ended("b", Verdict.FIRMWARE_FAIL)
    assert spread.take("b") is None
    assert spread.take("c") == "wrong"
    assert not spread.ended("c", Verdict.FIRMWARE_FAIL)
    assert spread.over
    assert spread.left == []


def test_with_one_board_a_firmware_fail_is_not_repeated():
    spread = Spread(some("wrong"), boards("a"))
    spread.take("a")
    assert not spread.ended("a", Verdict.FIRMWARE_FAIL)
    assert spread.over


def test_a_second_witness_that_is_a_bench_fault_changes_nothing_and_is_not_repeated():
    spread = Spread(some("wrong"), boards("a", "b"))
    spread.take("a"), spread.ended("a", Verdict.FIRMWARE_FAIL), spread.take("b")
    assert not spread.ended("b", FAULT)
    assert spread.over


def test_a_skip_proves_nothing_of_a_board():
    spread = Spread(some("one", "two", "three"), boards("a", "b"))
    for verdict in (FAULT, Verdict.SKIPPED, FAULT):
        spread.take("a")
        spread.ended("a", verdict)
    assert list(spread.quarantined) == ["a"]


def test_a_test_that_is_a_bench_fault_on_two_boards_speaks_against_neither():
    spread = Spread(some("odd", "other"), boards("a", "b"))
    spread.take("a"), spread.ended("a", FAULT)
    assert spread.take("b") == "odd"
    spread.ended("b", FAULT)
    assert spread.take("a") in ("odd", "other")
    spread.ended("a", FAULT)
    assert not spread.quarantined


def test_when_no_board_is_left_the_run_is_over_and_says_what_did_not_run():
    spread = Spread(some("one", "two", "three"), boards("a"))
    spread.take("a")
    spread.quarantine("a", "smoke")
    assert not spread.over
    assert not spread.ended("a", FAULT)
    assert spread.over
    assert spread.left == ["two", "three"]


@given(
    st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_every_test_gets_one_last_verdict_and_only_bench_faults_are_repeated(verdicts, number, count, chance):
    names = [f"test{index}" for index in range(count)]
    spread = Spread(some(*names), boards(*map(str, range(number))))
    runs, last, step = Counter(), {}, 0
    while not spread.over:
        running = {board: name for board in spread.lacks if (name := spread.take(board)) is not None}
        assert len(set(running.values())) == len(running)
        assert running
        for board, name in sorted(running.items(), key=lambda _: chance.random()):
            verdict = verdicts[step % len(verdicts)]
            step += 1
            runs[name] += 1
            assert last.get(name, Verdict.FIRMWARE_FAIL) is Verdict.FIRMWARE_FAIL
            if not spread.ended(board, verdict, "why"):
                last.setdefault(name, verdict)
    assert set(last) | set(spread.left) == set(names)
    assert not (set(last) & set(spread.left))
    assert all(times <= TRIES + 1 for times in runs.values())
    assert not spread.left or not spread.fit
