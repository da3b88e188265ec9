"""The judge: every pair of witnesses that disagrees fails, what is missing is said, and the bench is not the firmware.

The logs are written out by hand, as the real bootloader prints them; only the flash content comes from rig.idf.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import Inconclusive
from rig.evidence.bench import ExpectedReset
from rig.evidence.events import Event
from rig.evidence.hazards import (
    BARRED_IMAGE_BOOTS,
    BURNT_BEFORE_VERIFIED,
    ENTRY_OF_ANOTHER,
    FORWARD_TO_BARRED,
    ROLLBACK_TARGET_LOST,
    STICKY_OTADATA,
)
from rig.evidence.judge import ROLLBACK_OFF, BootEvidence, Judgement, judge, worst
from rig.evidence.logparse import parse
from rig.evidence.predict import Entries, Overlay, predict
from rig.evidence.records import Verdict
from rig.idf.config import BootConfig
from rig.idf.effects import Erase, Program
from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.idf.otadata import ERASED, ImageState, SelectEntry, make_entry
from rig.idf.partitions import Partition, PartitionTable

NEW, PENDING, VALID = ImageState.NEW, ImageState.PENDING_VERIFY, ImageState.VALID
INVALID, ABORTED = ImageState.INVALID, ImageState.ABORTED
OFFSETS = {"factory": 0x10000, "ota_0": 0x20000, "ota_1": 0x30000}
CONFIG = BootConfig(idf_version="v5.5", chip="esp32c3", chip_revision=4, rollback=True)
DEBUG = replace(CONFIG, log_level="DEBUG")
ARB = replace(CONFIG, anti_rollback=True, secure_version_bits=16)
BLANK = ERASED


def table(*slots: str) -> PartitionTable:
    kinds = {"factory": 0x00, "ota_0": 0x10, "ota_1": 0x11}
    apps = (Partition(slot, 0, kinds[slot], OFFSETS[slot], 0x10000) for slot in slots)
    return PartitionTable((Partition("otadata", 1, 0, 0xD000, 0x2000), *apps))


TWO = table("ota_0", "ota_1")
WITH_FACTORY = table("factory", "ota_0", "ota_1")


def flash(layout: PartitionTable = TWO, secure: dict[str, int] | None = None, **versions: str | None) -> FlashImage:
    """Images by slot: a version, or None for an erased slot."""
    memory = FlashImage.erased(0x40000)
    memory.load(0x8000, layout.to_binary())
    for partition in layout.app_slots:
        version = {"ota_0": "1.0.0", "ota_1": "2.0.0", "factory": "0.9.0", **versions}[partition.slot or ""]
        if version is not None:
            number = (secure or {}).get(partition.slot or "", 0)
            memory.load(partition.offset, build_image(chip="esp32c3", version=version, secure_version=number))
    return memory


def entries(first: SelectEntry, second: SelectEntry) -> Entries:
    return first.pack(), second.pack()


def log(
    *lines: str, reset: str = "0xc (RTC_SW_CPU_RST)", app: str | None = None, state: str | None = None
) -> list[Event]:
    """A boot's lines; `app` is `slot version`, `state` what it says of its slot."""
    text = [
        "ESP-ROM:esp32c3-api1-20210207",
        f"rst:{reset},boot:0x8 (SPI_FAST_FLASH_BOOT)",
        "entry 0x403cc710",
        "I (26) boot: ESP-IDF v5.5.4 2nd stage bootloader",
        *lines,
    ]
    if app is not None:
        slot, version = app.split()
        text.append(f"I (43) app_init: App version:      {version}")
        if state is not None:
            text.append(f"running: label={slot} offset={OFFSETS[slot]:#x} size=0x10000 state={state} version={version}")
    return parse("\n".join([*text, ""]).encode())


def loaded(slot: str) -> str:
    return f"I (33) boot: Loaded app from partition at offset {OFFSETS[slot]:#x}"


