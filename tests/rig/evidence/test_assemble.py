"""The witnesses of a whole trial, boot by boot: what is known before each boot, what is not, and who contradicts whom.

The logs are written by hand, as a real board prints them; only images and table come from rig.idf.
"""

from __future__ import annotations

import pytest

from rig.evidence.app_calls import AppCall
from rig.evidence.assemble import APP_LIES, UNASKED, TrialEvidence, judge_trial, reported
from rig.evidence.boots import Mark, MarkKind
from rig.evidence.emulated import CRASHED_UNASKED
from rig.evidence.hazards import BARRED_IMAGE_BOOTS
from rig.evidence.logparse import parse
from rig.evidence.observe import Sample
from rig.evidence.records import Verdict
from rig.evidence.witnesses import KnownFlash
from rig.idf.config import BootConfig
from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.idf.otadata import ERASED, ImageState, make_entry
from rig.idf.partitions import Partition, PartitionTable
from rig.protocol import Line, encode_line

CONFIG = BootConfig(idf_version="v5.5", chip="esp32c3", chip_revision=4, rollback=True)
OFFSETS = {"ota_0": 0x10000, "ota_1": 0x20000}
TABLE = PartitionTable(
    (
        Partition("otadata", 1, 0, 0xD000, 0x2000),
        Partition("ota_0", 0, 0x10, 0x10000, 0x10000),
        Partition("ota_1", 0, 0x11, 0x20000, 0x10000),
    )
)
VERSIONS = {"ota_0": "1.0.0", "ota_1": "2.0.0"}
BLANK = ERASED.pack()
PASS, FAIL = Verdict.PASS, Verdict.FIRMWARE_FAIL
BENCH, UNSURE = Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE
POWER, LINE, CUT, READ = MarkKind.POWER_ON, MarkKind.RESET_LINE, MarkKind.POWER_CUT, MarkKind.FLASH_READ
RESTARTED, ASKED = MarkKind.RESTARTED, MarkKind.CRASH_ASKED
POWERON, SOFTWARE = "0x1 (POWERON)", "0xc (RTC_SW_CPU_RST)"


def entry(seq, state):
    return make_entry(seq, ImageState[state]).pack()


VALID = entry(1, "VALID")


def on_trial(state):
    return VALID, entry(2, state)


def flash_content():
    memory = FlashImage.erased(0x30000)
    memory.load(0x8000, TABLE.to_binary())
    for slot, offset in OFFSETS.items():
        memory.load(offset, build_image(chip="esp32c3", version=VERSIONS[slot]))
    return memory.read(0, 0x30000)


CONTENT = flash_content()


class Story:
    """Writes the log of a trial, and notes what the bench did and read where it belongs."""

    def __init__(self, otadata):
        self.log = b""
        self.marks = []
        self.samples = [Sample(otadata, "flash", 0)]
        self.calls = []
        self.flash = [(0, KnownFlash(CONTENT))]

    def say(self, *lines):
        self.log += "".join(f"{line}\r\n" for line in lines).encode()
        return self

    def did(self, *kinds):
        self.marks += [Mark(kind, len(self.log), 0.0) for kind in kinds]
        return self

    def read_back(self, otadata):
        self.did(READ)
        self.samples.append(Sample(otadata, "flash", len(self.log)))
        return self

    def agent(self, word, number=None, **fields):
        self.log += encode_line(Line(number, word, fields), b"\r\n")
        return self

    def reports(self, otadata):
        return self.agent("ok", 7, entry0=otadata[0].hex(), entry1=otadata[1].hex())

    def rom(self, reset):
        return self.say("ESP-ROM:esp32c3-api1-20210207", f"rst:{reset},boot:0xc (SPI_FAST_FLASH_BOOT)")

    def bootloader(self, slot, reset):
        self.rom(reset).say("entry 0x403cc710", "I (26) boot: ESP-IDF v5.5.5 2nd stage bootloader")
        return self.say(f"I (43) boot: Loaded app from partition at offset {OFFSETS[slot]:#x}")

    def app(self, slot, state, otadata, **more):
        self.say(f"I (60) app_init: App version:      {VERSIONS[slot]}")
        fields = {"running": slot, "state": state, "version": VERSIONS[slot], **more}
        return self.agent("start", **fields, entry0=otadata[0].hex(), entry1=otadata[1].hex())

    def boot(self, slot, state, otadata, reset=POWERON):
        return self.bootloader(slot, reset).app(slot, state, otadata)

    def call(self, kind, running, error="ESP_OK", slot=None):
        self.calls.append(AppCall(kind, len(self.log), running, slot, error=error))
        return self

    def verdict(self, config=CONFIG, **more):
        return judge_trial(
            TrialEvidence(parse(self.log), self.marks, self.samples, self.flash, self.calls, TABLE, config, **more)
        )


