"""Boots and transitions of real logs, written out as a person would state them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rig.evidence.boots import Mark, MarkKind, segment
from rig.evidence.compare import compare, compare_boots
from rig.evidence.logparse import parse
from rig.evidence.observe import Sample, one_slot_twice, slot_states
from rig.evidence.records import BootRecord, Transition
from rig.evidence.trace import Trace, build
from rig.idf.otadata import ERASED, ImageState, make_entry
from rig.idf.partitions import Partition, PartitionTable

LOGS = Path(__file__).parents[2] / "data" / "logs"
QEMU = {log["file"]: log for log in json.loads((LOGS / "qemu" / "index.json").read_text())["logs"]}
BLANK = ERASED.pack()

FIRST = ("ota_0", "none", "VALID", "bootloader")
TABLE = PartitionTable(
    (
        Partition("otadata", 1, 0, 0xD000, 0x2000),
        Partition("app0", 0, 0x10, 0x10000, 0x100000),
        Partition("app1", 0, 0x11, 0x110000, 0x100000),
    )
)


def update(slot: str, before: str, *ends: str) -> list[tuple[str, str, str, str]]:
    """An update of `slot` that goes NEW, PENDING_VERIFY and then to `ends`."""
    by = {"VALID": "app", "INVALID": "app", "ABORTED": "bootloader"}
    steps = [(slot, before, "NEW", "app"), (slot, "NEW", "PENDING_VERIFY", "bootloader")]
    return steps + [(slot, "PENDING_VERIFY", end, by[end]) for end in ends]


def trace(name: str) -> Trace:
    """A log of unmodified firmware, with what was done to the board as marks."""
    marks = []
    for step in QEMU[name]["steps"]:
        if step.get("do") == "power_cut":
            marks.append(Mark(MarkKind.POWER_CUT, step["log_offset"]))
        elif "otadata" in step.get("do", ""):
            marks.append(Mark(MarkKind.FLASH_WRITTEN, step["log_offset"], text=step["do"]))
    return build(parse(gzip.decompress((LOGS / "qemu" / f"{name}.gz").read_bytes())), marks)


def field(name: str) -> Trace:
    return build(parse((LOGS / "field" / f"{name}.log").read_bytes()))


def boot_lines(offset: int, *more: str) -> str:
    """What a bootloader at INFO prints of itself, in short."""
    return "\n".join(
        (
            "ESP-ROM:esp32c3-api1-20210207",
            "rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)",
            "entry 0x403cc710",
            "I (26) boot: ESP-IDF v5.5.4 2nd stage bootloader",
            f"I (33) boot: Loaded app from partition at offset {offset:#x}",
            *more,
            "",
        )
    )


@pytest.mark.parametrize("name", QEMU)
def test_one_boot_for_each_bootloader_banner(name):
    assert len(trace(name).boots) == QEMU[name]["bootloader_banners"]


@pytest.mark.parametrize("name", QEMU)
def test_boots_have_the_load_offsets_of_the_log_in_order(name):
    offsets = [boot.offset for boot in trace(name).boots if boot.offset]
    assert offsets[:60] == QEMU[name]["loaded_offsets"]


@pytest.mark.parametrize(
    ("name", "slots", "expected"),
    [
        ("rb_update_ok_autovalid.log", ["ota_0", "ota_1", "ota_1"], [FIRST, *update("ota_1", "none", "VALID")]),
        ("v54_update_ok.log", ["ota_0", "ota_1", "ota_1"], [FIRST, *update("ota_1", "none", "VALID")]),
        ("systime_autoinvalid.log", ["ota_0", "ota_1", "ota_0", "ota_0"], [FIRST, *update("ota_1", "none", "INVALID")]),
        ("rb_crash_abort.log", ["ota_0", "ota_1", "ota_0", "ota_0"], [FIRST, *update("ota_1", "none", "ABORTED")]),
        ("rb_hang_intwdt.log", ["ota_0", "ota_1", "ota_0", "ota_0"], [FIRST, *update("ota_1", "none", "ABORTED")]),
        (
            "rb_reboot_unconfirmed.log",
            ["ota_0", "ota_1", "ota_0", "ota_0"],
            [FIRST, *update("ota_1", "none", "ABORTED")],
        ),
        (
            "dbg_power_cut_while_pending.log",
            ["ota_0", "ota_1", "ota_0", "ota_0"],
            [FIRST, *update("ota_1", "none", "ABORTED")],
        ),
        (
            "rb_power_cut_during_bootloader_of_new.log",
            ["ota_0", None, "ota_0"],
            [FIRST, *update("ota_1", "none", "ABORTED")],
        ),
        ("fac_update_ok.log", ["factory", "ota_0", "ota_0"], update("ota_0", "none", "VALID")),
        (
            "fac_setboot_factory.log",
            ["factory", "ota_0", "factory"],
            [*update("ota_0", "none", "VALID"), ("ota_0", "VALID", "none", "app")],
        ),
        (
            "fac_second_gen_ok_third_invalid.log",
            ["factory", "ota_0", "ota_1", "ota_0", "ota_1", "ota_1"],
            [
                *update("ota_0", "none", "VALID"),
                *update("ota_1", "none", "VALID"),
                *update("ota_0", "VALID", "INVALID"),
            ],
        ),
        (
            "rb_setboot_aborted_again.log",
            ["ota_0", "ota_1", "ota_0", "ota_1", "ota_0"],
            [FIRST, *update("ota_1", "none", "ABORTED"), *update("ota_1", "ABORTED", "ABORTED")],
        ),
        (
            "arb_dbg_full.log",
            ["ota_0", "ota_1", "ota_1", "ota_1", "ota_0", "ota_0"],
            [FIRST, *update("ota_1", "none", "VALID"), *update("ota_0", "VALID", "VALID")],
        ),
        ("norb_update_ok.log", ["ota_0", "ota_1", "ota_1"], [FIRST, ("ota_1", "none", "UNDEFINED", "app")]),
        ("mix_oldbl_newapp_ok.log", ["ota_0", "ota_1", "ota_1"], [FIRST, ("ota_1", "none", "NEW", "app")]),
    ],
)
def test_trace_of_a_real_log(name, slots, expected):
    seen = trace(name)
    assert compare_boots(slots, seen.boots) is None, str(compare_boots(slots, seen.boots))
    assert compare(expected, seen.transitions) is None, str(compare(expected, seen.transitions))


@pytest.mark.parametrize("name", ["ver_v4.4.8.log", "ver_v5.0.9_dbg.log", "ver_v5.2.6_dbg.log", "ver_v5.5.4.log"])
def test_every_bootloader_version_gives_the_same_trace(name):
    expected = [
        FIRST,
        *update("ota_1", "none", "VALID"),
        *update("ota_0", "VALID", "ABORTED"),
        *update("ota_0", "ABORTED", "ABORTED"),
        *update("ota_0", "ABORTED", "INVALID"),
        *update("ota_0", "INVALID", "ABORTED"),
    ]
    assert compare(expected, trace(name).transitions) is None, str(compare(expected, trace(name).transitions))


def test_transition_belongs_to_the_boot_that_made_it_not_to_the_one_that_shows_it():
    # the confirmation of boot 1 is only seen in boot 2
    steps = {(step.slot, step.after): step.boot for step in trace("arb_dbg_full.log").transitions}
    assert steps[("ota_1", "NEW")] == 0
    assert steps[("ota_1", "PENDING_VERIFY")] == 1
    assert steps[("ota_1", "VALID")] == 1


def test_cut_in_the_bootloader_leaves_pending_verify_in_that_boot():
    steps = {step.after: step.boot for step in trace("rb_power_cut_during_bootloader_of_new.log").transitions}
    assert steps["PENDING_VERIFY"] == 1
    assert steps["ABORTED"] == 2


def test_every_transition_names_its_witness():
    for step in trace("dbg_crash_abort.log").transitions:
        assert step.witness
    aborted = trace("dbg_crash_abort.log").transitions[-1]
    assert "otadata[1] is marking as ABORTED" in aborted.witness[-1]
    assert "\x1b" not in "".join(aborted.witness)


def test_flash_that_the_harness_wrote_is_not_put_on_the_firmware():
    by = {step.by for step in trace("rb_otadata_both_aborted.log").transitions if step.after == "ABORTED"}
    assert by == {"harness"}
    assert ("ota_1", "PENDING_VERIFY", "VALID", "app") in [
        (step.slot, step.before, step.after, step.by) for step in trace("rb_otadata_both_aborted.log").transitions
    ]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("rb_crash_abort.log", ["restart", "panic (abort)", "restart", "power cut"]),
        ("rb_hang_intwdt.log", ["restart", "watchdog (interrupt)", "restart", "power cut"]),
        ("rb_autoinvalid.log", ["restart", "rejected itself", "restart", "power cut"]),
        ("rb_twdt_no_panic_then_power_cut.log", ["restart", "power cut", "power cut"]),
        ("rb_both_images_corrupt.log", ["restart", "power cut", *["nothing bootable"] * 3]),
    ],
)
def test_how_each_boot_ended(name, ends):
    assert [boot.ended_by for boot in trace(name).boots] == ends


def test_reset_without_a_bootloader_is_no_boot_but_is_told():
    seen = trace("norb_crash_loops.log")
    assert [boot.reset for boot in seen.boots][5] == "0x1 (POWERON)"
    assert any("reset lines without a bootloader" in note for note in seen.notes)


def test_versions_and_states_on_entry():
    boots = trace("rb_autoinvalid.log").boots
    assert [(boot.version, boot.state_on_entry) for boot in boots] == [
        ("1.0.0", "VALID"),
        ("2.0.2", "PENDING_VERIFY"),
        ("1.0.0", "VALID"),
        ("1.0.0", "VALID"),
    ]
    assert boots[1].state_on_exit == "INVALID"


def test_field_logs_have_the_boots_that_their_index_counts():
    for log in json.loads((LOGS / "field" / "index.json").read_text())["logs"]:
        seen = build(parse((LOGS / "field" / log["file"]).read_bytes()))
        expect = log["expect"]
        if "boots" in expect or "bootloader_boots" in expect:
            assert len(seen.boots) == expect.get("boots", expect.get("bootloader_boots")), log["file"]


def test_field_log_with_debug_lines_only():
    seen = field("fastbee-both-entries-seq3")
    assert [boot.slot for boot in seen.boots] == ["ota_0"]
    assert (
        compare(
            [("ota_0", "NEW", "PENDING_VERIFY", "bootloader"), ("ota_0", "PENDING_VERIFY", "VALID", "app")],
            seen.transitions,
        )
        is None
    )


def test_field_log_of_two_resets_in_one_power_on():
    (boot,) = field("jomjol-653-rom-flash-read-err-then-recovers").boots
    assert boot.reset == "0x1 (POWERON_RESET)"
    assert any("0x10 (RTCWDT_RTC_RESET)" in note for note in boot.notes)


def test_field_log_without_banner_falls_back_to_factory_in_a_second_boot():
    first, second = field("esplink-abort-before-confirm-back-to-factory").boots
    assert (first.offset, first.version, first.ended_by) == ("0x1a0000", "1.0.8", "panic (abort)")
    assert (second.offset, second.version) == ("0x20000", "1.0.5")


def test_slot_comes_from_the_table_given_when_the_log_lists_none():
    (boot,) = build(parse(boot_lines(0x110000).encode()), table=TABLE).boots
    assert (boot.slot, boot.offset) == ("ota_1", "0x110000")


def test_offset_outside_the_table_names_no_slot():
    (boot,) = build(parse(boot_lines(0x210000).encode()), table=TABLE).boots
    assert boot.slot is None
    assert any("not in the partition table" in note for note in boot.notes)


def test_incomplete_listing_is_no_table():
    row = "I (3) boot:  0 ota_0            OTA app          00 10 00010000 00100000"
    (boot,) = build(parse(boot_lines(0x10000).replace("I (33)", f"{row}\nI (33)").encode())).boots
    assert boot.slot is None


def test_order_of_the_log_counts_not_its_time_stamps():
    text = boot_lines(0x10000).replace("(33)", "(90000)") + boot_lines(0x110000).replace("(33)", "(5)")
    assert [boot.slot for boot in build(parse(text.encode()), table=TABLE).boots] == ["ota_0", "ota_1"]


def test_app_start_without_any_bootloader_line_is_a_boot():
    info = "I (43) cpu_start: Project name:     otalab\nI (43) cpu_start: App version:      {}\n"
    boots = build(parse((info.format("1.0.0") + info.format("2.0.0")).encode())).boots
    assert [boot.version for boot in boots] == ["1.0.0", "2.0.0"]


def test_flash_samples_make_transitions_without_any_word_of_the_app():
    data = (boot_lines(0x10000) + boot_lines(0x110000) + boot_lines(0x10000)).encode()
    ends = [data.find(b"ESP-ROM", 1), data.rfind(b"ESP-ROM"), len(data)]
    good = make_entry(1, ImageState.VALID).pack()
    samples = [
        Sample((good, BLANK), "flash", 5),
        Sample((good, make_entry(2, ImageState.NEW).pack()), "flash", ends[0]),
        Sample((good, make_entry(2, ImageState.PENDING_VERIFY).pack()), "flash", ends[1]),
        Sample((good, make_entry(2, ImageState.ABORTED).pack()), "flash", ends[2]),
    ]
    seen = build(parse(data), samples=samples, table=TABLE)
    difference = compare(update("ota_1", "none", "ABORTED"), seen.transitions)
    assert difference is None, str(difference)
    assert [step.boot for step in seen.transitions] == [0, 1, 2]


def test_steps_that_nobody_saw_are_filled_in_and_say_so():
    data = (boot_lines(0x10000) + boot_lines(0x110000) + boot_lines(0x10000)).encode()
    good = make_entry(1, ImageState.VALID).pack()
    samples = [
        Sample((good, BLANK), "flash", 5),
        Sample((good, make_entry(2, ImageState.ABORTED).pack()), "flash", len(data)),
    ]
    steps = build(parse(data), samples=samples, table=TABLE).transitions
    assert compare(update("ota_1", "none", "ABORTED"), steps) is None
    assert [step.witness[-1].startswith("inferred") for step in steps] == [True, True, False]


@pytest.mark.parametrize(
    ("end", "boot"),
    [(ImageState.ABORTED, 2), (ImageState.VALID, 1), (ImageState.INVALID, 1)],
    ids=["the next bootloader aborts", "only the pending boot can confirm", "only the pending boot can reject"],
)
def test_end_of_pending_verify_is_put_where_it_can_have_been(end, boot):
    data = (boot_lines(0x10000) + boot_lines(0x110000) + boot_lines(0x10000) + boot_lines(0x10000)).encode()
    second = data.find(b"ESP-ROM", data.find(b"ESP-ROM", 1) + 1)
    good = make_entry(1, ImageState.VALID).pack()
    samples = [
        Sample((good, make_entry(2, ImageState.PENDING_VERIFY).pack()), "flash", second),
        Sample((good, make_entry(2, end).pack()), "flash", len(data)),
    ]
    (step,) = build(parse(data), samples=samples, table=TABLE).transitions
    assert (step.before, step.after, step.boot) == ("PENDING_VERIFY", end.name, boot)


def test_entry_that_the_harness_wrote_is_one_step_without_inferred_ones():
    data = (boot_lines(0x10000) + boot_lines(0x10000)).encode()
    good, bad = make_entry(1, ImageState.VALID).pack(), make_entry(1, ImageState.ABORTED).pack()
    samples = [Sample((good, BLANK), "flash", 200), Sample((bad, BLANK), "flash", len(data))]
    seen = build(parse(data), [Mark(MarkKind.FLASH_WRITTEN, 201)], samples, TABLE).transitions
    assert compare([("ota_0", "VALID", "ABORTED", "harness")], seen) is None


def test_host_times_are_relative_to_the_beginning_of_the_test():
    from rig.evidence.logparse import LogParser

    parser = LogParser()
    events = parser.feed(boot_lines(0x10000).encode(), 105.0) + parser.feed(boot_lines(0x110000).encode(), 107.5)
    first, second = build(events, table=TABLE, began=100.0).boots
    assert (first.started_s, first.ended_s, second.started_s) == (5.0, 7.5, 7.5)


def test_reports_of_the_agent_count_only_with_a_good_check_sum():
    good = b"@rig - start protocol=1 project=rig_test_app version=2.0.0 running=ota_1 state=PENDING_VERIFY reset=SW"
    good += b" boot=4 diag=pass *10ae4cf2\r\n"
    (boot,) = build(parse(boot_lines(0x110000).encode() + good), table=TABLE).boots
    assert (boot.state_on_entry, boot.version) == ("PENDING_VERIFY", "2.0.0")
    bad = good.replace(b"PENDING_VERIFY", b"VALID")
    (boot,) = build(parse(boot_lines(0x110000).encode() + bad), table=TABLE).boots
    assert (boot.state_on_entry, boot.version) == (None, None)


def test_label_of_the_running_partition_is_turned_into_its_slot():
    text = boot_lines(0x110000, "I (9) app: OTA state of running partition app1: PENDING_VERIFY")
    (boot,) = build(parse(text.encode()), table=TABLE).boots
    assert (boot.slot, boot.state_on_entry, boot.notes) == ("ota_1", "PENDING_VERIFY", [])


def test_app_that_says_it_runs_elsewhere_is_noted():
    text = boot_lines(0x110000, "I (9) app: OTA state of running partition app0: VALID")
    (boot,) = build(parse(text.encode()), table=TABLE).boots
    assert any("loaded ota_1, but the app says it runs from ota_0" in note for note in boot.notes)


def test_marks_lie_in_the_boot_they_ended():
    data = (boot_lines(0x10000) + boot_lines(0x110000)).encode()
    cut = Mark(MarkKind.POWER_CUT, data.rfind(b"ESP-ROM"), 3.0)
    first, second = segment(parse(data), [cut]).boots
    assert (first.marks, second.marks) == ([cut], [])


# States by slot


def test_newer_of_two_entries_for_one_slot_counts_and_entry_0_on_a_tie():
    old, new = make_entry(1, ImageState.VALID), make_entry(3, ImageState.NEW)
    assert slot_states((old, new), 2) == {"ota_0": "NEW", "ota_1": "none"}
    tie = (make_entry(3, ImageState.PENDING_VERIFY), make_entry(3, ImageState.NEW))
    assert slot_states(tie, 2)["ota_0"] == "PENDING_VERIFY"
    assert one_slot_twice(tie, 2) == "ota_0"
    assert one_slot_twice((old, make_entry(2, ImageState.NEW)), 2) is None


def test_entry_with_a_bad_crc_is_no_entry():
    bad = make_entry(2, ImageState.VALID)._replace(crc=0)
    assert slot_states((make_entry(1, ImageState.VALID), bad), 2) == {"ota_0": "VALID", "ota_1": "none"}


# Comparing with what was expected


def seen(*steps: tuple[str, str, str, str]) -> list[Transition]:
    return [
        Transition(slot=slot, before=before, after=after, by=by, boot=number, witness=[f"line {number}: words"])
        for number, (slot, before, after, by) in enumerate(steps)
    ]


def test_equal_transitions_have_no_difference():
    assert compare(update("ota_1", "none", "VALID"), seen(*update("ota_1", "none", "VALID"))) is None
    assert compare([], []) is None


@pytest.mark.parametrize(
    "expected",
    [
        update("ota_1", "none", "INVALID"),
        update("ota_0", "none", "VALID"),
        update("ota_1", "none"),
        update("ota_1", "none", "VALID", "ABORTED"),
        list(reversed(update("ota_1", "none", "VALID"))),
        [],
    ],
)
def test_any_difference_is_found_and_shown_side_by_side(expected):
    difference = compare(expected, seen(*update("ota_1", "none", "VALID")))
    assert difference is not None
    text = difference.render()
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "expected" in text.splitlines()[1]
    assert any(line.startswith("!") and " | " in line for line in text.splitlines())


def test_difference_shows_the_lines_that_witness_what_was_seen():
    text = str(compare([("ota_1", "none", "VALID", "app")], seen(("ota_1", "none", "NEW", "app"))))
    assert "! ota_1: none → VALID by app" in text
    assert "ota_1: none → NEW by app" in text
    assert "line 0: words" in text


def test_same_transition_by_another_hand_is_a_difference():
    assert compare([("ota_1", "none", "NEW", "app")], seen(("ota_1", "none", "NEW", "harness"))) is not None


def test_boots_in_another_order_are_a_difference():
    boots = [BootRecord(index=number, started_s=0, slot=slot) for number, slot in enumerate(("ota_0", None, "ota_1"))]
    assert compare_boots(["ota_0", None, "ota_1"], boots) is None
    text = str(compare_boots(["ota_0", "ota_1"], boots))
    assert "(no app)" in text
    assert "boot 1" in text


def test_a_restart_carried_out_by_the_bench_is_a_restart_and_its_power_on_reset_is_explained():
    log = gzip.decompress((LOGS / "qemu" / "rb_power_cut_during_ota_write.log.gz").read_bytes())
    cut = next(
        step["log_offset"]
        for step in QEMU["rb_power_cut_during_ota_write.log"]["steps"]
        if step.get("do") == "power_cut"
    )
    boots = build(parse(log), [Mark(MarkKind.RESTARTED, cut)]).boots
    assert boots[0].ended_by == "restart"
    assert [boot.fresh_process for boot in boots[:2]] == [False, True]
    assert "the power-on reset is the bench's doing" in boots[1].notes[-1]