RUNNING = entries(make_entry(1, VALID), make_entry(2, NEW))
TRIED = entries(make_entry(1, VALID), make_entry(2, PENDING))
FAILED = entries(make_entry(1, VALID), make_entry(2, ABORTED))
CONFIRMED = entries(make_entry(1, VALID), make_entry(2, VALID))

FIRST_TRY = BootEvidence(
    events=log(loaded("ota_1"), app="ota_1 2.0.0", state="PENDING_VERIFY"),
    config=CONFIG,
    otadata_before=RUNNING,
    otadata_after=TRIED,
    memory_before=flash(),
)
ROLLED_BACK = BootEvidence(
    events=log(loaded("ota_0"), app="ota_0 1.0.0", state="VALID"),
    config=CONFIG,
    otadata_before=TRIED,
    otadata_after=FAILED,
    memory_before=flash(),
)


def verdict(judgement: Judgement) -> tuple[Verdict, str]:
    assert all(len(line) <= 120 for line in judgement.details.splitlines())
    return judgement.verdict, judgement.reason


# Three witnesses agree


@pytest.mark.parametrize("evidence", [FIRST_TRY, ROLLED_BACK], ids=["first try", "rolled back"])
def test_three_witnesses_that_agree_pass(evidence):
    assert verdict(judge(evidence)) == (Verdict.PASS, "log, otadata and model agree")
    assert judge(evidence).hazards == ()


def test_first_boot_without_factory_passes_with_the_entry_it_writes():
    evidence = BootEvidence(
        events=log(
            "I (30) boot: No factory image, trying OTA 0",
            loaded("ota_0"),
            "I (34) boot: Set actual ota_seq=1 in otadata[0]",
            app="ota_0 1.0.0",
            state="VALID",
        ),
        config=CONFIG,
        otadata_before=entries(BLANK, BLANK),
        otadata_after=entries(make_entry(1, VALID), BLANK),
        memory_before=flash(ota_1=None),
    )
    assert judge(evidence).verdict is Verdict.PASS


def test_corrupt_image_falls_back_with_the_lines_that_say_so():
    evidence = BootEvidence(
        events=log(
            "E (31) esp_image: image at 0x30000 has invalid magic byte (nothing flashed here?)",
            "E (31) boot: OTA app partition slot 1 is not bootable",
            loaded("ota_0"),
            app="ota_0 1.0.0",
            state="VALID",
        ),
        config=CONFIG,
        otadata_before=RUNNING,
        otadata_after=TRIED,
        memory_before=flash(ota_1=None),
    )
    judgement = judge(evidence)
    assert judgement.verdict is Verdict.PASS
    assert judgement.hazards == (ENTRY_OF_ANOTHER,)


def test_app_that_confirms_at_once_is_understood_from_its_log():
    late = log(loaded("ota_1"), "D (50) esp_ota_ops: OTA[current] partition is marked as VALID", app="ota_1 2.0.0")
    assert judge(replace(FIRST_TRY, events=late, otadata_after=CONFIRMED)).verdict is Verdict.PASS


def test_confirmation_that_no_line_shows_is_a_disagreement():
    silent = log(loaded("ota_1"), app="ota_1 2.0.0")
    judgement = judge(replace(FIRST_TRY, events=silent, otadata_after=CONFIRMED))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert judgement.reason.startswith("otadata and model disagree: entry 1 is seq 0x2 VALID")


def test_nothing_bootable_passes_if_model_and_log_say_so():
    evidence = BootEvidence(
        events=log(
            "I (30) boot: No factory image, trying OTA 0",
            "E (31) esp_image: image at 0x20000 has invalid magic byte (nothing flashed here?)",
            "E (31) boot: OTA app partition slot 0 is not bootable",
            "E (31) esp_image: image at 0x30000 has invalid magic byte (nothing flashed here?)",
            "E (31) boot: OTA app partition slot 1 is not bootable",
            "E (31) boot: No bootable app partitions in the partition table",
        ),
        config=CONFIG,
        otadata_before=entries(BLANK, BLANK),
        otadata_after=entries(BLANK, BLANK),
        memory_before=flash(ota_0=None, ota_1=None),
    )
    assert judge(evidence).verdict is Verdict.PASS


