"""What a live board does after power-on: boots that end in a reset, in silence, or with an app that has finished."""

from __future__ import annotations

import pytest

from rig.boards.image_boots import MOST_BOOTS, MOST_GIVEN_UP, BootSeen
from rig.errors import BenchFault
from rig.evidence.power_up import PowerUp, watch
from rig.protocol import Line, encode_line
from tests.qualification.states import BLANK, entry

ROM = [b"ESP-ROM:esp32c3-api1-20210207\r\n", b"rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n"]
AGAIN = [b"ESP-ROM:esp32c3-api1-20210207\r\n", b"rst:0xc (RTC_SW_CPU_RST),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n"]
OTA_0 = b"I (125) boot: Loaded app from partition at offset 0x10000\r\n"
OTA_1 = b"I (125) boot: Loaded app from partition at offset 0x110000\r\n"
NOTHING = b"E (90) boot: No bootable app partitions in the partition table\r\n"


def event(word, **fields):
    return encode_line(Line(None, word, fields), b"\r\n")


def start(slot, state, diag="none"):
    return event("start", version="2.0.0", running=slot, state=state, diag=diag)


READY = event("ready")


@pytest.fixture(scope="module")
def table(bench):
    return bench.shelf.build("rollback", "1.0.0").table


@pytest.fixture
def seen(table):
    """`seen(lines)`: the boots, when nothing more is to be expected, or when the last was waited for in vain."""

    def of(lines):
        power_up = PowerUp(table)
        for number, line in enumerate(lines, 1):
            if power_up.take(line):
                assert number == len(lines), "it goes on after the end"
                return power_up.boots
        return power_up.given_up()

    return of


def test_an_app_that_is_ready_has_finished(seen):
    assert seen([*ROM, OTA_0, start("ota_0", "VALID"), READY]) == [BootSeen("ota_0", "2.0.0", "VALID", "runs", ())]


def test_an_app_that_confirms_late_has_finished_when_it_has(seen):
    lines = [*ROM, OTA_1, start("ota_1", "PENDING_VERIFY", "delay"), READY, b"I (900) app: still thinking\r\n"]
    assert [boot.end for boot in seen(lines)] == ["hangs"]
    assert [boot.end for boot in seen([*lines, event("diag", outcome="delay", result="confirmed")])] == ["runs"]


def test_a_reset_ends_a_boot_and_the_next_one_counts(seen):
    lines = [*ROM, OTA_1, start("ota_1", "PENDING_VERIFY", "reboot"), *AGAIN, OTA_0, start("ota_0", "VALID"), READY]
    assert seen(lines) == [
        BootSeen("ota_1", "2.0.0", "PENDING_VERIFY", "restarts", ()),
        BootSeen("ota_0", "2.0.0", "VALID", "runs", ()),
    ]


def test_an_app_that_never_says_that_it_is_ready_hangs(seen):
    assert seen([*ROM, OTA_1, start("ota_1", "VALID")]) == [BootSeen("ota_1", "2.0.0", "VALID", "hangs", ())]


def test_a_board_that_says_nothing_that_is_understood_hangs(seen):
    assert seen([b"\xff\x80garbage\n"]) == [BootSeen(None, None, None, "hangs", ())]


def test_an_app_that_restarts_for_ever_is_waited_for_only_so_often(seen):
    boots = seen([*ROM, OTA_0, *(MOST_BOOTS - 1) * [*AGAIN, OTA_0], *AGAIN])
    assert [boot.end for boot in boots] == ["restarts"] * MOST_BOOTS


def test_a_bootloader_that_gives_up_again_is_unbootable(seen):
    boots = seen([*ROM, NOTHING, *(MOST_GIVEN_UP - 1) * [*AGAIN, NOTHING], *AGAIN])
    assert [(boot.slot, boot.end) for boot in boots] == [(None, "nothing bootable")] * MOST_GIVEN_UP


def test_a_boot_whose_beginning_was_lost_is_still_one(seen):
    """The serial bridge hangs on the supply that was cut, and comes back late."""
    lines = [b"ning\r\n", start("ota_1", "PENDING_VERIFY", "reboot"), *AGAIN, OTA_0, start("ota_0", "VALID"), READY]
    assert [(boot.slot, boot.end) for boot in seen(lines)] == [("ota_1", "restarts"), ("ota_0", "runs")]


def test_the_answer_to_a_request_is_no_event(seen):
    answer = encode_line(Line(7, "ready", {}), b"\r\n")
    assert [boot.end for boot in seen([*ROM, OTA_0, start("ota_0", "VALID"), answer])] == ["hangs"]


def test_a_live_board_is_watched_until_its_app_has_finished(trial, bench, table):
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
    trial.power_up()
    assert watch(bench.board, table, 10.0) == (BootSeen("ota_0", "1.0.0", "VALID", "runs", ()),)
    assert trial.finish().booted == ["ota_0"]


def test_a_board_without_a_word_is_a_bench_fault(trial, bench, table):
    trial.install("rollback")
    bench.board.reset_line.hold()
    bench.board.console.drain()
    bench.board.console.skip()
    with pytest.raises(BenchFault, match=r"no output for 0\.1 s after power-on"):
        watch(bench.board, table, 0.1)