@pytest.fixture
def updated():
    """A board that was given ota_1 as NEW and boots it, told from power-on to the app's first words."""
    story = Story(on_trial("NEW")).did(CUT, POWER)
    return story.boot("ota_1", "PENDING_VERIFY", on_trial("PENDING_VERIFY"))


# --- agreement -------------------------------------------------------------------------------------------------------


def test_witnesses_that_agree_pass(updated):
    assert updated.read_back(on_trial("PENDING_VERIFY")).verdict().verdict is PASS


def test_what_happened_without_any_boot_is_inconclusive():
    verdict = Story((VALID, BLANK)).verdict()
    assert verdict.verdict is UNSURE
    assert "no boot was seen" in verdict.reason


def test_a_second_boot_starts_from_what_the_first_one_left(updated):
    updated.did(LINE).boot("ota_0", "VALID", on_trial("ABORTED"))
    assert updated.read_back(on_trial("ABORTED")).verdict().verdict is PASS


def test_a_boot_that_nobody_read_back_is_followed_by_the_model():
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.say("I (60) app_init: App version:      2.0.0")
    story.boot("ota_0", "VALID", on_trial("ABORTED"), "0x8 (TG1WDT_SYS_RST)")
    assert story.read_back(on_trial("ABORTED")).verdict().verdict is PASS


def test_a_cut_boot_that_was_read_back_passes_wherever_it_was_cut():
    story = Story(on_trial("NEW")).did(CUT, POWER).rom(POWERON).say("entry 0x403cc710")
    story.say("I (26) boot: ESP-IDF v5.5.5 2nd stage bootloader").did(CUT).read_back((VALID, BLANK))
    story.did(CUT, POWER).boot("ota_0", "VALID", (VALID, BLANK))
    assert story.read_back((VALID, BLANK)).verdict().verdict is PASS


def test_a_confirmation_that_the_app_tells_of_passes(updated):
    updated.agent("diag", outcome="pass", result="confirmed")
    assert updated.read_back(on_trial("VALID")).verdict().verdict is PASS


def test_a_late_confirmation_may_be_asked_about_before(updated):
    updated.reports(on_trial("PENDING_VERIFY")).agent("diag", outcome="delay", result="confirmed")
    assert updated.read_back(on_trial("VALID")).verdict().verdict is PASS


def test_a_rejection_that_the_app_tells_of_passes(updated):
    updated.agent("diag", outcome="fail", result="rejecting").agent("restart", cause="diag")
    left = on_trial("INVALID")
    updated.agent("shutdown", entry0=left[0].hex(), entry1=left[1].hex())
    updated.boot("ota_0", "VALID", left, SOFTWARE)
    assert updated.read_back(left).verdict().verdict is PASS