def test_debug_lines_are_witnesses_where_the_build_prints_them():
    lines = [
        "D (30) boot: OTA data offset 0xd000",
        "D (30) boot: otadata[0]: sequence values 0x00000001",
        "D (30) boot: otadata[1]: sequence values 0x00000002",
        "D (30) boot: otadata[1] is marking as ABORTED",
        "D (30) boot_comm: Only otadata[0] is valid",
        "D (30) boot: Active otadata[0]",
        "D (30) boot: Mapping seq 0 -> OTA slot 0",
        "D (30) boot: Trying partition index 0 offs 0x20000 size 0x10000",
        loaded("ota_0"),
    ]
    good = replace(ROLLED_BACK, config=DEBUG, events=log(*lines, app="ota_0 1.0.0", state="VALID"))
    assert verdict(judge(good)) == (Verdict.PASS, "log, otadata and model agree")
    wrong = [line.replace("otadata[1] is marking", "otadata[0] is marking") for line in lines]
    bad = replace(good, events=log(*wrong, app="ota_0 1.0.0", state="VALID"))
    assert judge(bad).verdict is Verdict.FIRMWARE_FAIL
    silent = replace(good, events=ROLLED_BACK.events)
    assert judge(silent).verdict is Verdict.INCONCLUSIVE


def test_image_checks_of_the_running_app_are_not_taken_for_the_bootloaders():
    download = parse(b"E (9181) esp_image: Checksum failed. Calculated 0xc read 0x52\n")
    assert judge(replace(ROLLED_BACK, events=ROLLED_BACK.events + download)).verdict is Verdict.PASS


# Two witnesses against each other


def test_log_against_otadata_and_model_fails():
    elsewhere = log(loaded("ota_0"), app="ota_0 1.0.0", state="VALID")
    judgement = judge(replace(FIRST_TRY, events=elsewhere))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "Loaded app from partition at offset 0x20000' is not what the model prints" in judgement.reason


def test_otadata_against_log_and_model_fails():
    judgement = judge(replace(ROLLED_BACK, otadata_after=TRIED))
    assert verdict(judgement) == (
        Verdict.FIRMWARE_FAIL,
        "otadata and model disagree: entry 1 is seq 0x2 PENDING_VERIFY, the model has seq 0x2 ABORTED",
    )


def test_model_against_log_and_otadata_fails():
    # both witnesses of the board tell of a bootloader that boots the aborted image again
    same = log(loaded("ota_1"), app="ota_1 2.0.0", state="PENDING_VERIFY")
    judgement = judge(replace(ROLLED_BACK, events=same, otadata_after=TRIED))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "log and model disagree" in judgement.details
    assert "otadata and model disagree" in judgement.details


def test_app_against_bootloader_fails():
    # the bootloader says ota_1, the app says it runs from ota_0
    torn_pair = log(loaded("ota_1"), app="ota_0 2.0.0", state="PENDING_VERIFY")
    assert judge(replace(FIRST_TRY, events=torn_pair)).reason == (
        "the app says it runs from ota_0, the model boots ota_1"
    )


def test_state_that_the_app_sees_must_be_the_one_of_the_model():
    judgement = judge(replace(ROLLED_BACK, events=log(loaded("ota_0"), app="ota_0 1.0.0", state="UNDEFINED")))
    assert verdict(judgement) == (Verdict.FIRMWARE_FAIL, "ota_0 is UNDEFINED for the app, VALID for the model")


def test_version_that_is_not_in_the_slot_fails():
    judgement = judge(replace(FIRST_TRY, events=log(loaded("ota_1"), app="ota_1 1.9.9", state="PENDING_VERIFY")))
    assert verdict(judgement) == (Verdict.FIRMWARE_FAIL, "version 1.9.9 runs, ota_1 holds version 2.0.0")


