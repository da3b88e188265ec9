"""The bootloader's and the test app's behaviour on the virtual chip, as a host at its UART sees it."""

import re

import pytest

from rig.updates.agent import AgentError
from rig.updates.uart import install_image
from tests.rig.device import PATIENCE_S, app, build, make_device, small_app

__all__ = ["make_device"]


def update(device, version="2.0.0", diagnostics=None, seconds=None):
    """Install a version in the next slot and restart into it."""
    if diagnostics is not None:
        device.agent.set_diagnostics(diagnostics, seconds)
    install_image(device.agent, small_app(version), mode="size")
    device.agent.reboot()
    return device.agent.wait_event("start", PATIENCE_S).fields


# --- what is printed -------------------------------------------------------------------------------------------------


def test_a_first_boot_prints_what_a_real_one_prints(make_device):
    device = make_device("rollback", idf="v5.5")
    device.start()
    lines = device.lines()
    start = lines.index("I boot: ESP-IDF v5.5.5 2nd stage bootloader")
    boot = [line for line in lines[start:] if line.startswith("I boot")]
    assert boot == [
        "I boot: ESP-IDF v5.5.5 2nd stage bootloader",
        "I boot: compile time Jan  1 2025 12:00:00",
        "I boot: chip revision: v0.4",
        "I boot: efuse block revision: v0.0",
        "I boot.esp32c3: SPI Speed      : 80MHz",
        "I boot.esp32c3: SPI Mode       : DIO",
        "I boot.esp32c3: SPI Flash Size : 4MB",
        "I boot: Enabling RNG early entropy source...",
        "I boot: Partition Table:",
        "I boot: ## Label            Usage          Type ST Offset   Length",
        "I boot:  0 nvs              WiFi data        01 02 00009000 00004000",
        "I boot:  1 otadata          OTA data         01 00 0000d000 00002000",
        "I boot:  2 phy_init         RF data          01 01 0000f000 00001000",
        "I boot:  3 ota_0            OTA app          00 10 00010000 00100000",
        "I boot:  4 ota_1            OTA app          00 11 00110000 00100000",
        "I boot: End of partition table",
        "I boot: No factory image, trying OTA 0",
        "I boot: Loaded app from partition at offset 0x10000",
        "I boot: Set actual ota_seq=1 in otadata[0]",
        "I boot: Disabling RNG early entropy source...",
    ]
    segments = [line for line in lines if line.startswith("I esp_image: segment ")]
    assert [line.split()[-1] for line in segments] == ["map", "load", "load", "map"]
    first = r"I esp_image: segment 0: paddr=00010020 vaddr=3c000020 size=0[0-9a-f]{4}h \( *\d+\) map"
    assert re.fullmatch(first, segments[0])
    place = lines.index("I boot: No factory image, trying OTA 0") + 1
    assert lines[place : place + 4] == segments
    assert "I app_init: App version:      1.0.0" in lines
    assert "I main_task: Calling app_main()" in lines
    assert "I rig_app: OTA state of running partition ota_0: VALID" in lines


@pytest.mark.parametrize(
    ("idf", "chip", "expected"),
    [
        ("v4.4", "esp32", ["I boot: ESP-IDF v4.4.8 2nd stage bootloader", "I boot: compile time 12:00:00"]),
        ("v4.4", "esp32", ["I boot: Multicore bootloader", "I cpu_start: Starting scheduler on PRO CPU."]),
        ("v4.4", "esp32", ["I boot.esp32: SPI Speed      : 40MHz", "I cpu_start: ESP-IDF:          v4.4.8"]),
        ("v5.1", "esp32c3", ["I cpu_start: Unicore app", "I cpu_start: Pro cpu up."]),
        ("v5.1", "esp32s3", ["I cpu_start: Multicore app", "I app_start: Starting scheduler on CPU0"]),
        ("v6.0", "esp32c6", ["I app_init: ESP-IDF:          v6.0.2", "I efuse_init: Min chip rev:     v0.0"]),
        ("v6.1", "esp32c3", ["I boot: ESP-IDF v6.1-beta1 2nd stage bootloader", "I cpu_start: Unicore app"]),
    ],
)
def test_each_version_and_chip_has_its_own_wording(make_device, idf, chip, expected):
    device = make_device("rollback", chip=chip, idf=idf)
    device.start()
    assert set(expected) <= set(device.lines())