@pytest.mark.parametrize("state", ["PENDING_VERIFY", "INVALID"])
def test_a_rejection_that_was_only_announced_when_power_went_passes_wherever_it_was_cut(updated, state):
    updated.agent("diag", outcome="fail", result="rejecting").did(CUT).read_back(on_trial(state)).did(CUT, POWER)
    left = on_trial("ABORTED" if state == "PENDING_VERIFY" else state)
    assert updated.boot("ota_0", "VALID", left).read_back(left).verdict().verdict is PASS


# --- restarts that the bench carries out for an emulator --------------------------------------------------------------


@pytest.fixture
def restarted(updated):
    """The app of `updated` has gone on to announce a restart, and a fresh process started."""
    left = on_trial("PENDING_VERIFY")
    updated.agent("shutdown", entry0=left[0].hex(), entry1=left[1].hex()).did(RESTARTED)
    return updated.boot("ota_0", "VALID", on_trial("ABORTED"))


def test_a_power_on_reset_after_a_restart_is_the_doing_of_the_bench(restarted):
    assert restarted.read_back(on_trial("ABORTED")).verdict().verdict is PASS


def test_without_the_bench_doing_so_a_restart_that_is_a_power_on_is_a_bench_fault(restarted):
    restarted.marks = [mark for mark in restarted.marks if mark.kind is not RESTARTED]
    verdict = restarted.read_back(on_trial("ABORTED")).verdict()
    assert (verdict.verdict, "reset reason is 0x1 (POWERON)" in verdict.reason) == (BENCH, True)


def test_an_app_that_ends_unannounced_on_an_emulator_is_a_bench_fault(updated):
    updated.did(RESTARTED).boot("ota_0", "VALID", on_trial("ABORTED"))
    verdict = updated.read_back(on_trial("ABORTED")).verdict()
    assert (verdict.verdict, verdict.reason) == (BENCH, f"boot 0: {CRASHED_UNASKED}")


def test_the_last_words_of_an_app_that_crashed_under_emulation_are_shown(updated):
    updated.say("Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0). ").did(RESTARTED)
    updated.boot("ota_0", "VALID", on_trial("ABORTED"))
    assert "Interrupt wdt timeout on CPU0" in updated.read_back(on_trial("ABORTED")).verdict().details


def test_a_crash_that_the_bench_asked_for_is_none_of_the_emulator(updated):
    updated.did(ASKED).say("Guru Meditation Error: Core  0 panic'ed (Store access fault). Exception was unhandled.")
    updated.did(RESTARTED).boot("ota_0", "VALID", on_trial("ABORTED"))
    assert updated.read_back(on_trial("ABORTED")).verdict().verdict is PASS


@pytest.mark.parametrize(("outcome", "expected"), [("panic", PASS), ("watchdog", PASS), ("pass", BENCH)])
def test_diagnostics_that_end_in_a_crash_are_no_fault_of_the_emulator(outcome, expected):
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.app("ota_1", "PENDING_VERIFY", on_trial("PENDING_VERIFY"), diag=outcome)
    story.did(RESTARTED).boot("ota_0", "VALID", on_trial("ABORTED"))
    assert story.read_back(on_trial("ABORTED")).verdict().verdict is expected


def test_a_bootloader_that_finds_nothing_and_resets_is_judged_as_ever():
    empty = KnownFlash(CONTENT[:0x10000] + b"\xff" * 0x20000)
    story = Story((VALID, BLANK)).did(CUT, POWER)
    story.flash = [(0, empty)]
    for _ in range(2):
        story.rom(POWERON).say("entry 0x403cc710", "I (26) boot: ESP-IDF v5.5.5 2nd stage bootloader")
        story.say("E (43) esp_image: image at 0x10000 has invalid magic byte (nothing flashed here?)")
        story.say("E (44) esp_image: image at 0x20000 has invalid magic byte (nothing flashed here?)")
        story.say("E (46) boot: No bootable app partitions in the partition table")
        story.did(RESTARTED)
    assert CRASHED_UNASKED not in story.read_back((VALID, BLANK)).verdict().reason