def test_lines_in_another_order_fail():
    swapped = log(
        "E (31) boot: OTA app partition slot 1 is not bootable",
        "E (31) esp_image: image at 0x30000 has invalid magic byte (nothing flashed here?)",
        loaded("ota_0"),
        app="ota_0 1.0.0",
        state="VALID",
    )
    judgement = judge(replace(FIRST_TRY, events=swapped, memory_before=flash(ota_1=None)))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "comes at another place" in judgement.reason


def test_app_that_runs_where_nothing_is_bootable_fails():
    judgement = judge(replace(FIRST_TRY, memory_before=flash(ota_0=None, ota_1=None)))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "an app ran although the model finds nothing to boot" in judgement.details


def test_efuse_against_model_fails():
    evidence = BootEvidence(
        events=log(
            "I (30) boot: Enabled a check secure version of app for anti rollback",
            "I (30) boot: Secure version (from eFuse) = 0",
            loaded("ota_0"),
            app="ota_0 1.0.0",
            state="VALID",
        ),
        config=ARB,
        otadata_before=entries(make_entry(1, VALID), BLANK),
        otadata_after=entries(make_entry(1, VALID), BLANK),
        memory_before=flash(),
        secure_version_after=0,
    )
    assert judge(evidence).verdict is Verdict.PASS
    judgement = judge(replace(evidence, secure_version_after=3))
    assert verdict(judgement) == (Verdict.FIRMWARE_FAIL, "eFuse secure version is 3, the model has 0")


@given(st.integers(0, 1), st.integers(0, 31), st.integers(1, 255))
def test_any_changed_byte_of_otadata_fails(entry, place, flip):
    data = [bytearray(half) for half in FAILED]
    data[entry][place] ^= flip
    judgement = judge(replace(ROLLED_BACK, otadata_after=(bytes(data[0]), bytes(data[1]))))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL


def test_all_three_are_shown_side_by_side():
    lines = judge(replace(ROLLED_BACK, otadata_after=TRIED)).details.splitlines()
    assert [part.strip() for part in lines[0].split("|")] == ["", "log", "otadata read back", "model"]
    after = next(line for line in lines if line.startswith("entry 1 after"))
    assert "PENDING_VERIFY" in after.split("|")[2]
    assert "ABORTED" in after.split("|")[3]
    assert "0x20000" in next(line for line in lines if line.startswith("load offset"))


# Rollback is not there


def test_app_entered_as_new_means_that_the_bootloader_has_no_rollback():
    old_bootloader = log(loaded("ota_1"), app="ota_1 2.0.0", state="NEW")
    judgement = judge(replace(FIRST_TRY, events=old_bootloader, otadata_after=RUNNING))
    assert verdict(judgement) == (Verdict.FIRMWARE_FAIL, ROLLBACK_OFF)


def test_missing_rollback_is_seen_from_otadata_alone():
    silent = log(loaded("ota_1"), app="ota_1 2.0.0")
    assert judge(replace(FIRST_TRY, events=silent, otadata_after=RUNNING)).reason == ROLLBACK_OFF


def test_missing_rollback_is_seen_from_the_log_alone():
    old_bootloader = log(loaded("ota_1"), app="ota_1 2.0.0", state="NEW")
    unknown = replace(FIRST_TRY, events=old_bootloader, otadata_before=None, otadata_after=None, memory_before=None)
    assert verdict(judge(unknown)) == (Verdict.FIRMWARE_FAIL, ROLLBACK_OFF)


def test_build_without_rollback_may_enter_an_app_as_new():
    old_bootloader = log(loaded("ota_1"), app="ota_1 2.0.0", state="NEW")
    plain = replace(FIRST_TRY, config=replace(CONFIG, rollback=False), events=old_bootloader, otadata_after=RUNNING)
    assert judge(plain).verdict is Verdict.PASS


