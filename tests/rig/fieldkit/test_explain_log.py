"""Facts of real logs: what a person would look up by hand, from logs of the field and of unmodified firmware."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.fieldkit.explain_log import explain_log
from rig.fieldkit.log_reading import KEPT_BOOTS, KEPT_EVENTS, read_log

LOGS = Path(__file__).parents[2] / "data" / "logs"
FIELD = {log["file"]: log for log in json.loads((LOGS / "field" / "index.json").read_text())["logs"]}
QEMU = {log["file"]: log for log in json.loads((LOGS / "qemu" / "index.json").read_text())["logs"]}
LISTED = 60
"""The index lists no more resets and load offsets than this."""

BOOT = b"""ESP-ROM:esp32c3-api1-20210207
rst:0x3 (RTC_SW_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)
I (33) boot: ESP-IDF v5.1.6 2nd stage bootloader
E (50) boot: No bootable app partitions in the partition table
"""


def field(name):
    return (LOGS / "field" / name).read_bytes()


def qemu(name):
    return gzip.decompress((LOGS / "qemu" / f"{name}.gz").read_bytes())


def told(data, source="log"):
    return explain_log(data, source).model_dump(exclude={"counts", "source"})


@pytest.mark.parametrize("name", FIELD)
def test_a_field_log_shows_the_facts_that_a_person_finds_in_it(name):
    expected = FIELD[name]["expect"]
    facts = explain_log(field(name), name).facts
    assert {key: facts.get(key) for key in expected} == expected


@pytest.mark.parametrize("name", QEMU)
def test_a_log_of_real_firmware_shows_its_boots_resets_and_offsets(name):
    found, log = explain_log(qemu(name), name), QEMU[name]
    assert found.counts.bootloader_banners == log["bootloader_banners"] == len(found.boots)
    resets = [reset for boot in found.boots for reset in boot.resets][:LISTED]
    # a reset that came to no bootloader is counted and belongs to no boot
    assert not Counter(resets) - Counter(log["rst"])
    assert min(found.counts.rst_lines, LISTED) == len(log["rst"])
    loaded = [boot.loaded_offset for boot in found.boots if boot.loaded_offset]
    assert loaded[:LISTED] == log["loaded_offsets"]


@pytest.mark.parametrize("name", [name for name, log in QEMU.items() if log["status"] == "ok"])
def test_the_otadata_of_a_real_run_is_the_one_its_app_printed_last(name):
    found = explain_log(qemu(name), name)
    shown = {entry.hex for entry in found.otadata if entry.hex}
    assert not shown or all(len(bytes.fromhex(entry)) == 32 for entry in shown)
    assert {entry.crc for entry in found.otadata if entry.hex} <= {"good", "bad", "erased"}


def test_boots_of_an_update_that_crashes():
    found = explain_log(qemu("rb_crash_abort.log"), "rb_crash_abort.log")
    seen = [(boot.reset, boot.slot, boot.version, boot.states, boot.ended_by) for boot in found.boots[:3]]
    assert seen == [
        ("0x1 (POWERON)", "ota_0", "1.0.0", ["VALID"], "restart"),
        ("0xc (RTC_SW_CPU_RST)", "ota_1", "2.0.3", ["NEW", "PENDING_VERIFY"], "panic (abort)"),
        ("0xc (RTC_SW_CPU_RST)", "ota_0", "1.0.0", ["VALID"], "restart"),
    ]
    aborted = [change for change in found.transitions if change.after == "ABORTED"]
    assert [(change.slot, change.before, change.by, change.boot) for change in aborted] == [
        ("ota_1", "PENDING_VERIFY", "bootloader", 2)
    ]


@given(st.sampled_from(sorted(FIELD)), st.lists(st.integers(1, 400), max_size=8))
@settings(max_examples=60, deadline=None)
def test_it_does_not_matter_in_which_pieces_a_log_comes(name, sizes):
    data, pieces = field(name), []
    rest = data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert explain_log([*pieces, rest], name) == explain_log(data, name)


PREFIXES = {
    "Arduino IDE": b"17:20:28.879 -> ",
    "date and time": b"2026-01-23 16:45:26,593 ",
    "GitHub Actions": b"2026-01-23T16:45:26.5930000Z ",
    "brackets": b"[16:45:26.593]",
    "seconds since boot": b"[   12.345678] ",
    "quoted": b"> ",
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["dbg_crash_abort.log", "rb_update_ok_autovalid.log"])
def test_what_a_terminal_puts_before_each_line_changes_nothing(name, prefix):
    data = qemu(name)
    mark = PREFIXES[prefix]
    assert told(b"".join(mark + line for line in data.splitlines(keepends=True))) | {"otadata": 0} == told(data) | {
        "otadata": 0
    }


def test_the_end_of_a_line_may_be_that_of_any_system():
    data = qemu("dbg_crash_abort.log").replace(b"\r\n", b"\n")
    assert told(data.replace(b"\n", b"\r\n")) == told(data)


def test_a_long_log_is_counted_whole_and_kept_in_part():
    count = 4 * KEPT_BOOTS
    found = read_log(BOOT for _ in range(count))
    assert found.counts.bootloader_banners == found.counts.rst_lines == count
    assert len(found.boots) == 2 * KEPT_BOOTS
    assert found.left_out == count - 2 * KEPT_BOOTS
    assert found.boots[-1].events[0].at.number == (count - 1) * 4 + 1


def test_one_boot_with_endless_talk_stays_small():
    talk = b"E (99) task_wdt: Task watchdog got triggered. The following tasks did not reset the watchdog in time:\n"
    found = read_log([BOOT, *(talk * 1000 for _ in range(20))])
    assert len(found.boots[-1].events) <= 3 * KEPT_EVENTS + 1000
    assert found.counts.lines == 4 + 20000