# --- apps without the serial contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "expected"), [("PENDING_VERIFY", PASS), ("VALID", PASS), ("INVALID", PASS), ("ABORTED", FAIL)]
)
def test_a_silent_app_may_have_confirmed_or_rejected_itself(left, expected):
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.say("I (60) app_init: App version:      2.0.0")
    assert story.read_back(on_trial(left)).verdict(app_silent=True).verdict is expected


def test_what_a_silent_app_left_for_the_next_boot_is_not_known():
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.say("I (60) app_init: App version:      2.0.0").did(LINE).bootloader("ota_0", POWERON)
    story.say("I (60) app_init: App version:      1.0.0")
    assert story.read_back(on_trial("ABORTED")).verdict(app_silent=True).verdict is UNSURE


# --- contradictions --------------------------------------------------------------------------------------------------


def test_the_worst_boot_speaks_for_the_trial_and_is_named(updated):
    updated.did(LINE).boot("ota_1", "PENDING_VERIFY", on_trial("PENDING_VERIFY"))
    verdict = updated.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is FAIL
    assert verdict.reason.startswith("boot 1: log and model disagree")
    assert "offset 0x20000' is not what the model prints" in verdict.reason


def test_a_sign_of_the_bench_outranks_what_follows_from_it(updated):
    updated.boot("ota_1", "PENDING_VERIFY", on_trial("PENDING_VERIFY"), "0xf (RTCWDT_BROWN_OUT_RST)")
    verdict = updated.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is BENCH
    assert verdict.reason.startswith("boot 1: brownout reset")


def test_an_app_that_reports_other_otadata_than_flash_holds_fails(updated):
    verdict = updated.read_back(on_trial("VALID")).verdict()
    assert (verdict.verdict, verdict.reason) == (FAIL, APP_LIES)
    assert "app reported [0] seq 0x1 VALID; [1] seq 0x2 PENDING_VERIFY" in verdict.details
    assert "flash holds  [0] seq 0x1 VALID; [1] seq 0x2 VALID" in verdict.details


def test_an_app_that_writes_without_being_asked_fails(updated):
    updated.reports(on_trial("VALID"))
    verdict = updated.read_back(on_trial("VALID")).verdict()
    assert (verdict.verdict, verdict.reason) == (FAIL, UNASKED)


def test_a_confirmation_without_a_write_fails(updated):
    updated.agent("diag", outcome="pass", result="confirmed")
    verdict = updated.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is FAIL
    assert verdict.reason == "confirm (app in ota_1) left other otadata than the model"


@pytest.mark.parametrize(("outcome", "call"), [("pass", "confirm"), ("delay", "confirm"), ("fail", "reject")])
def test_an_own_call_that_failed_where_it_must_not_fails(updated, outcome, call):
    updated.agent("diag", outcome=outcome, result="error", error="ESP_FAIL")
    verdict = updated.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is FAIL
    assert verdict.reason.startswith(f"{call} (app in ota_1) returned ESP_FAIL")


@pytest.mark.parametrize("outcome", ["pass", "manual"])
def test_diagnostics_that_called_nothing_are_no_call(updated, outcome):
    updated.agent("diag", outcome=outcome, result="waiting")
    assert updated.read_back(on_trial("PENDING_VERIFY")).verdict().verdict is PASS


