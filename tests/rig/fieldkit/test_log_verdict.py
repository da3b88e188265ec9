"""Verdicts of logs: the field's, the real runs', and short ones of our own for every rule."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.fieldkit.explained import Finding
from rig.fieldkit.log_reading import KEPT_BOOTS, read_log
from rig.fieldkit.log_verdict import findings
from rig.fieldkit.verdicts import WEIGHT, FieldVerdict

LOGS = Path(__file__).parents[2] / "data" / "logs"
FIELD = {log["file"]: log for log in json.loads((LOGS / "field" / "index.json").read_text())["logs"]}
QEMU = tomllib.loads((Path(__file__).parent / "qemu_verdicts.toml").read_text())

FORBIDDEN = {
    "espidf-955-seq-vs-slot.log": ("rollback", "rolled back", "corrupt"),
    "fastbee-both-entries-seq3.log": ("redundant cop", "healthy", "rolled back", "went back"),
    "esplink-abort-before-confirm-back-to-factory.log": ("explicit", "marked itself", "rejected itself", "erased"),
    "espidf-4799-debug-truncated-before-decision.log": ("rollback", "rolled back", "invalid"),
    "s3-32mb-address-wrap-slot1-rejected.log": ("corrupt", "download", "power"),
    "skyfeeder-checksum-changes-every-boot.log": ("power cut", "partial", "rollback", "incomplete"),
    "espat-otadata-invalid-no-factory-recovers.log": ("rollback", "rolled back", "corrupt"),
    "arduino-ide-wrong-offsets-bootloop.log": ("ota fail", "rollback", "update failed"),
    "esphome-jkbms-874-rollback-reported.log": ("panic", "crash", "not support"),
    "esphome-wmbus-51-crash-loop-rollback.log": ("network", "wi-fi"),
    "esphome-marked-good-after-60s.log": ("counter",),
    "arduino-3976-flash-encryption-update-not-encrypted.log": ("wrong chip", "717", "truncated", "incomplete"),
    "espidf-5905-secure-boot-digest-mismatch.log": ("corrupt", "download"),
    "aws-https-ota-1-html-instead-of-image.log": ("corrupt", "damaged"),
    "waveshare-interrupted-serial-flash-loop.log": ("power", "ota power"),
    "rapt-deepsleep-fast-boot-healthy.log": ("otadata", "missing"),
    "espidf-6189-encrypted-first-boot-healthy.log": ("update", "ota happened"),
    "jomjol-653-rom-flash-read-err-then-recovers.log": ("rollback", "two ota", "rolled back"),
    "teamspresence-16-rom-invalid-header-loop.log": ("app",),
    "ruuvi-1278-otadata-invalid-reboot-loop-head.log": ("bootloader fail",),
    "classycode-ota-1-no-otadata-partition-panic.log": ("corrupt", "damaged"),
    "ff-confirm-timeout-rollback.log": ("crash", "panic"),
    "dht22-selftest-fail-rollback.log": ("wi-fi", "wifi"),
}
"""Words that a claim which `must_not_conclude` forbids would need."""

DECISIVE = {
    "espidf-955-seq-vs-slot.log": 12,
    "fastbee-both-entries-seq3.log": 11,
    "esplink-abort-before-confirm-back-to-factory.log": 10,
    "s3-32mb-address-wrap-slot1-rejected.log": 6,
    "skyfeeder-checksum-changes-every-boot.log": 15,
    "espat-otadata-invalid-no-factory-recovers.log": 18,
    "arduino-ide-wrong-offsets-bootloop.log": 3,
    "esphome-jkbms-874-rollback-reported.log": 10,
    "esphome-wmbus-51-crash-loop-rollback.log": 1,
    "esphome-marked-good-after-60s.log": 1,
    "arduino-3976-flash-encryption-update-not-encrypted.log": 2,
    "espidf-5905-secure-boot-digest-mismatch.log": 1,
    "aws-https-ota-1-html-instead-of-image.log": 1,
    "waveshare-interrupted-serial-flash-loop.log": 4,
    "rapt-deepsleep-fast-boot-healthy.log": 24,
    "espidf-6189-encrypted-first-boot-healthy.log": 2,
    "teamspresence-16-rom-invalid-header-loop.log": 3,
    "classycode-ota-1-no-otadata-partition-panic.log": 5,
    "ff-confirm-timeout-rollback.log": 6,
    "dht22-selftest-fail-rollback.log": 5,
}
"""The line before which nobody could know the verdict; for the others it is `inconclusive` throughout."""

ON_THE_WAY = {
    "fastbee-both-entries-seq3.log": {"rollback-target-lost"},
    "skyfeeder-checksum-changes-every-boot.log": {"unbootable"},
}
"""What a log that ends earlier shows."""

GONE_BACK = {
    FieldVerdict.ROLLBACK_CORRECT,
    FieldVerdict.ROLLBACK_CAUSE_UNKNOWN,
    FieldVerdict.ROLLBACK_ENVIRONMENT_FAULT,
    FieldVerdict.ROLLBACK_TARGET_LOST,
}


def judge(data: bytes) -> list[Finding]:
    return findings(read_log([data]))


def words(text: str) -> list[str]:
    return [finding.verdict.value for finding in judge(text.encode())]


@pytest.mark.parametrize("name", sorted(FIELD))
def test_a_field_log_gets_its_verdict_and_no_forbidden_word(name: str) -> None:
    found = judge((LOGS / "field" / name).read_bytes())
    assert found[0].verdict == FIELD[name]["verdict"]
    said = " ".join(reason for finding in found for reason in finding.reasons).lower()
    assert [word for word in FORBIDDEN[name] if word in said] == []
    assert found[0].evidence or found[0].unknown


@pytest.mark.parametrize("name", sorted(FIELD))
def test_a_field_log_that_ends_early_says_no_more_than_it_shows(name: str) -> None:
    lines = (LOGS / "field" / name).read_bytes().splitlines(keepends=True)
    decisive = DECISIVE.get(name, len(lines) + 1)
    allowed = {"inconclusive", *ON_THE_WAY.get(name, set())}
    for count in range(len(lines)):
        verdict = judge(b"".join(lines[:count]))[0].verdict.value
        assert verdict in (allowed if count < decisive else allowed | {FIELD[name]["verdict"]}), count


@pytest.mark.parametrize("name", sorted(QEMU))
def test_a_real_run_gets_its_verdicts(name: str) -> None:
    data = gzip.decompress((LOGS / "qemu" / f"{name}.log.gz").read_bytes())
    assert [finding.verdict.value for finding in judge(data)] == QEMU[name]["findings"], QEMU[name]["why"]


def test_every_real_run_has_its_verdict() -> None:
    assert {path.name.removesuffix(".log.gz") for path in (LOGS / "qemu").glob("*.log.gz")} == set(QEMU)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["rb_update_ok_autovalid", "fac_update_ok", "norb_update_ok"]), st.floats(0, 1))
def test_a_healthy_update_cut_anywhere_never_went_back(name: str, part: float) -> None:
    data = gzip.decompress((LOGS / "qemu" / f"{name}.log.gz").read_bytes())
    found = judge(data[: int(part * len(data))])
    assert not GONE_BACK & {finding.verdict for finding in found}


TABLE = """\
I (50) boot: Partition Table:
I (50) boot: ## Label            Usage          Type ST Offset   Length
I (50) boot:  0 nvs              WiFi data        01 02 00009000 00004000
I (50) boot:  1 otadata          OTA data         01 00 0000d000 00002000
I (50) boot:  2 app_a            OTA app          00 10 00040000 00200000
I (50) boot:  3 app_b            OTA app          00 11 00240000 00200000
I (50) boot: End of partition table
"""
BANNER = "I (27) boot: ESP-IDF v5.1.6 2nd stage bootloader\n"


def boot(offset: int, version: str = "", reset: str = "0xc (RTC_SW_CPU_RST)", extra: str = "") -> str:
    text = f"rst:{reset},boot:0x8 (SPI_FAST_FLASH_BOOT)\n{BANNER}{TABLE}{extra}"
    text += f"I (300) boot: Loaded app from partition at offset {offset:#x}\n"
    return text + (f"I (400) app_init: App version:      {version}\n" if version else "")


OLD, NEW = boot(0x40000, "1.0"), boot(0x240000, "2.0")


def test_old_new_old_without_a_cause() -> None:
    assert words(OLD + NEW + OLD) == ["rollback-correct-cause-unknown"]


@pytest.mark.parametrize(
    ("last_words", "reset", "verdict"),
    [
        ("abort() was called at PC 0x42001234 on core 0\n", "0xc (RTC_SW_CPU_RST)", "rollback-correct"),
        ("I (500) app: Rebooting in 3 seconds\n", "0xc (RTC_SW_CPU_RST)", "rollback-correct"),
        ("", "0x7 (TG0WDT_SYS_RST)", "rollback-correct"),
        ("", "0x5 (DSLEEP)", "rollback-correct"),
        ("Brownout detector was triggered\n", "0xc (RTC_SW_CPU_RST)", "rollback-environment-fault"),
        ("", "0xf (RTCWDT_BROWN_OUT_RESET)", "rollback-environment-fault"),
        ("", "0x1 (POWERON)", "rollback-environment-fault"),
        ("", "0x15 (USB_UART_CHIP_RESET)", "rollback-environment-fault"),
    ],
)
def test_what_ended_a_probation(last_words: str, reset: str, verdict: str) -> None:
    assert words(OLD + NEW + last_words + boot(0x40000, "1.0", reset)) == [verdict]


def test_an_app_that_chooses_the_other_slot_itself_was_not_on_probation() -> None:
    check = "I (9000) esp_image: segment 0: paddr=00040020 vaddr=3c020020 size=09398h ( 37784) map\n"
    assert words(OLD + NEW + check + OLD) == ["no-transition"]
    assert words(OLD + NEW + check.replace("00040020", "00240020") + OLD) == ["rollback-correct-cause-unknown"]


def test_a_log_with_many_episodes_stays_readable() -> None:
    found = judge((OLD + (NEW + OLD) * 40).encode())
    assert [finding.verdict for finding in found] == [FieldVerdict.ROLLBACK_CAUSE_UNKNOWN] * 5
    assert "35 more times" in found[-1].reasons[-1]


@pytest.mark.parametrize(
    ("reset", "verdict"),
    [
        ("0xc (RTC_SW_CPU_RST)", "rollback-correct-cause-unknown"),
        ("0x1 (POWERON)", "rollback-environment-fault"),
        ("0xf (BROWNOUT_RST)", "rollback-environment-fault"),
        ("0x7 (TG0WDT_SYS_RST)", "rollback-correct"),
    ],
)
def test_a_log_that_begins_with_the_return(reset: str, verdict: str) -> None:
    marked = "D (60) boot: otadata[1] is marking as ABORTED\n"
    assert words(boot(0x40000, "1.0", reset, marked)) == [verdict]


def test_boots_that_were_not_kept_part_those_around_them() -> None:
    found = judge((OLD * (KEPT_BOOTS - 1) + NEW + NEW * 3 + OLD * KEPT_BOOTS).encode())
    assert [finding.verdict.value for finding in found] == ["no-transition"]
    text = OLD * (KEPT_BOOTS + 2) + NEW + OLD * (KEPT_BOOTS - 2)
    found = judge(text.encode())
    assert [finding.verdict.value for finding in found] == ["rollback-correct-cause-unknown"]
    assert f"boot {KEPT_BOOTS + 3}: " in found[0].reasons[0]


@pytest.mark.parametrize(
    ("reported", "verdict"),
    [
        ("W (600) app: Reset reason: Brownout\n", "rollback-environment-fault"),
        ("W (600) app: Reset reason: Task watchdog\n", "rollback-correct"),
        ("reset_reason: PANIC\n", "rollback-correct"),
        ("W (600) app: Reset reason: Software\n", "rollback-correct-cause-unknown"),
    ],
)
def test_what_the_next_boot_reports_of_the_reset(reported: str, verdict: str) -> None:
    assert words(OLD + NEW + OLD + reported) == [verdict]


def test_an_app_that_gives_up_waiting_in_the_first_boot_of_the_log() -> None:
    assert words(NEW + "I (180000) net: restarting, access point timeout\n" + OLD) == ["rollback-correct"]
    assert words(OLD + "I (180000) net: restarting after update\n" + NEW) == ["no-transition"]
    assert words(OLD + NEW) == ["no-transition"]


def test_forth_is_not_back() -> None:
    again = (
        boot(0x40000, "3.0") + "running: label=ota_0 offset=0x40000 size=0x200000 state=PENDING_VERIFY version=3.0\n"
    )
    assert words(OLD + NEW + again) == ["no-transition"]


def test_a_confirmed_app_that_is_left_is_no_rollback() -> None:
    confirmed = NEW + "D (900) esp_ota_ops: OTA[current] partition is marked as VALID\n"
    assert words(OLD + confirmed + OLD) == ["confirmed"]


def test_the_last_state_counts_for_unbootable() -> None:
    dead = f"rst:0x3 (RTC_SW_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\n{BANNER}{TABLE}" + (
        "E (90) esp_image: Checksum failed. Calculated 0x11 read 0x22\n"
        "E (91) boot: OTA app partition slot 1 is not bootable\n"
        "E (92) esp_image: Image hash failed - image is corrupt\n"
        "E (93) boot: OTA app partition slot 0 is not bootable\n"
        "E (94) boot: No bootable app partitions in the partition table\n"
    )
    assert words(OLD + dead + dead) == ["unbootable"]
    assert "unbootable" not in words(dead + dead + OLD)
    assert words(OLD + dead + dead.replace("0x11", "0x33")) == ["unbootable-hardware"]


def test_both_slots_damaged_is_more_than_a_cable_can_do() -> None:
    both = (
        "E (91) esp_image: invalid segment length 0xffffffff\nE (92) boot: OTA app partition slot 0 is not bootable\n"
        "E (93) esp_image: invalid segment length 0xffffffff\nE (94) boot: OTA app partition slot 1 is not bootable\n"
        "E (95) boot: No bootable app partitions in the partition table\n"
    )
    assert words(both) == ["unbootable"]
    empty = "esp_image: image at 0x240000 has invalid magic byte"
    assert words(both.replace("(93) esp_image: invalid segment length 0xffffffff", f"(93) {empty}")) == ["bench-fault"]


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("esp_image: Image length 2200000 doesn't fit in partition length 2097152", "misconfiguration"),
        ("boot_comm: mismatch chip ID, expected 9, found 5", "misconfiguration"),
        ("esp_image: bootloader_flash_read failed at 0x00040000", "unbootable-hardware"),
    ],
)
def test_why_nothing_boots(fault: str, verdict: str) -> None:
    text = f"E (91) {fault}\nE (92) boot: OTA app partition slot 0 is not bootable\n"
    assert words(text + "E (95) boot: No bootable app partitions in the partition table\n") == [verdict]
    assert words(text) == ["inconclusive"]


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [
        ("E (91) esp_image: Checksum failed. Calculated 0x11 read 0x22\n", "fallback-image-invalid"),
        ("E (91) esp_image: image offset has wrapped\n", "fallback-image-unreachable"),
        (
            "I (90) esp_image: segment 0: paddr=00240020 vaddr=3fcd6100 size=0f00h ( 3840) load\n"
            "E (91) esp_image: Segment 0 0x3fcd6100-0x3fcd7000 invalid: overlaps bootloader stack\n",
            "fallback-image-invalid",
        ),
    ],
)
def test_another_image_was_loaded(refused: str, verdict: str) -> None:
    rejected = refused + "E (92) boot: OTA app partition slot 1 is not bootable\n"
    assert words(boot(0x40000, "1.0", extra=rejected)) == [verdict]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("E (9000) esp_ota_ops: Running app has not confirmed state (ESP_OTA_IMG_PENDING_VERIFY)\n", "update-rejected"),
        ("E (9000) ota: esp_ota_begin failed (ESP_ERR_OTA_ROLLBACK_INVALID_STATE)\n", "update-rejected"),
        ("E (9000) ota: esp_ota_set_boot_partition failed (ESP_ERR_OTA_SMALL_SEC_VER)\n", "update-rejected"),
        ("E (90000) esp_image: Image hash failed - image is corrupt\n", "update-rejected-cause-unknown"),
        ("E (9000) ota: esp_ota_end failed (ESP_ERR_OTA_VALIDATE_FAILED)\n", "update-rejected-cause-unknown"),
        ("I (9000) ota: After set_boot: boot=ota_1 running=ota_1\n", "update-rejected-cause-unknown"),
        ("I (9000) ota: After set_boot: boot=ota_0 running=ota_1\n", "inconclusive"),
        ("E (338) esp_image: Image hash failed - image is corrupt\n", "inconclusive"),
        ("E (9000) esp_ota_ops: Rollback is not possible, do not have any suitable apps in slots\n",
         "rollback-target-lost"),
        ("E (9000) ota: esp_ota_get_state_partition failed (ESP_ERR_NOT_FOUND)\n", "rollback-target-lost"),
        ("W (9) esp_ota_ops: otadata[0].ota_seq = 4\nW (9) esp_ota_ops: otadata[1].ota_seq = 4\n",
         "rollback-target-lost"),
        ("W (9) esp_ota_ops: otadata[0].ota_seq = 4\nW (9) esp_ota_ops: otadata[1].ota_seq = 5\n", "inconclusive"),
        ("I (9000) app: ota_state = 0\n", "misconfiguration"),
        ("I (9000) app: ota_state = 2\n", "inconclusive"),
        ("E (9) boot: OTA data 0: seq 0x00000005, st 0x33, CRC 0x12345678, valid? 0\n", "otadata-foreign"),
        ("E (9) boot: OTA data 0: seq 0x00000005, st 0x2, CRC 0x12345678, valid? 1\n", "inconclusive"),
        ("W (9) safe_mode: OTA rollback detected! Rolled back from partition 'b'\n", "rollback-correct-cause-unknown"),
        ("[W][safe_mode]: OTA rollback detected! Rolled back from partition 'b'\n"
         "[W][safe_mode:099]: Last reset was due to brownout - check\n", "rollback-environment-fault"),
        ("I (9) app: esp_ota_mark_app_valid_cancel_rollback: ESP_OK\n", "confirmed"),
        ("E (9) app: image was not marked valid\n", "inconclusive"),
        ("rst:0x1 (POWERON),boot:0x8 (SPI)\nflash read err, 1000\nrst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI)\n",
         "inconclusive"),
        ("rst:0x1 (POWERON),boot:0x8 (SPI)\nflash read err, 1000\n" * 2, "unbootable-before-bootloader"),
        ("rst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI)\nload:0xffffffff,len:-1\n" * 2, "unbootable-before-bootloader"),
        ("rst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI)\ncsum err:0x12!=0x34\n" * 2, "unbootable-before-bootloader"),
        ("ota: Could Not Activate The Firmware\n", "update-rejected-cause-unknown"),
        ("E (40) boot: Failed to verify app image @ 0x40000 (8194)\n", "unbootable"),
        ("rst:0x1 (POWERON),boot:0x3 (DOWNLOAD(USB/UART0))\nwaiting for download\n", "bench-fault"),
        ("E (40) flash_parts: partition 0 invalid magic number 0xffff\n", "bench-fault"),
        ("E (40) flash_parts: partition 3 invalid - offset 0x310000 size 0x200000 exceeds flash chip size 0x400000\n",
         "misconfiguration"),
        ("E (40) secure_boot: This app is not signed, but check signature on update is enabled in config. "
         "It won't be possible to verify any update.\nabort() was called at PC 0x42001234 on core 0\n",
         "misconfiguration"),
        ("E (40) boot: ota_info partition size 4096 is too small (minimum 8192 bytes)\n", "misconfiguration"),
        ('I (9) esp_ota_ops: [0] aflags/seq:0xffffffff/0x4, pflags/seq:0xffffffff/0x3\n'
         'I (9) mqtt: {"status":"FAILED","statusDetails":{"reason":"rejected: 0x00000011"}}\n', "misconfiguration"),
        ('I (9) esp_ota_ops: [0] aflags/seq:0x1/0x4, pflags/seq:0x2/0x3\n'
         'I (9) mqtt: {"status":"FAILED","statusDetails":{"reason":"rejected: 0x00000011"}}\n', "inconclusive"),
        ("D (60) boot: otadata[0]: sequence values 0x6d6f6f64\n", "otadata-foreign"),
        (TABLE + "D (60) boot: Mapping seq 3 -> OTA slot 0\n", "bootloader-bug"),
        (TABLE + "D (60) boot: Mapping seq 3 -> OTA slot 1\n", "inconclusive"),
        ("assert failed: app_main app.c:12 (0)\n", "inconclusive"),
        (TABLE, "inconclusive"),
        ("", "inconclusive"),
    ],
)  # fmt: skip
def test_one_rule(text: str, verdict: str) -> None:
    assert words(text)[0] == verdict


def test_both_entries_of_one_slot() -> None:
    twice = "D (60) boot: otadata[0]: sequence values 0x00000006\nD (60) boot: otadata[1]: sequence values 0x00000004\n"
    assert words(boot(0x240000, "2.0", extra=twice)) == ["rollback-target-lost"]
    healthy = twice.replace("0x00000004", "0x00000005")
    assert words(boot(0x240000, "2.0", extra=healthy)) == ["no-transition"]
    factory = twice + boot(0x240000, "2.0")
    table = TABLE.replace("app_a            OTA app          00 10", "app_a            factory app      00 00")
    assert words(factory.replace(TABLE, table)) == ["no-transition"]


def test_an_emulators_exception_is_not_the_apps() -> None:
    def at(milliseconds: int) -> str:
        broken = NEW.replace("I (27)", f"I ({milliseconds})")
        broken += "Guru Meditation Error: Core  0 panic'ed (Illegal instruction). \n"
        return OLD.replace("0xc (RTC_SW_CPU_RST)", "0x1 (POWERON)") + broken + OLD

    assert words(at(31)) == ["rollback-correct"]
    assert words(at(31000)) == ["rollback-correct-cause-unknown"]


PASTED = {
    "quoted": lambda line: b"> " + line,
    "indented": lambda line: b"    " + line,
    "carriage returns": lambda line: line.rstrip(b"\r\n") + b"\r\n",
    "colours mangled": lambda line: line.replace(b"\x1b", b"\xef\xbf\xbd"),
}


@pytest.mark.parametrize("way", sorted(PASTED))
def test_however_a_log_was_pasted_its_verdict_is_the_same(way: str) -> None:
    for name, said in FIELD.items():
        lines = (LOGS / "field" / name).read_bytes().splitlines(keepends=True)
        assert judge(b"".join(PASTED[way](line) for line in lines))[0].verdict == said["verdict"], name


LINES = sorted(
    {
        line
        for path in (LOGS / "field").glob("*.log")
        for line in path.read_bytes().splitlines(keepends=True)
    }
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=40), max_size=40))
def test_any_lines_get_findings_in_order_with_lines_that_exist(lines: list[bytes]) -> None:
    data = b"".join(lines)
    found = judge(data)
    assert found
    assert [WEIGHT[finding.verdict] for finding in found] == sorted(WEIGHT[finding.verdict] for finding in found)
    for finding in found:
        assert finding.reasons
        assert all(1 <= number <= data.count(b"\n") + 1 for number in finding.evidence)
