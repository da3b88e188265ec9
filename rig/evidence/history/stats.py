"""The two numbers that history needs: how sure a rate is, and whether two rates differ by chance. Pure."""

from __future__ import annotations

from math import comb, sqrt

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def interval(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate (Wilson's score interval, JASA 22 (1927) 209); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    rate, square = hits / trials, Z95 * Z95
    middle = (rate + square / (2 * trials)) / (1 + square / trials)
    half = Z95 / (1 + square / trials) * sqrt(rate * (1 - rate) / trials + square / (4 * trials * trials))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == trials else min(1.0, middle + half)
    return low, high


def more_often(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """The chance that the first of two equal rates comes out at least this much higher (Fisher's exact test,
    one-sided): 1 means no evidence."""
    total, all_hits = trials + other_trials, hits + other_hits
    most = min(trials, all_hits)
    ways = sum(comb(all_hits, k) * comb(total - all_hits, trials - k) for k in range(hits, most + 1))
    return ways / comb(total, trials)