@pytest.mark.parametrize(("updates", "verdict"), [(2, PASS), (1, FAIL)])
def test_a_slot_chosen_before_a_cut_is_no_fault_of_the_call_that_was_cut_off(updates, verdict):
    """What an emulated app said right before the cut is left out: then nobody knows which of two updates chose it."""
    image = build_image(chip="esp32c3", version="3.0.0")
    story = Story((VALID, BLANK)).did(CUT, POWER).boot("ota_0", "VALID", (VALID, BLANK)).reports((VALID, BLANK))
    story.calls.append(AppCall("update", len(story.log), "ota_0", "ota_1", image, None if updates == 1 else "ESP_OK"))
    story.say("I (900) app: updated")
    if updates == 2:
        story.calls.append(AppCall("update", len(story.log), "ota_0", "ota_1", image, None))
        story.say("I (950) app: again")
    story.did(CUT).read_back((VALID, entry(2, "NEW")))
    half = image[: len(image) // 2].ljust(len(image), b"\xff")
    story.flash.append((len(story.log), KnownFlash(CONTENT).with_known(OFFSETS["ota_1"], half)))
    found = story.verdict(BootConfig(idf_version="v5.1", chip="esp32c3", chip_revision=4, rollback=True))
    assert (found.verdict is FAIL) is (verdict is FAIL), found.reason


def test_a_call_asked_for_by_the_bench_is_judged(updated):
    updated.call("confirm", "ota_1").agent("ok", 8, state="VALID")
    verdict = updated.read_back(on_trial("ABORTED")).verdict()
    assert verdict.verdict is FAIL
    assert verdict.reason == "confirm (app in ota_1) left other otadata than the model"


def test_a_difference_explained_by_a_call_or_a_power_cut_is_no_lie(updated):
    updated.call("confirm", "ota_1").agent("ok", 8, state="VALID").reports(on_trial("VALID"))
    assert updated.read_back(on_trial("VALID")).verdict().verdict is PASS
    cut = Story(on_trial("NEW")).did(CUT, POWER).boot("ota_1", "PENDING_VERIFY", on_trial("PENDING_VERIFY"))
    cut.call("confirm", "ota_1", None).did(CUT).read_back((VALID, BLANK))
    assert cut.verdict().verdict is PASS


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"running": "ota_0"}, "the app says it runs from ota_0, the model boots ota_1"),
        ({"state": "VALID"}, "ota_1 is VALID for the app, PENDING_VERIFY for the model"),
        ({"state": "NEW"}, "rollback is not enabled in this bootloader"),
        ({"version": "1.0.0"}, "version 1.0.0 runs, ota_1 holds version 2.0.0"),
        ({"otadata": on_trial("VALID")}, "entry 1 is seq 0x2 VALID, the model has seq 0x2 PENDING_VERIFY"),
    ],
)
@pytest.mark.parametrize("later", [{}, {"outcome": "pass", "result": "confirmed"}])
def test_the_first_words_of_the_app_are_held_to_the_model_whatever_it_does_later(claim, words, later):
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.say("I (50) rig_app: OTA state of running partition ota_1: PENDING_VERIFY")
    story.app("ota_1", **{"state": "PENDING_VERIFY", "otadata": on_trial("PENDING_VERIFY"), **claim})
    left = "PENDING_VERIFY"
    if later:
        story.agent("diag", **later)
        left = "VALID"
    verdict = story.read_back(on_trial(left)).verdict()
    assert verdict.verdict is FAIL
    assert words in verdict.reason


# --- what is not known -----------------------------------------------------------------------------------------------


def test_an_app_that_nobody_waited_for_is_inconclusive():
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    verdict = story.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is UNSURE
    assert "the app in ota_1 was never seen" in verdict.reason


@pytest.mark.parametrize("end", [CUT, LINE])
def test_an_app_that_the_bench_did_not_let_come_up_is_not_missed(end):
    story = Story(on_trial("NEW")).did(CUT, POWER).bootloader("ota_1", POWERON)
    story.did(end).read_back(on_trial("PENDING_VERIFY")).did(POWER if end is CUT else LINE)
    story.boot("ota_0", "VALID", on_trial("ABORTED"))
    assert story.read_back(on_trial("ABORTED")).verdict().verdict is PASS


