"""The log parser, held to logs of unmodified firmware and to excerpts from public issues."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rig.evidence.events import (
    AgentLine,
    AppInfo,
    AppLoaded,
    BootDecision,
    BootloaderStart,
    Brownout,
    CallFailed,
    Decision,
    DownloadMode,
    EfuseChange,
    Event,
    FlashEncryption,
    Garbled,
    Hint,
    HintKind,
    ImageFault,
    OtaCall,
    OtadataMarked,
    OtadataReport,
    OtadataSequence,
    OtaLine,
    Panic,
    PartitionRow,
    Rebooting,
    Reset,
    RomBanner,
    SequenceChoice,
    SequencePair,
    SlotMapped,
    SlotRejected,
    SlotReport,
    Torn,
    Watchdog,
)
from rig.evidence.logparse import LogParser, parse

LOGS = Path(__file__).parents[2] / "data" / "logs"
QEMU = json.loads((LOGS / "qemu" / "index.json").read_text())["logs"]
MOST_COUNTED = 60
"""The index lists no more resets and load offsets than this."""


@cache
def qemu(name: str) -> bytes:
    return gzip.decompress((LOGS / "qemu" / f"{name}.gz").read_bytes())


@cache
def qemu_events(name: str) -> tuple[Event, ...]:
    return tuple(parse(qemu(name)))


def field(name: str) -> list[Event]:
    return parse((LOGS / "field" / f"{name}.log").read_bytes())


def said(events: list[Event] | tuple[Event, ...]) -> list[tuple[object, ...]]:
    """Events without the line they stand in."""
    return [(type(event).__name__, *event[1:]) for event in events]


def only(events: list[Event], kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


def one(text: str) -> Event:
    (event,) = parse(text.encode() + b"\r\n")
    return event


# Logs of unmodified firmware


@pytest.mark.parametrize("log", QEMU, ids=lambda log: log["file"])
def test_real_log_yields_every_reset_banner_and_load_offset(log):
    events = qemu_events(log["file"])
    assert [event.reason for event in only(events, Reset)][:MOST_COUNTED] == log["rst"]
    assert len(only(events, BootloaderStart)) == log["bootloader_banners"]
    assert [f"{event.offset:#x}" for event in only(events, AppLoaded)][:MOST_COUNTED] == log["loaded_offsets"]
    assert not only(events, Torn)
    assert not only(events, Garbled)


@pytest.mark.parametrize("log", QEMU, ids=lambda log: log["file"])
def test_real_log_yields_what_the_app_said_of_its_slot_and_state(log):
    reports = [event for event in only(qemu_events(log["file"]), SlotReport) if event.role == "running"]
    for step in log["steps"]:
        if "running" in step:
            last = [event for event in reports if event.at.offset < step["log_offset"] and event.version][-1]
            assert [last.slot, last.state, last.version] == step["running"]


@pytest.mark.parametrize("log", [log for log in QEMU if log["otadata"].get("after")], ids=lambda log: log["file"])
def test_real_log_yields_the_otadata_that_flash_held_at_the_end(log):
    last = {event.entry: event.data.hex() for event in only(qemu_events(log["file"]), OtadataReport)}
    assert [last[0], last[1]] == log["otadata"]["after"]


@pytest.mark.parametrize("version", ["v4.4.8", "v5.0.9_dbg", "v5.2.6_dbg", "v5.5.4"])
def test_bootloader_version_is_the_one_of_the_build(version):
    starts = only(qemu_events(f"ver_{version}.log"), BootloaderStart)
    assert {start.version for start in starts} == {version.removesuffix("_dbg")}


@pytest.mark.parametrize(("name", "idf"), [("rb_update_ok_autovalid.log", "v5.1.6"), ("v54_update_ok.log", "v5.4.3")])
def test_app_description_is_read_from_both_start_up_tags(name, idf):
    first = {event.field: event.value for event in only(qemu_events(name), AppInfo)[:5]}
    assert first["project"] == "otalab"
    assert first["version"] == "1.0.0"
    assert first["idf"] == idf
    assert len(first["elf_sha"]) in (9, 16)


def test_debug_lines_name_the_entries_and_their_changes():
    events = qemu_events("dbg_crash_abort.log")
    assert [(event.entry, event.state) for event in only(events, OtadataMarked)] == [
        (1, "PENDING_VERIFY"),
        (1, "ABORTED"),
    ]
    assert said(only(events, SlotMapped))[0] == ("SlotMapped", 1, "ota_1")
    assert said(only(events, OtadataSequence))[:2] == [
        ("OtadataSequence", 0, 0xFFFFFFFF),
        ("OtadataSequence", 1, 0xFFFFFFFF),
    ]


def test_event_carries_line_number_byte_offset_and_raw_line():
    data = qemu("rb_crash_abort.log")
    lines = data.split(b"\n")
    events = parse(data)
    assert len(events) > 100
    for event in events:
        assert lines[event.at.number - 1] == event.at.raw or lines[event.at.number - 1] == event.at.raw + b"\r"
        assert data[event.at.offset : event.at.offset + len(event.at.raw)] == event.at.raw


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 15_000), max_size=40))
@example([])
@example(list(range(0, 15_000, 61)))
def test_cutting_the_stream_anywhere_changes_no_event(cuts):
    data = qemu("rb_power_cut_during_bootloader_of_new.log")
    parser, events, last = LogParser(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        events += parser.feed(data[last:cut])
        last = max(last, cut)
    assert events + parser.finish() == list(qemu_events("rb_power_cut_during_bootloader_of_new.log"))


def test_one_byte_at_a_time_gives_the_same_events():
    data = qemu("stock_rb_autoinvalid.log")
    parser = LogParser()
    events = [event for byte in data for event in parser.feed(bytes([byte]))]
    assert events + parser.finish() == list(qemu_events("stock_rb_autoinvalid.log"))


def test_endless_line_is_given_up_and_what_follows_is_read():
    parser = LogParser()
    assert parser.feed(b"x" * 70_000) == []
    (event,) = parser.feed(b"\r\nI (2) boot: No factory image, trying OTA 0\r\n")
    assert (event.at.number, event.at.offset) == (2, 70_002)


def test_line_has_the_time_of_the_chunk_in_which_it_began():
    parser = LogParser()
    events = parser.feed(b"rst:0x1 (POW", 1.0)
    events += parser.feed(b"ERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\nI (1) boot: Defaulting to fac", 2.0)
    events += parser.feed(b"tory image\r\nI (2) boot: No factory image, trying OTA 0\r\n", 3.0)
    assert [event.at.time for event in events] == [1.0, 2.0, 3.0]


# The same log through other people's terminals

SHORT = "stock_rb_autoinvalid.log"
MANGLED = {
    "no colour": lambda line: line.replace(b"\x1b[0;32m", b"").replace(b"\x1b[0m", b""),
    "escape lost": lambda line: line.replace(b"\x1b[", b"["),
    "escape shown": lambda line: line.replace(b"\x1b", "␛".encode()),
    "escape undecodable": lambda line: line.replace(b"\x1b", "\ufffd".encode()),
    "escape as caret": lambda line: line.replace(b"\x1b", b"^["),
    "bold green": lambda line: line.replace(b"\x1b[0;32m", b"\x1b[1;32m"),
    "colour of the monitor": lambda line: b"\x1b[32m" + line + b"\x1b[0m",
    "NUL before each line": lambda line: b"\x00\x00" + line,
    "line feed only": lambda line: line.replace(b"\r", b""),
    "extra carriage return": lambda line: line + b"\r",
    "Arduino IDE": lambda line: b"13:27:59.686 -> " + line,
    "ESP Flash tool": lambda line: b"[19:02:56]" + line,
    "brackets and milliseconds": lambda line: b"[19:02:56.123] " + line,
    "PlatformIO": lambda line: b"12:34:56.789 > " + line,
    "idf_monitor": lambda line: b"2026-05-01 12:00:00 " + line,
    "ISO 8601": lambda line: b"2026-05-01T12:00:00.123Z " + line,
    "log framework": lambda line: b"2026-05-01 12:00:00,123 - " + line,
    "pytest-embedded": lambda line: b"2026-05-01 12:00:00 [dut-0] " + line,
    "kernel style": lambda line: b"[ 1234.567890] " + line,
    "no level letter": lambda line: line.replace(b"mI (", b"m(").replace(b"mE (", b"m("),
    "no level, no colour": lambda line: line.replace(b"\x1b[0;32mI (", b"(").replace(b"\x1b[0m", b""),
    "system time": lambda line: line.replace(b"mI (", b"mI (00:01:"),
}


@pytest.mark.parametrize("style", MANGLED)
def test_terminal_style_changes_no_event(style):
    lines = qemu(SHORT).split(b"\n")
    mangled = b"\n".join(MANGLED[style](line) if line.strip() else line for line in lines)
    assert [entry for entry in said(parse(mangled)) if entry[0] != "Garbled"] == said(qemu_events(SHORT))


def test_two_lines_run_together_are_two_events():
    text = (
        b"\x1b[0;32mI (40) boot: Defaulting to factory image\x1b[0m\x1b[0;32mI (41) boot: Loaded app from partition at "
    )
    text += b"offset 0x20000\x1b[0m\r\n"
    assert said(parse(text)) == [
        ("BootDecision", Decision.TO_FACTORY, None),
        ("AppLoaded", 0x20000, True),
    ]


def test_line_behind_a_torn_one_is_found():
    text = b"I (40) heap_init: At 3FC8E410 lI (41) boot: Loaded app from partition at offset 0x20000\r\n"
    assert said(parse(text)) == [("AppLoaded", 0x20000, True)]


def test_rom_banner_behind_a_line_cut_by_power_is_found():
    events = parse(b"I (41) boot: Loaded app from partition at offset 0x1100ESP-ROM:esp32c3-api1-20210207\r\n")
    assert said(events) == [("Torn", "AppLoaded"), ("RomBanner", "esp32c3")]


def test_esp32_rom_banner_behind_an_offset_does_not_lend_it_digits():
    events = parse(b"I (41) boot: Loaded app from partition at offset 0x1100ets Jun  8 2016 00:22:57\r\n")
    assert not only(events, AppLoaded)
    assert said(only(events, RomBanner)) == [("RomBanner", "esp32")]


def test_lone_carriage_returns_end_lines_too():
    text = b"I (1) boot: Defaulting to factory image\rI (2) boot: Loaded app from partition at offset 0x20000\r\n"
    assert [type(event) for event in parse(text)] == [BootDecision, AppLoaded]


def test_quoted_log_line_is_not_taken_for_one():
    assert parse(b'I (5) main: got "I (33) boot: Loaded app from partition at offset 0x10000"\r\n') == []


# Damage

TEARABLE = (
    b"\x1b[0;32mI (33) boot: Loaded app from partition at offset 0x100000\x1b[0m\r\n",
    b"I (33) boot: Loaded app from partition at offset 0x110000\r\n",
    b"I (33) boot: Set actual ota_seq=12 in otadata[0]\r\n",
    b"E (33) boot: OTA app partition slot 11 is not bootable\r\n",
    b"D (33) boot: otadata[1]: sequence values 0x00000012\r\n",
    b"D (33) boot: Mapping seq 11 -> OTA slot 11\r\n",
    b"I (3) boot:  3 ota_0            OTA app          00 10 00010000 00100000\r\n",
    b"rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n",
    b"I (43) cpu_start: App version:      1.10.12\r\n",
    b"I (1) boot: Secure version (from eFuse) = 12\r\n",
    b"E (5) esp_image: Checksum failed. Calculated 0xc6 read 0x52\r\n",
    b"running: label=ota_1 offset=0x110000 size=0x100000 state=PENDING_VERIFY version=2.0.11\r\n",
)
NEXT = (
    b"",
    b"ESP-ROM:esp32c3-api1-20210207\r\n",
    b"ets Jun  8 2016 00:22:57\r\n",
    b"rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n",
    b"I (34) boot: Disabling RNG early entropy source...\r\n",
    b"\x1b[0;32mI (34) boot: Disabling RNG early entropy source...\x1b[0m\r\n",
    b"\x00\xff\x80",
)


@pytest.mark.parametrize("line", TEARABLE)
@pytest.mark.parametrize("after", NEXT)
def test_torn_line_never_becomes_another_event(line, after):
    whole = set(said(parse(line)) + said(parse(after)))
    for length in range(len(line)):
        for event in parse(line[:length] + after):
            assert isinstance(event, Torn | Garbled) or (type(event).__name__, *event[1:]) in whole, line[:length]


def test_coloured_line_without_its_closing_colour_is_torn():
    text = b"\x1b[0;32mI (33) boot: Loaded app from partition at offset 0x10000"
    assert said(parse(text + b"\r\n")) == [("Torn", "AppLoaded")]
    assert said(parse(text + b"\x1b[0m\r\n")) == [("AppLoaded", 0x10000, True)]


def test_torn_offset_is_believed_if_the_listing_leaves_no_other():
    table = b"".join(
        b"I (3) boot:  %d ota_%d            OTA app          00 1%d %08x 00100000\r\n" % (i, i, i, offset)
        for i, offset in enumerate((0x10000, 0x110000))
    )
    torn = b"I (41) boot: Loaded app from partition at offset %s"
    assert said(parse(table + torn % b"0x110000"))[-1] == ("AppLoaded", 0x110000, True)
    # with another app at 0x100000 the same bytes could be its beginning
    more = b"I (3) boot:  2 ota_2            OTA app          00 12 00100000 00010000\r\n"
    assert said(parse(table + more + torn % b"0x10000"))[-1] == ("Torn", "AppLoaded")


@pytest.mark.parametrize("offset", ["0x1100", "0x11000", "0x0110", "0x110000g", "0x"])
def test_offset_where_no_app_can_be_is_no_load_event(offset):
    assert not only(parse(f"I (33) boot: Loaded app from partition at offset {offset}\r\n".encode()), AppLoaded)


NOISE = [byte for byte in range(0x100) if byte > 0x7E or not chr(byte).isalpha()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(NOISE), max_size=300).map(bytes), st.integers(0, 3000))
def test_noise_between_lines_makes_no_event_that_was_not_there(noise, place):
    data = qemu(SHORT)
    cut = data.rfind(b"\n", 0, place) + 1
    clean = set(said(qemu_events(SHORT)))
    for event in parse(data[:cut] + noise + data[cut:]):
        assert isinstance(event, Torn | Garbled) or (type(event).__name__, *event[1:]) in clean


def test_garbled_line_is_reported_with_the_number_of_bad_bytes():
    (event,) = parse(b"\x00\xfe\xfd\x01abc\r\n")
    assert (type(event), event.bad) == (Garbled, 4)


def test_text_in_utf_8_is_not_noise():
    assert parse("W self_test: PENDING_VERIFY — this boot decides\r\n".encode()) == []


def test_otadata_report_with_a_wrong_byte_is_not_believed():
    good = "otadata[0]: 01 00 00 00 " + "ff " * 20 + "02 00 00 00 9a 98 43 47 seq=1 state=VALID crc=0x4743989a"
    assert isinstance(one(good), OtadataReport)
    assert parse(good.replace("9a 98", "9b 98").encode() + b"\n") == []


# Wording of every version


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("I (1) boot: ESP-IDF 4.3.1 2nd stage bootloader", ("BootloaderStart", "4.3.1")),
        ("E (1) boot: Factory app partition is not bootable", ("SlotRejected", "factory")),
        ("E (1) boot: Factory test app partition is not bootable", ("SlotRejected", "test")),
        ("E (1) boot: Failed to get partition description 261", ("BootDecision", Decision.NO_DESCRIPTION, 261)),
        ("I (1) boot: Detect a condition of the factory reset", ("BootDecision", Decision.FACTORY_RESET, None)),
        (
            "W (1) boot: Falling back to test app as only bootable partition",
            ("BootDecision", Decision.TEST_FALLBACK, None),
        ),
        ("I (1) boot: Fast booting app from partition at offset 0x190000", ("AppLoaded", 0x190000, False)),
        ("I (1) boot: otadata[0..1] in initial state", ("BootDecision", Decision.OTADATA_INITIAL, None)),
        (
            "I (1) boot: 12 ota_12           OTA app          00 1c 00c10000 00100000",
            ("PartitionRow", 12, "ota_12", "OTA app", 0, 0x1C, 0xC10000, 0x100000),
        ),
        (
            "D (1) boot: Trying partition index -1 offs 0x10000 size 0x100000",
            ("TryingPartition", -1, 0x10000, 0x100000),
        ),
        ("I (1) efuse: Anti-rollback is set. eFuse field is updated(2).", ("EfuseChange", True, 2)),
        (
            "E (1) boot_comm: chip revision check failed. Required >= v3.0, found v1.0.",
            ("ImageFault", "chip revision", None, (3, 0, 1, 0)),
        ),
        (
            "E (1) boot_comm: Image requires chip rev >= v3.0, but chip is v1.0",
            ("ImageFault", "chip revision", None, (3, 0, 1, 0)),
        ),
        ("E (1) esp_ota_ops: not found otadata", ("OtaLine", OtaCall.NO_OTADATA, None)),
        ("I (1) esp_ota_ops: Rollback to previously worked partition.", ("OtaLine", OtaCall.ROLLBACK, None)),
        ("E BOD: Brownout detector was triggered", ("Brownout",)),
        ("Brownout detector was triggered", ("Brownout",)),
        (
            "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
            ("Panic", "exception", "LoadProhibited"),
        ),
        ("assert failed: foo main.c:10 (x == y)", ("Panic", "assert", "assert failed: foo main.c:10 (x == y)")),
        ("***ERROR*** A stack overflow in task main has been detected.", ("Panic", "stack overflow", "main")),
        ("waiting for download", ("DownloadMode",)),
        ("ESP-ROM:esp8684-api2-20220127", ("RomBanner", "esp8684")),
        ("entry 0x400806ec", ("RomEntry", 0x400806EC)),
        (
            "rst:0x1 (POWERON),boot:0x7 (DOWNLOAD(USB/UART0/1))",
            ("Reset", 1, "POWERON", 7, "DOWNLOAD(USB/UART0/1)"),
        ),
        ("I (00:01:47.733) boot: Defaulting to factory image", ("BootDecision", Decision.TO_FACTORY, None)),
        ("@rig - ready state=VALID *00000000", ("AgentLine",)),
        ("rig> @rig - ready state=VALID *00000000", ("AgentLine",)),
    ],
)
def test_wording(text, event):
    assert said([one(text)]) == [event]


@pytest.mark.parametrize(
    "text",
    [
        "I (1) main: Rebooting...",
        "boot: label=ota_0",
        "I (1) boot: compile time Nov 22 2026 06:58:32",
        "I (1) app: esp_image: image at 0x10000 has invalid magic byte",
        "boot: Loaded app from partition at offset",
        "# I used boot: Loaded app from partition at offset 0x10000",
        "I (1) boot: loaded app from partition at offset 0x10000",
    ],
)
def test_lookalike_is_no_event(text):
    assert parse(text.encode() + b"\r\n") == []


# Excerpts from public issues: what the index expects of each


def test_field_sequence_of_2017():
    events = field("espidf-955-seq-vs-slot")
    empty = 0xFFFFFFFF
    assert [event.seqs for event in only(events, SequencePair)] == [(empty, empty), (1, empty), (1, 2), (3, 2)]
    assert [event.slot for event in only(events, SequenceChoice)] == [0, 1, 2]


def test_field_both_entries_with_one_sequence():
    events = field("fastbee-both-entries-seq3")
    assert [event.seq for event in only(events, OtadataSequence)] == [3, 3]
    assert only(events, SlotMapped)[0].slot == "ota_0"
    assert only(events, AppInfo)[0].value == "5.0"
    assert [event.value for event in only(events, Hint) if event.kind is HintKind.RUNNING] == ["ota_1", "ota_0"]


def test_field_abort_before_confirm():
    events = field("esplink-abort-before-confirm-back-to-factory")
    assert [event.offset for event in only(events, AppLoaded)] == [0x1A0000, 0x20000]
    assert [event.value for event in only(events, Hint) if event.kind is HintKind.VERSION] == ["1.0.8", "1.0.5"]
    assert only(events, Panic)[0].kind == "abort"


def test_field_partition_table():
    rows = {row.label: row.offset for row in only(field("espidf-4799-debug-truncated-before-decision"), PartitionRow)}
    assert rows == {"nvs": 0x11000, "otadata": 0x1E000, "app0": 0x20000, "app1": 0x160000, "spiffs": 0x2A0000}


def test_field_rejected_images():
    events = field("s3-32mb-address-wrap-slot1-rejected")
    assert only(events, ImageFault)[0].reason == "overlaps bootloader stack"
    assert only(events, SlotRejected)[0].slot == "ota_1"
    assert only(events, AppLoaded)[0].offset == 0xA00000
    waveshare = field("waveshare-interrupted-serial-flash-loop")
    assert [event.reason for event in only(waveshare, ImageFault)] == ["segment length", "magic"]
    assert only(waveshare, ImageFault)[1].offset == 0x320000
    assert only(waveshare, BootDecision)[0].kind is Decision.NOTHING_BOOTABLE
    arduino = field("arduino-ide-wrong-offsets-bootloop")
    assert (only(arduino, ImageFault)[0].reason, only(arduino, ImageFault)[0].offset) == ("magic", 0x20000)


def test_field_checksums_that_change():
    events = field("skyfeeder-checksum-changes-every-boot")
    pairs = [event.values for event in only(events, ImageFault) if event.reason == "checksum"]
    assert pairs == [(0xC, 0x52), (0x63, 0x52)]


def test_field_frameworks():
    assert only(field("esphome-jkbms-874-rollback-reported"), Hint) == [
        event
        for event in field("esphome-jkbms-874-rollback-reported")
        if event.kind in (HintKind.ROLLED_BACK_FROM, HintKind.CONFIRM_AFTER)
    ]
    assert [event.value for event in only(field("esphome-jkbms-874-rollback-reported"), Hint)] == ["60", "app0"]
    assert only(field("esphome-wmbus-51-crash-loop-rollback"), Hint)[0].value == "app1"
    assert only(field("esphome-marked-good-after-60s"), Hint)[0].kind is HintKind.CONFIRMED


def test_field_updates_that_were_refused():
    assert said(only(field("aws-https-ota-1-html-instead-of-image"), OtaLine)) == [("OtaLine", OtaCall.BAD_MAGIC, 0x3C)]
    assert said(only(field("aws-https-ota-1-html-instead-of-image"), CallFailed)) == [
        ("CallFailed", "esp_ota_end", ""),
        ("CallFailed", "esp_ota_set_boot_partition", "0x1503"),
    ]
    assert only(field("arduino-3976-flash-encryption-update-not-encrypted"), ImageFault)[0].offset == 0x150000
    assert [event.reason for event in field("espidf-5905-secure-boot-digest-mismatch")] == ["key digest", "signature"]


def test_field_resets_without_a_bootloader():
    events = field("jomjol-653-rom-flash-read-err-then-recovers")
    assert [event.name for event in only(events, Reset)] == ["POWERON_RESET", "RTCWDT_RTC_RESET"]
    assert len(only(events, BootloaderStart)) == 1
    loop = field("teamspresence-16-rom-invalid-header-loop")
    assert (len(only(loop, Reset)), len(only(loop, BootloaderStart))) == (2, 0)


def test_field_remaining_facts():
    rapt = field("rapt-deepsleep-fast-boot-healthy")
    assert only(rapt, Reset)[0].name == "DEEPSLEEP_RESET"
    assert said(only(rapt, AppLoaded)) == [("AppLoaded", 0x190000, False)]
    first = field("espidf-6189-encrypted-first-boot-healthy")
    assert said(only(first, BootDecision)) == [("BootDecision", Decision.SEQ_SET, 1)]
    assert only(first, FlashEncryption)[0].mode == "development"
    lost = field("classycode-ota-1-no-otadata-partition-panic")
    assert [type(event) for event in lost] == [OtaLine, Panic, Rebooting]
    assert only(lost, Panic)[0].cause == "LoadProhibited"
    assert only(field("espat-otadata-invalid-no-factory-recovers"), AppLoaded)[0].offset == 0x100000
    assert only(field("ruuvi-1278-otadata-invalid-reboot-loop-head"), Reset)[0].name == "SW_CPU_RESET"
    returned = [
        event.value for event in only(field("ff-confirm-timeout-rollback"), Hint) if event.kind is HintKind.RETURNED_TO
    ]
    assert returned == ["ota_1"]
    assert said(only(field("dht22-selftest-fail-rollback"), OtaLine)) == [("OtaLine", OtaCall.ROLLBACK, None)]


def test_watchdog_and_efuse_lines_of_real_logs():
    assert only(qemu_events("rb_twdt_no_panic_then_power_cut.log"), Watchdog)[0].kind == "task"
    assert "Interrupt wdt" in only(qemu_events("rb_hang_intwdt.log"), Panic)[0].cause
    assert only(qemu_events("arb_dbg_full.log"), EfuseChange)[0].version == 1
    assert not only(qemu_events("arb_dbg_full.log"), Brownout)
    assert not only(qemu_events("arb_dbg_full.log"), DownloadMode)
    assert not only(qemu_events("arb_dbg_full.log"), AgentLine)