# Something is missing


def test_no_otadata_sample_is_inconclusive():
    judgement = judge(replace(FIRST_TRY, otadata_after=None))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "read it with the ROM loader" in judgement.reason


def test_unknown_flash_is_inconclusive():
    judgement = judge(replace(FIRST_TRY, memory_before=None))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "flash content before the boot is unknown" in judgement.reason


def test_flash_that_nobody_knows_where_the_model_reads_is_inconclusive():
    class Unknown:
        secure_version = 0

        def read(self, offset: int, size: int) -> bytes:
            if offset >= OFFSETS["ota_1"]:
                raise Inconclusive("the content of ota_1 is not known")
            return flash().read(offset, size)

    judgement = judge(replace(FIRST_TRY, memory_before=Unknown()))
    assert verdict(judgement) == (
        Verdict.INCONCLUSIVE,
        "the model cannot run: the content of ota_1 is not known",
    )


def test_lost_lines_are_inconclusive_not_a_failure():
    judgement = judge(replace(FIRST_TRY, events=log(app="ota_1 2.0.0", state="PENDING_VERIFY")))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "Loaded app from partition at offset 0x30000" in judgement.reason


def test_torn_line_is_inconclusive_not_a_failure():
    text = (
        b"rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\nI (26) boot: ESP-IDF v5.5.4 2nd stage bootloader\n"
        b"I (33) boot: Loaded app from partition at offset 0x3I (43) app_init: App version:      2.0.0\n"
    )
    assert judge(replace(FIRST_TRY, events=parse(text))).verdict is Verdict.INCONCLUSIVE


def test_app_that_was_never_seen_is_inconclusive():
    judgement = judge(replace(FIRST_TRY, events=log(loaded("ota_1"))))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason.startswith("the app in ota_1 was never seen")


def test_reset_reason_that_was_not_seen_does_not_prove_a_power_cut():
    events = [event for event in FIRST_TRY.events if type(event).__name__ != "Reset"]
    judgement = judge(replace(FIRST_TRY, events=events, expected_reset=ExpectedReset.POWER_ON))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "reset reason was not seen" in judgement.reason


def test_contradiction_outranks_what_is_missing():
    elsewhere = log(loaded("ota_0"), app="ota_0 1.0.0", state="VALID")
    assert judge(replace(FIRST_TRY, events=elsewhere, otadata_after=None)).verdict is Verdict.FIRMWARE_FAIL


# The bench