def test_a_confirmation_seen_in_the_log_only_leaves_the_next_boot_open(updated):
    updated.say("I (90) app: App is valid, rollback cancelled successfully")
    updated.agent("diag", outcome="pass", result="confirmed")
    updated.samples = updated.samples[:1]
    updated.did(LINE).bootloader("ota_1", POWERON).say("I (60) app_init: App version:      2.0.0")
    verdict = updated.verdict()
    assert verdict.verdict is UNSURE


def test_a_slot_that_was_not_read_back_is_never_guessed(updated):
    updated.flash = [(0, KnownFlash(CONTENT).with_unknown(0x20000, 0x30000))]
    verdict = updated.read_back(on_trial("PENDING_VERIFY")).verdict()
    assert verdict.verdict is UNSURE
    assert "flash 0x20000 to 0x30000 is not known" in verdict.reason


def test_flash_counts_as_it_was_known_when_the_boot_began(updated):
    later = len(updated.log) + 1
    updated.flash = [*updated.flash, (later, KnownFlash(CONTENT).with_unknown(0, 0x30000))]
    assert updated.read_back(on_trial("PENDING_VERIFY")).verdict().verdict is PASS


def test_an_app_that_starts_anew_in_the_middle_of_a_log_shows_that_the_boot_before_it_was_lost(updated):
    updated.agent("start", running="ota_0", state="VALID", version="1.0.0")
    updated.reports(on_trial("ABORTED"))
    verdict = updated.read_back(on_trial("ABORTED")).verdict()
    assert verdict.verdict is UNSURE
    assert verdict.reason.startswith("boot 1: lines of the bootloader are missing")


# --- resets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "reset", "verdict"),
    [
        ([CUT, POWER], POWERON, PASS),
        ([CUT, POWER], SOFTWARE, BENCH),
        ([LINE], POWERON, PASS),
        ([LINE], "0x15 (USB_UART_CHIP_RESET)", PASS),
        ([LINE], SOFTWARE, BENCH),
        ([], SOFTWARE, PASS),
        ([], "0x8 (TG1WDT_SYS_RST)", PASS),
        ([], POWERON, BENCH),
    ],
)
def test_how_a_boot_was_brought_about_must_show_in_its_reset_reason(updated, marks, reset, verdict):
    updated.reports(on_trial("PENDING_VERIFY")).did(*marks).boot("ota_0", "VALID", on_trial("ABORTED"), reset)
    found = updated.read_back(on_trial("ABORTED")).verdict()
    assert found.verdict is verdict
    if verdict is BENCH:
        assert found.reason.startswith(f"boot 1: reset reason is {reset}, expected ")


# --- hazards and reports ---------------------------------------------------------------------------------------------


def test_a_hazard_met_in_every_boot_is_told_once():
    barred = (entry(1, "ABORTED"), entry(2, "ABORTED"))
    story = Story(barred).did(CUT, POWER)
    for marks in ([], [LINE]):
        story.did(*marks).bootloader("ota_0", POWERON)
        at = story.log.rindex(b"I (43)")
        story.log = story.log[:at] + b"I (42) boot: No factory image, trying OTA 0\r\n" + story.log[at:]
        story.app("ota_0", "ABORTED", barred)
    verdict = story.read_back(barred).verdict()
    assert verdict.verdict is PASS
    assert verdict.hazards == (BARRED_IMAGE_BOOTS,)


def test_otadata_is_taken_from_checked_lines_with_both_entries_only():
    both = on_trial("NEW")
    good = encode_line(Line(1, "ok", {"entry0": both[0].hex(), "entry1": both[1].hex()}))
    half = encode_line(Line(2, "ok", {"entry0": both[0].hex()}))
    short = encode_line(Line(3, "ok", {"entry0": both[0].hex(), "entry1": "00"}))
    damaged = good.replace(b"02000000ff", b"09000000ff", 1)
    assert damaged != good
    log = b"noise\n" + good + half + short + damaged
    assert [(sample.entries, sample.source, sample.offset) for sample in reported(parse(log))] == [(both, "app", 6)]
