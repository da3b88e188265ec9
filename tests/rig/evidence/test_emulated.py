"""What an emulated app says when its power is gone already is no evidence."""

from __future__ import annotations

import pytest

from rig.evidence.app_calls import AppCall
from rig.evidence.boots import Mark, MarkKind, segment
from rig.evidence.emulated import AFTERGLOW_S, believable, crashes
from rig.evidence.events import AgentLine, OtaLine
from rig.evidence.logparse import LogParser
from rig.protocol import Line, encode_line

BANNER = b"I (26) boot: ESP-IDF v5.1.6 2nd stage bootloader\r\n"
BOOT = BANNER + b"I (43) boot: Loaded app from partition at offset 0x10000\r\n"
ROLLBACK = b"I (90) esp_ota_ops: Rollback to previously worked partition. Restart.\r\n"


def agent(word: str, number: int | None = None) -> bytes:
    return encode_line(Line(number, word, {}), b"\r\n")


def log(*chunks: tuple[float, bytes]):
    """Events of a log that arrived in these chunks, and its length."""
    parser = LogParser()
    events = [event for time, data in chunks for event in parser.feed(data, time)] + parser.finish()
    return events, sum(len(data) for _, data in chunks)


def words(events) -> list[bytes]:
    return [event.at.raw.rstrip() for event in events if isinstance(event, AgentLine | OtaLine)]


def cut(offset: int, time: float) -> Mark:
    return Mark(MarkKind.POWER_CUT, offset, time)


def test_what_came_right_before_the_cut_is_dropped() -> None:
    events, end = log((0.0, BOOT), (1.0, agent("ready")), (10.0, ROLLBACK + agent("shutdown")))
    assert words(believable(events, [cut(end, 10.0 + AFTERGLOW_S / 2)], [])) == [agent("ready").rstrip()]


def test_what_came_long_before_the_cut_is_kept() -> None:
    events, end = log((0.0, BOOT), (1.0, agent("ready")), (10.0, agent("diag")))
    assert believable(events, [cut(end, 10.1 + AFTERGLOW_S)], []) == events


def test_all_that_an_app_said_in_the_call_that_was_interrupted_is_dropped() -> None:
    events, end = log((0.0, BOOT), (1.0, agent("ready")), (2.0, agent("ok", 7)))
    call = AppCall("confirm", len(BOOT) + len(agent("ready")), "ota_1", error=None)
    assert words(believable(events, [cut(end, 60.0)], [call])) == [agent("ready").rstrip()]


@pytest.mark.parametrize("error", ["ESP_OK", "ESP_FAIL"])
def test_a_call_that_had_returned_long_before_is_believed(error) -> None:
    events, end = log((0.0, BOOT), (2.0, agent("ok", 7)))
    assert believable(events, [cut(end, 60.0)], [AppCall("confirm", len(BOOT), "ota_1", error=error)]) == events


def test_a_cut_says_nothing_of_the_boots_after_it() -> None:
    events, _ = log((0.0, BOOT), (1.0, BOOT + agent("ready")))
    assert believable(events, [cut(len(BOOT), 1.0)], [AppCall("confirm", 3, "ota_1", error=None)]) == events


def test_the_words_of_the_boot_before_are_believed_however_soon_the_cut_came() -> None:
    events, end = log((10.0, agent("shutdown") + BOOT))
    assert believable(events, [cut(end, 10.1)], []) == events


def test_the_words_of_a_boot_that_had_ended_are_believed_though_the_next_one_was_silent_yet() -> None:
    events, end = log((10.0, BOOT), (10.0, agent("shutdown")))
    assert believable(events, [cut(end, 10.1)], [], [end]) == events
    assert believable(events, [cut(end, 10.1)], [], [end + 1]) != events


def test_an_earlier_cut_call_does_not_reach_over_the_next_cut() -> None:
    events, end = log((0.0, BOOT), (1.0, BOOT + agent("ready")), (2.0, BOOT))
    calls = [AppCall("confirm", 3, "ota_1", error=None)]
    assert believable(events, [cut(len(BOOT), 0.5), cut(end, 60.0)], calls) == events


def test_the_start_of_an_app_and_the_words_of_the_bootloader_are_always_believed() -> None:
    events, end = log((10.0, BOOT + agent("start")))
    assert believable(events, [cut(end, 10.0)], []) == events


def test_an_app_that_says_it_cannot_verify_updates_has_crashed_by_itself() -> None:
    said = (
        b"E (69) secure_boot: This app is not signed, but check signature on update is enabled in config. It won't.\r\n"
    )
    for line, faults in ((said, 0), (b"E (69) secure_boot: something else\r\n", 1)):
        events, end = log((0.0, BOOT + line + b"abort() was called at PC 0x42009c3f on core 0\r\n"), (1.0, BOOT))
        marks = [Mark(MarkKind.RESTARTED, end - len(BOOT), 1.0)]
        assert len(crashes(segment(events, marks).boots)) == faults
