"""Delays of a sweep and of a bisection: always inside the window, always enough, and an edge is always one."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rig.crash.edges import TRIES, Edge, Tried, Window, bisect, changes, finest, steps, window
from rig.errors import Inconclusive, UserError

unhurried = settings(deadline=None)
delays = st.floats(0, 1e4)


@st.composite
def windows(draw):
    low = draw(delays)
    width = draw(st.floats(1e-3, 1e4))
    return Window(low, low + width)


def search(outcome_of, within, resolution):
    """The edge that a bisection finds, and the delays that it tried."""
    tried = []
    looking = bisect(within, resolution)
    delay = next(looking)
    while True:
        tried.append(delay)
        try:
            delay = looking.send(outcome_of(delay))
        except StopIteration as stop:
            return stop.value, tried


# --- sweeps ----------------------------------------------------------------------------------------------------------


@unhurried
@given(windows(), st.integers(2, 300))
def test_a_sweep_covers_its_window_evenly(within, count):
    found = steps(within, count)
    assert (found[0], found[-1], len(found)) == (within.low, within.high, count)
    assert all(one <= other for one, other in pairwise(found))
    distance = (within.high - within.low) / (count - 1)
    assert all(abs(other - one - distance) <= 1e-6 * distance + 1e-9 for one, other in pairwise(found))


@pytest.mark.parametrize("count", [-1, 0, 1])
def test_a_sweep_needs_both_ends(count):
    with pytest.raises(UserError, match="2 steps are both ends"):
        steps(Window(0, 1), count)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (-0.1, 1), (0, math.inf), (math.nan, 1), (0, math.nan)])
def test_what_is_no_window_is_refused(low, high):
    with pytest.raises(UserError, match="no window"):
        window(low, high)


def test_a_window_may_begin_at_the_moment_itself():
    assert window(0, 0.5) == (0, 0.5)


@unhurried
@given(st.lists(st.tuples(delays, st.sampled_from(["old", "new", None]))))
def test_edges_of_a_sweep_lie_between_neighbours_that_differ(tried):
    known = sorted((delay, outcome) for delay, outcome in tried if outcome is not None)
    found = changes([Tried(*one) for one in tried])
    assert len(found) == sum(one[1] != other[1] for one, other in pairwise(known))
    for edge in found:
        assert edge.below != edge.above
        assert (edge.low, edge.below) in known
        assert (edge.high, edge.above) in known
        assert not [delay for delay, _ in known if edge.low < delay < edge.high]


def test_a_delay_without_an_outcome_is_passed_over():
    tried = [Tried(0.0, "old"), Tried(0.1, None), Tried(0.2, "old"), Tried(0.3, None), Tried(0.4, "new")]
    assert changes(tried) == [Edge(0.2, 0.4, "old", "new")]


# --- bisection -------------------------------------------------------------------------------------------------------


@unhurried
@given(windows(), st.floats(0, 1, exclude_min=True), st.floats(1e-4, 1))
def test_bisection_closes_in_on_the_edge(within, where, share):
    edge_at = within.low + (within.high - within.low) * where
    assume(within.low < edge_at <= within.high)
    resolution = (within.high - within.low) * share
    edge, tried = search(lambda delay: "new" if delay >= edge_at else "old", within, resolution)
    assert (edge.below, edge.above) == ("old", "new")
    assert edge.low < edge_at <= edge.high
    assert edge.high - edge.low <= resolution
    assert len(tried) <= 2 + math.ceil(math.log2(1 / share)) + 1


@unhurried
@given(windows(), st.floats(1e-3, 1), st.randoms(use_true_random=False))
def test_whatever_a_board_does_the_edge_is_one_and_was_seen(within, share, chance):
    seen = {}

    def outcome_of(delay):
        return seen.setdefault(delay, chance.choice(["old", "new", "lost", "unbootable"]))

    resolution = (within.high - within.low) * share
    try:
        edge, tried = search(outcome_of, within, resolution)
    except Inconclusive:
        assert seen[within.low] == seen[within.high]
        return
    assert edge.below != edge.above
    assert (seen[edge.low], seen[edge.high]) == (edge.below, edge.above)
    assert edge.high - edge.low <= resolution
    assert all(within.low <= delay <= within.high for delay in tried)
    assert len(tried) == len(set(tried))


def test_two_ends_with_one_outcome_are_inconclusive():
    with pytest.raises(Inconclusive, match=r"after 0\.1 s and one after 0\.5 s have the same outcome, 'old app'"):
        search(lambda _: "old app", Window(0.1, 0.5), 0.1)


def test_a_try_that_shows_nothing_is_repeated():
    failed = set()

    def outcome_of(delay):
        if delay not in failed:
            failed.add(delay)
            return None
        return "new" if delay > 0.3 else "old"

    edge, tried = search(outcome_of, Window(0, 1), 0.25)
    assert edge == Edge(0.25, 0.5, "old", "new")
    assert sorted(tried) == sorted([*failed, *failed])


def test_a_delay_that_never_shows_anything_is_inconclusive():
    tried = []

    def outcome_of(delay):
        tried.append(delay)
        return {0: "old", 1: "new"}.get(delay)

    with pytest.raises(Inconclusive, match=r"after 0\.5 s showed no outcome"):
        search(outcome_of, Window(0, 1), 0.1)
    assert tried == [0, 1, *[0.5] * TRIES]


def test_a_resolution_finer_than_numbers_are_comes_to_an_end():
    low, high = 1.0, math.nextafter(1.0, 2.0)
    edge, _ = search(lambda delay: "old" if delay <= low else "new", Window(low, high), 1e-300)
    assert (edge.low, edge.high) == (low, high)


def test_a_resolution_is_a_hundredth_of_the_window_unless_told():
    assert finest(Window(1, 3), None) == pytest.approx(0.02)
    assert finest(Window(1, 3), 0.5) == 0.5


@pytest.mark.parametrize("resolution", [0, -1, math.nan, math.inf])
def test_what_is_no_resolution_is_refused(resolution):
    with pytest.raises(UserError, match="resolution"):
        finest(Window(0, 1), resolution)
