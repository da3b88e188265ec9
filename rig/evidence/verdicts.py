"""The verdicts and how they are shown. Apart from the records, so that what only counts verdicts starts at once."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What may be said of one test on one board; never a bool."""

    PASS = "pass"
    FIRMWARE_FAIL = "firmware fail"
    BENCH_FAULT = "bench fault"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


# The first of these that occurs stands for all: a broken bench must not hide a firmware failure that was seen.
PRECEDENCE = (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.SKIPPED)

# ASCII on purpose: every verdict can be told apart without colour and in any encoding.
LETTER = {
    Verdict.PASS: "P",
    Verdict.FIRMWARE_FAIL: "F",
    Verdict.BENCH_FAULT: "B",
    Verdict.INCONCLUSIVE: "?",
    Verdict.SKIPPED: "-",
}

MEANING = {
    Verdict.PASS: "the board did exactly what the requirement says",
    Verdict.FIRMWARE_FAIL: "the board did something it must not do",
    Verdict.BENCH_FAULT: "the test equipment failed, so nothing may be said about the firmware",
    Verdict.INCONCLUSIVE: "the evidence does not suffice to say either",
    Verdict.SKIPPED: "the board cannot do what the test needs; nothing was tested",
}