@pytest.mark.parametrize(("idf", "coloured"), [("v5.1", True), ("v5.5", False)])
def test_colour_is_on_up_to_v5_3_only_and_lines_end_in_crlf(make_device, idf, coloured):
    device = make_device(idf=idf)
    device.start()
    banner = next(line for line in device.console.split(b"\n") if b"2nd stage" in line)
    assert banner.startswith(b"\x1b[0;32mI (") is coloured
    assert banner.endswith(b"\x1b[0m\r" if coloured else b"bootloader\r")


def test_time_stamps_are_milliseconds_of_device_time_and_never_run_back(make_device):
    device = make_device()
    device.start()
    stamps = [int(line[3 : line.index(b")")]) for line in device.console.split(b"\n") if line[:3] == b"I ("]
    assert stamps == sorted(stamps)
    assert 100 < stamps[-1] < 2000


def test_a_debug_bootloader_names_the_transition_and_a_quiet_one_prints_nothing(make_device):
    loud, quiet = make_device("rollback_debug"), make_device("rollback_quiet")
    for device in (loud, quiet):
        device.start()
        update(device)
    assert "D boot: otadata[1] is selected as new and marked PENDING_VERIFY state" in loud.lines()
    assert not [line for line in quiet.lines() if " boot: " in line]


def test_nothing_bootable_is_a_boot_loop_that_says_so(make_device):
    device = make_device()
    device.chip.flash.load(0x10000, bytes(0x1000))
    device.chip.power_on()
    for _ in range(2):
        device.wait_text("OTA app partition slot 0 is not bootable")
        device.wait_text("No bootable app partitions in the partition table")
        device.wait_text("rst:0x3 (RTC_SW_SYS_RST)")


# --- diagnostics -----------------------------------------------------------------------------------------------------


def test_diagnostics_pass_when_nothing_is_set_and_the_image_is_confirmed(make_device):
    device = make_device()
    device.start()
    started = update(device)
    assert (started["running"], started["state"], started["diag"]) == ("ota_1", "PENDING_VERIFY", "none")
    assert device.agent.wait_event("diag", PATIENCE_S).fields == {"outcome": "pass", "result": "confirmed"}
    assert device.agent.wait_ready(PATIENCE_S).fields["state"] == "VALID"
    assert device.states() == ["VALID", "VALID"]


@pytest.mark.parametrize(
    ("outcome", "witness", "state"),
    [
        ("fail", "esp_ota_ops: Rollback to previously worked partition.", "INVALID"),
        ("panic", "Guru Meditation Error: Core  0 panic'ed (Store access fault). Exception was unhandled.", "ABORTED"),
        ("watchdog", "task_wdt: Task watchdog got triggered.", "ABORTED"),
        ("reboot", "@rig - restart cause=diag", "ABORTED"),
    ],
)
def test_an_image_that_fails_its_diagnostics_is_left_for_the_old_one(make_device, outcome, witness, state):
    device = make_device()
    device.start()
    update(device, diagnostics=outcome)
    device.wait_text(witness)
    back = device.agent.wait_event("start", PATIENCE_S).fields
    assert (back["running"], back["version"], back["reset"]) == ("ota_0", "1.0.0", "SW")
    device.agent.wait_ready(PATIENCE_S)
    assert device.states() == ["VALID", state]


def test_a_hanging_image_is_deaf_and_mute_until_power_is_cut(make_device):
    device = make_device()
    device.start()
    update(device, diagnostics="hang")
    device.wait_text("Diagnostics ...")
    before = device.console
    device.write(b"@rig 1 hello\n\n")
    with pytest.raises(TimeoutError):
        device.expect_line(lambda line: True, 0.2)
    assert device.console == before
    device.cycle()
    assert device.states() == ["VALID", "ABORTED"]