@pytest.mark.parametrize(
    ("events", "expected", "reason"),
    [
        ([], ExpectedReset.POWER_ON, "no output after the reset"),
        (
            log(loaded("ota_1"), app="ota_1 2.0.0", state="PENDING_VERIFY"),
            ExpectedReset.POWER_ON,
            "reset reason is 0xc (RTC_SW_CPU_RST), expected power-on",
        ),
        (
            log(loaded("ota_1"), reset="0x1 (POWERON)", app="ota_1 2.0.0", state="PENDING_VERIFY"),
            ExpectedReset.RESTART,
            "reset reason is 0x1 (POWERON), expected software restart or panic",
        ),
        (
            log(loaded("ota_1"), reset="0xf (RTCWDT_BROWN_OUT_RESET)", app="ota_1 2.0.0"),
            ExpectedReset.ANY,
            "brownout reset (0xf (RTCWDT_BROWN_OUT_RESET)): supply",
        ),
        (
            log(loaded("ota_1"), "E BOD: Brownout detector was triggered", app="ota_1 2.0.0"),
            ExpectedReset.ANY,
            "the brownout detector was triggered: supply",
        ),
        (
            log(loaded("ota_1"), "ESP-ROM:esp32c3-api1-20210207", app="ota_1 2.0.0"),
            ExpectedReset.ANY,
            "the board was reset again within the boot",
        ),
        (
            parse(b"rst:0x1 (POWERON),boot:0x7 (DOWNLOAD(USB/UART0/1))\nwaiting for download\n"),
            ExpectedReset.POWER_ON,
            "the chip started its serial loader",
        ),
        (
            parse(b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\ninvalid header: 0x6c63206e\n"),
            ExpectedReset.ANY,
            "the ROM could not start the bootloader",
        ),
        (
            parse(b"\xfe\x80\xfe\x00\x98\x98\xf8\x00\xfe\x80\xfe\x00\x98\x98\xf8\x00\xff\n"),
            ExpectedReset.ANY,
            "17 bytes of garbage in the log",
        ),
    ],
)
def test_sign_of_the_bench_outranks_everything(events, expected, reason):
    judgement = judge(replace(FIRST_TRY, events=events, expected_reset=expected, otadata_after=FAILED))
    assert judgement.verdict is Verdict.BENCH_FAULT
    assert judgement.reason.startswith(reason)


def test_a_few_bytes_at_the_power_edge_are_no_fault():
    noisy = parse(b"\x00\xff\n") + log(
        loaded("ota_1"), reset="0x1 (POWERON)", app="ota_1 2.0.0", state="PENDING_VERIFY"
    )
    assert judge(replace(FIRST_TRY, events=noisy, expected_reset=ExpectedReset.POWER_ON)).verdict is Verdict.PASS


def test_second_reset_of_the_rom_before_the_bootloader_is_no_fault():
    again = parse(b"rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\nflash read err, 1000\n")
    events = again + log(loaded("ota_1"), reset="0x10 (RTCWDT_RTC_RESET)", app="ota_1 2.0.0", state="PENDING_VERIFY")
    assert judge(replace(FIRST_TRY, events=events, expected_reset=ExpectedReset.POWER_ON)).verdict is Verdict.PASS


# A boot that was cut

CUT = replace(FIRST_TRY, events=log(), cut=True)


@pytest.mark.parametrize(
    "second",
    [
        make_entry(2, NEW),
        ERASED,
        make_entry(2, PENDING),
        make_entry(2, PENDING)._replace(crc=0xFFFFFFFF),
    ],
    ids=["before", "erased", "written", "torn write"],
)
def test_cut_boot_may_leave_any_prefix_of_its_mutations(second):
    assert judge(replace(CUT, otadata_after=entries(make_entry(1, VALID), second))).verdict is Verdict.PASS


@pytest.mark.parametrize("second", [make_entry(3, PENDING), make_entry(1, NEW), make_entry(3, NEW)])
def test_cut_boot_may_not_leave_anything_else(second):
    judgement = judge(replace(CUT, otadata_after=entries(make_entry(1, VALID), second)))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "no power cut in this boot leaves these entries" in judgement.reason


def test_entry_that_only_single_torn_bits_explain_is_inconclusive():
    # NEW is 0: an erase that set one bit of the state and no other leaves VALID
    judgement = judge(replace(CUT, otadata_after=CONFIRMED))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "torn erase or write" in judgement.reason


def test_cut_boot_may_not_have_loaded_another_app():
    judgement = judge(replace(CUT, events=log(loaded("ota_0")), otadata_after=TRIED))
    assert judgement.verdict is Verdict.FIRMWARE_FAIL


def test_cut_boot_whose_other_entry_changed_fails():
    changed = entries(ERASED, make_entry(2, NEW))
    assert judge(replace(CUT, otadata_after=changed)).verdict is Verdict.FIRMWARE_FAIL


# Hazards: the board does what ESP-IDF does


def hazards_of(layout: PartitionTable, before: Entries, memory: FlashImage, config: BootConfig = CONFIG):
    prediction = predict(memory, config, layout, before)
    assert prediction.otadata is not None
    evidence = BootEvidence(
        events=log(), config=config, otadata_before=before, otadata_after=prediction.otadata, memory_before=memory
    )
    return judge(evidence).hazards


def test_hazard_aborted_image_boots_without_factory():
    both = entries(make_entry(1, ABORTED), make_entry(2, INVALID))
    assert hazards_of(TWO, both, flash()) == (BARRED_IMAGE_BOOTS,)
    assert hazards_of(WITH_FACTORY, both, flash(WITH_FACTORY)) == ()


def test_hazard_fall_forward_to_an_aborted_image():
    before = entries(make_entry(1, VALID), make_entry(2, ABORTED))
    assert hazards_of(TWO, before, flash(ota_0=None)) == (FORWARD_TO_BARRED,)
    assert hazards_of(TWO, before, flash()) == ()


def test_hazard_both_entries_for_one_slot():
    same = entries(make_entry(3, VALID), make_entry(3, NEW))
    assert hazards_of(TWO, same, flash()) == (ROLLBACK_TARGET_LOST,)


def test_hazard_otadata_that_is_never_repaired():
    broken = entries(make_entry(1, VALID)._replace(crc=0), ERASED)
    assert STICKY_OTADATA in hazards_of(TWO, broken, flash())
    assert STICKY_OTADATA in hazards_of(WITH_FACTORY, broken, flash(WITH_FACTORY))
    assert hazards_of(TWO, entries(ERASED, ERASED), flash()) == ()


def test_hazard_entry_of_an_image_that_did_not_boot():
    before = entries(make_entry(1, VALID), make_entry(2, NEW))
    assert hazards_of(TWO, before, flash(ota_1=None)) == (ENTRY_OF_ANOTHER,)
    assert hazards_of(TWO, before, flash()) == ()


def test_hazard_efuse_burnt_for_an_image_that_does_not_verify():
    memory = flash(secure={"ota_0": 2, "ota_1": 2})
    memory.load(OFFSETS["ota_1"] + 0x128, b"\xaa" * 4)
    before = entries(make_entry(1, VALID), make_entry(2, VALID))
    assert BURNT_BEFORE_VERIFIED in hazards_of(TWO, before, memory, ARB)
    assert BURNT_BEFORE_VERIFIED not in hazards_of(TWO, before, flash(secure={"ota_0": 2, "ota_1": 2}), ARB)


@pytest.mark.parametrize(
    "hazard",
    [
        BARRED_IMAGE_BOOTS,
        FORWARD_TO_BARRED,
        ROLLBACK_TARGET_LOST,
        STICKY_OTADATA,
        ENTRY_OF_ANOTHER,
        BURNT_BEFORE_VERIFIED,
    ],
)
def test_every_hazard_says_what_to_do_and_where_it_is_written(hazard):
    assert hazard.remedy
    assert ".c " in hazard.source


# Several boots


def test_worst_verdict_speaks_for_a_test():
    ranked = (Verdict.BENCH_FAULT, Verdict.FIRMWARE_FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    judgements = [Judgement(one, str(one)) for one in reversed(ranked)]
    for one in ranked:
        assert worst(judgements).verdict is one
        judgements = judgements[:-1]
    assert worst([]).verdict is Verdict.INCONCLUSIVE


# The copy that the model works on


def test_memory_given_is_never_changed():
    memory = flash()
    before = memory.read(0, len(memory))
    judge(replace(FIRST_TRY, memory_before=memory))
    assert memory.read(0, len(memory)) == before


@given(st.integers(0, 0x3000), st.integers(0, 0x2800))
def test_overlay_reads_what_was_written_and_what_lies_under_it(offset, size):
    base = FlashImage(bytes(range(256)) * 0x40)
    overlay = Overlay(base)
    overlay.apply(Erase(0x1000))
    overlay.apply(Program(0x1010, b"\x0f\xf0"))
    expected = bytearray(base.read(0, 0x8000))
    expected[0x1000:0x2000] = b"\xff" * 0x1000
    expected[0x1010:0x1012] = b"\x0f\xf0"
    assert overlay.read(offset, size) == bytes(expected[offset : offset + size])
