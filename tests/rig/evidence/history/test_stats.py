"""Wilson's interval and Fisher's test, against values of the literature and against what must hold for all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.history.stats import interval, more_often


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # R: binom::binom.confint(x, n, methods = "wilson")
    [(0, 10, 0.0, 0.2775), (1, 10, 0.0179, 0.4042), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    assert interval(hits, trials) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_fishers_test_of_the_lady_tasting_tea():
    assert more_often(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert more_often(3, 4, 1, 4) == pytest.approx(17 / 70)


@given(st.integers(0, 60), st.integers(1, 60))
def test_an_interval_holds_its_rate_and_shrinks_with_more_of_the_same(hits, trials):
    hits = min(hits, trials)
    low, high = interval(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    more_low, more_high = interval(10 * hits, 10 * trials)
    assert more_high - more_low < high - low


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_a_chance_is_one_and_grows_less_with_every_hit(hits, trials, other, others):
    hits, other = min(hits, trials), min(other, others)
    chance = more_often(hits, trials, other, others)
    assert 0 < chance <= 1 + 1e-12
    if hits:
        assert chance <= more_often(hits - 1, trials, other + 1, others) + 1e-12 if other < others else True


def test_nothing_tried_tells_nothing():
    assert interval(0, 0) == (0.0, 1.0)
    assert more_often(0, 0, 3, 5) == 1