def test_delayed_diagnostics_answer_meanwhile_and_confirm_when_the_time_is_over(make_device):
    device = make_device()
    device.start()
    update(device, diagnostics="delay", seconds=4)
    assert device.agent.wait_ready(PATIENCE_S).fields["state"] == "PENDING_VERIFY"
    before = device.agent.hello()
    assert before.state == "PENDING_VERIFY"
    assert device.agent.wait_event("diag", PATIENCE_S).fields == {"outcome": "delay", "result": "confirmed"}
    after = device.agent.hello()
    assert after.state == "VALID"
    assert 4000 <= after.uptime_ms <= before.uptime_ms + 8000


@pytest.mark.parametrize(("decide", "expected"), [("confirm", "VALID"), ("reject", "INVALID")])
def test_manual_diagnostics_wait_for_the_host(make_device, decide, expected):
    device = make_device()
    device.start()
    update(device, diagnostics="manual")
    device.agent.wait_ready(PATIENCE_S)
    assert device.states() == ["VALID", "PENDING_VERIFY"]
    getattr(device.agent, decide)()
    if decide == "reject":
        assert device.agent.wait_event("restart", PATIENCE_S).fields == {"cause": "reject"}
        assert device.agent.wait_event("start", PATIENCE_S).fields["running"] == "ota_0"
    assert device.states() == ["VALID", expected]


def test_an_outcome_outlives_updates_and_resets_until_an_image_confirms_or_rejects(make_device):
    device = make_device()
    device.start()
    update(device, diagnostics="panic")
    device.agent.wait_event("start", PATIENCE_S)
    device.agent.wait_ready(PATIENCE_S)
    assert device.agent.diagnostics().outcome == "panic"
    assert update(device, "3.0.0")["diag"] == "panic"
    device.agent.wait_event("start", PATIENCE_S)
    device.agent.wait_ready(PATIENCE_S)
    update(device, "4.0.0", diagnostics="fail")
    device.agent.wait_event("start", PATIENCE_S)
    device.agent.wait_ready(PATIENCE_S)
    assert device.agent.diagnostics().outcome == "none"


def test_an_outcome_is_used_up_by_the_image_that_confirms_with_it(make_device):
    device = make_device()
    device.start()
    update(device, diagnostics="delay", seconds=1)
    device.agent.wait_event("diag", PATIENCE_S)
    assert device.agent.diagnostics().outcome == "none"
    device.agent.set_diagnostics("panic")
    device.agent.confirm()
    assert device.agent.diagnostics().outcome == "none"


def test_an_app_that_is_not_on_probation_leaves_the_outcome_alone(make_device):
    device = make_device()
    device.start()
    device.agent.set_diagnostics("panic")
    device.cycle()
    assert device.agent.wait_ready(PATIENCE_S).fields["running"] == "ota_0"
    assert device.agent.diagnostics().outcome == "panic"


def test_rejecting_the_only_good_image_fails_and_the_app_goes_on(make_device):
    device = make_device("rollback")
    device.start()
    device.agent.set_diagnostics("fail")
    install_image(device.agent, small_app("2.0.0"), mode="size")
    # Nothing to go back to: the other record is gone.
    device.chip.flash.load(0xD000, b"\xff" * 0x1000)
    device.agent.reboot()
    assert device.agent.wait_event("diag", PATIENCE_S).fields == {
        "outcome": "fail",
        "result": "error",
        "error": "ESP_ERR_OTA_ROLLBACK_FAILED",
    }
    assert device.agent.wait_ready(PATIENCE_S).fields["state"] == "PENDING_VERIFY"


def test_without_rollback_in_the_bootloader_a_new_image_stays_new_and_the_app_says_so(make_device):
    device = make_device("rollback")
    device.chip.flash.load(0, build("no_rollback")[0])
    device.start()
    install_image(device.agent, app("rollback", "2.0.0"))
    device.agent.reboot()
    assert device.agent.wait_event("start", PATIENCE_S).fields["state"] == "NEW"
    device.agent.wait_ready(PATIENCE_S)
    assert [line for line in device.lines() if line.startswith("W rig_app: State is NEW")]
    assert device.states() == ["VALID", "NEW"]


def test_without_rollback_in_the_app_an_update_is_never_on_probation(make_device):
    device = make_device("no_rollback")
    device.start()
    assert update(device, diagnostics="fail")["state"] == "UNDEFINED"
    device.agent.wait_ready(PATIENCE_S)
    assert device.agent.diagnostics().outcome == "fail"


def test_an_app_without_rules_of_its_own_follows_its_bootloader(make_device):
    device = make_device("rollback")
    device.chip.flash.load(0x10000, small_app("1.0.0"))
    device.start()
    assert device.agent.hello().rollback


def test_every_boot_tells_otadata_as_it_found_and_as_it_left_it(make_device):
    device = make_device()
    device.start()
    started = update(device, diagnostics="fail")
    entries = [bytes.fromhex(started[name]) for name in ("entry0", "entry1")]
    assert [entry[24] for entry in entries] == [2, 1]
    left = device.agent.wait_event("shutdown", PATIENCE_S).fields
    assert [bytes.fromhex(left[name])[24] for name in ("entry0", "entry1")] == [2, 3]
    found = device.agent.wait_event("start", PATIENCE_S).fields
    assert (found["entry0"], found["entry1"]) == (left["entry0"], left["entry1"])


# --- requests --------------------------------------------------------------------------------------------------------


def test_hello_tells_who_is_running(make_device):
    device = make_device("anti_rollback")
    device.start()
    hello = device.agent.hello()
    assert (hello.project, hello.version, hello.chip, hello.idf) == ("rig_test_app", "1.0.0", "esp32c3", "v5.5")
    assert (hello.running, hello.state, hello.reset, hello.boot) == ("ota_0", "VALID", "POWERON", 1)
    assert (hello.rollback, hello.anti_rollback, hello.diag) == (True, True, "none")
    device.cycle()
    assert device.agent.hello().boot == 2


def test_slots_are_reported_as_they_are_in_flash(make_device):
    device = make_device("factory")
    device.chip.flash.load(0x210000, b"\xe9" + bytes(100))
    device.start()
    slots = device.agent.slots()
    assert (slots.slots, slots.running, slots.boot) == (("factory", "ota_0", "ota_1"), "factory", "factory")
    assert (slots.next, slots.last_invalid) == ("ota_0", None)
    found = device.agent.all_slots()
    assert {name: slot.image for name, slot in found.items()} == {"factory": "ok", "ota_0": "empty", "ota_1": "invalid"}
    image = app("factory", "1.0.0")
    assert (found["factory"].length, found["factory"].sha256) == (len(image), image[-32:].hex())
    assert (found["factory"].state, found["ota_0"].state) == ("ESP_ERR_NOT_SUPPORTED", "ESP_ERR_NOT_FOUND")


def test_otadata_and_partitions_are_reported_byte_for_byte(make_device):
    device = make_device()
    device.start()
    otadata = device.agent.otadata()
    assert otadata.offset == 0xD000
    assert otadata.entries == tuple(device.chip.flash.read(offset, 32) for offset in (0xD000, 0xE000))
    rows = device.agent.partitions()
    assert [row.label for row in rows] == ["nvs", "otadata", "phy_init", "ota_0", "ota_1"]
    assert (rows[3].type, rows[3].subtype, rows[3].offset, rows[3].size) == (0, 0x10, 0x10000, 0x100000)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda agent: agent.request("fly"), "ESP_ERR_NOT_SUPPORTED"),
        (lambda agent: agent.get_state("ota_7"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.get_state("factory"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.get_state("ota_1"), "ESP_ERR_NOT_FOUND"),
        (lambda agent: agent.request("partition", index="99"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.request("diag", outcome="sleep"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.request("diag", outcome="delay"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.set_boot("ota_1"), "ESP_ERR_OTA_VALIDATE_FAILED"),
        (lambda agent: agent.erase_previous(), "ESP_FAIL"),
        (lambda agent: agent.invalidate_inactive(), "ESP_FAIL"),
        (lambda agent: agent.reject(), "ESP_ERR_OTA_ROLLBACK_FAILED"),
        (lambda agent: agent.burn_secure_version(1), "ESP_ERR_NOT_SUPPORTED"),
        (lambda agent: agent.crash("softly"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.update_end(), "ESP_ERR_INVALID_STATE"),
        (lambda agent: agent.update_abort(), "ESP_ERR_INVALID_STATE"),
        (lambda agent: agent.update_begin(100, slot="ota_0"), "ESP_ERR_OTA_PARTITION_CONFLICT"),
        (lambda agent: agent.update_begin(0x200000, slot="ota_1", mode="size"), "ESP_ERR_INVALID_SIZE"),
        (lambda agent: agent.update_begin(0), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.update_begin(9, sha256="ab"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.request("partition", index="0b1"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.request("partition", index="1_0"), "ESP_ERR_INVALID_ARG"),
        (lambda agent: agent.request("partition", index="-1"), "ESP_ERR_INVALID_ARG"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_error_of_esp_idf(make_device, call, error):
    device = make_device()
    device.start()
    with pytest.raises(AgentError) as refused:
        call(device.agent)
    assert refused.value.error == error
    assert device.agent.ping("still here")


def test_the_factory_app_has_nothing_to_confirm(make_device):
    device = make_device("factory")
    device.start()
    with pytest.raises(AgentError, match="'confirm' with ESP_FAIL"):
        device.agent.confirm()
    assert "E esp_ota_ops: Running firmware is factory" in device.lines()


def test_invalidate_inactive_came_with_v5_5(make_device):
    device = make_device(idf="v5.1")
    device.start()
    with pytest.raises(AgentError, match="ESP_ERR_NOT_SUPPORTED"):
        device.agent.invalidate_inactive()


def test_erase_previous_removes_image_and_record(make_device):
    device = make_device()
    device.start()
    update(device)
    device.agent.wait_ready(PATIENCE_S)
    device.agent.erase_previous()
    assert device.states() == ["-", "VALID"]
    assert device.agent.slot("ota_0").image == "empty"
    assert not device.agent.rollback_possible()


def test_the_secure_version_is_burnt_when_the_new_app_is_confirmed(make_device):
    device = make_device("anti_rollback")
    device.start()
    assert device.agent.secure_version().efuse == 0
    install_image(device.agent, small_app("2.0.0", secure_version=3), mode="size")
    device.agent.reboot()
    device.agent.wait_ready(PATIENCE_S)
    found = device.agent.secure_version()
    assert (found.app, found.efuse, found.bits) == (3, 3, 16)
    with pytest.raises(AgentError, match="ESP_ERR_INVALID_ARG"):
        device.agent.request("burn", version="4")
    assert device.agent.burn_secure_version(4) == 4


def test_an_image_without_descriptor_trips_the_assertion_of_an_anti_rollback_app(make_device):
    device = make_device("anti_rollback")
    device.start()
    image = bytearray(small_app("2.0.0", hash_appended=False))
    image[32] ^= 0xFF
    image[-1] ^= 0xFF
    with pytest.raises(Exception, match="started anew"):
        install_image(device.agent, bytes(image), mode="size")
    assert "assert: data_buffer[0] == ESP_APP_DESC_MAGIC_WORD" in device.lines()


@pytest.mark.parametrize("kind", ["panic", "watchdog"])
def test_a_crash_on_request_is_answered_first(make_device, kind):
    device = make_device()
    device.start()
    device.agent.crash(kind)
    assert device.agent.wait_event("start", PATIENCE_S).fields["reset"] == "SW"


def test_a_damaged_request_is_not_acted_on_and_the_host_hears_of_it(make_device):
    device = make_device()
    device.start()
    device.write(b"@rig 5 reboot *00000000\r\n")
    device.agent.wait_event("bad_line", PATIENCE_S)
    assert device.agent.hello().boot == 1


def test_noise_on_the_line_does_not_hurt_the_next_request(make_device):
    device = make_device()
    device.start()
    device.write(bytes(range(256)) * 20)
    assert device.agent.ping("still here")
