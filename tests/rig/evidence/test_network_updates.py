"""`trial.network` and the notes on Wi-Fi and interrupts, held against apps that do right and apps that do not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fixtures.updates import update_authority
from rig.boards.board import NetworkAccess
from rig.errors import BenchFault, FirmwareFault, Inconclusive, NotApplicable
from rig.evidence.kept import MEASURED, Kept
from rig.updates.agent import AgentError
from rig.updates.agent_url import UrlOptions
from rig.updates.server import UpdateServer
from rig.virtual import agent as virtual_agent
from rig.virtual import network_commands
from rig.virtual.command import Reply
from tests.qualification import test_notes as notes

__all__ = ["update_authority"]

APP = "app.bin"


@pytest.fixture
def update_server(update_authority):
    with UpdateServer(tls=update_authority.server_certificate(hosts=["127.0.0.1"])) as server:
        yield server


def with_board(trial, **facts):
    """The same trial on a board with other facts."""
    trial.network._board = trial.board = dataclasses.replace(trial.board, **facts)
    return trial


def started(trial, server, authority):
    server.offer(APP, trial.image_of("network", "2.0.0"))
    trial.install("network")
    trial.boot()
    trial.network.connect(authority.pem)
    return server.url(APP)


# --- the link and the answers ----------------------------------------------------------------------------------------


def test_a_board_without_network_is_not_applicable_with_its_reason(trial):
    with_board(trial, network=None, missing={"network": "nobody ran a cable"})
    with pytest.raises(NotApplicable, match="nobody ran a cable"):
        _ = trial.network.variant


def test_a_board_that_gets_no_address_is_the_benchs_fault(trial, monkeypatch):
    monkeypatch.setattr(network_commands, "network_of", lambda cpu: None)
    trial.install("network")
    trial.boot()
    with pytest.raises(BenchFault, match=r"no address: ethernet, link down[\s\S]*rig\.toml"):
        trial.network.connect()


def test_an_app_without_network_is_not_applicable(trial):
    trial.install("rollback")
    trial.boot()
    with pytest.raises(NotApplicable, match="does not update over the network"):
        trial.network.connect()


def test_the_access_point_is_told_to_the_board(trial, monkeypatch):
    asked = []
    real = network_commands.net

    def net(device, args):
        asked.append(dict(args))
        return real(device, args)

    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "net", net)
    with_board(trial, network=NetworkAccess("127.0.0.1", "127.0.0.1", ssid="house", password="secret"))
    trial.install("network")
    trial.boot()
    trial.network.connect()
    assert (asked[0]["ssid"], asked[0]["password"]) == ("house", "secret")
    assert int(asked[0]["time"]) > 1_700_000_000


def test_a_key_and_certificates_reach_an_app_that_takes_them(trial, update_authority):
    trial.install("pre_encrypted")
    trial.boot()
    trial.network.connect(update_authority.pem, key=b"-----BEGIN PRIVATE KEY-----\n")
    # both are there, so the server is what it fails at
    assert trial.network.download_error("https://127.0.0.1:1/x", b"") == "ESP_ERR_HTTP_CONNECT"


def test_patience_is_the_boards_clock_unless_the_test_says_otherwise(trial):
    network = with_board(trial, clock_rate=1.0).network
    assert network._patient(UrlOptions()).timeout == 20
    network = with_board(trial, clock_rate=20.0).network
    assert network._patient(UrlOptions()).timeout == 100
    network = with_board(trial, clock_rate=60.0).network
    assert network._patient(UrlOptions()).timeout == 120
    assert network._patient(UrlOptions(timeout=3)).timeout == 3


def test_a_download_tells_where_it_went(trial, update_server, update_authority):
    url = started(trial, update_server, update_authority)
    done = trial.network.download(url, "2.0.0")
    assert (done.slot, done.boot, done.length) == ("ota_1", "ota_1", len(trial.image_of("network", "2.0.0")))
    trial.finish()


@pytest.mark.parametrize("field", ["boot", "length"])
def test_an_app_that_tells_something_else_fails(trial, update_server, update_authority, monkeypatch, field):
    url = started(trial, update_server, update_authority)
    real = network_commands.update_url

    def update_url(device, args):
        fields = real(device, args).fields
        wrong = {"boot": "ota_0", "length": "1024"}
        return Reply(fields | {field: wrong[field]})

    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "update_url", update_url)
    with pytest.raises(FirmwareFault, match="the app says it has written"):
        trial.network.download(url, "2.0.0")


def test_a_failed_download_is_raised_or_told(trial, update_server, update_authority):
    url = started(trial, update_server, update_authority) + "x"
    with pytest.raises(AgentError, match="404"):
        trial.network.download(url, "2.0.0")
    assert trial.network.failed_download(url, "2.0.0") == ("ESP_FAIL", None)
    trial.finish()


def test_a_server_that_was_not_reached_says_nothing_of_the_firmware(trial, update_server, update_authority):
    url = started(trial, update_server, update_authority)
    update_server.stop()
    with pytest.raises(Inconclusive, match=r"could not connect to https[\s\S]*firewall"):
        trial.network.download(url, "2.0.0")
    assert trial.network.download_error(url, "2.0.0") == "ESP_ERR_HTTP_CONNECT"
    trial.finish()


# --- the notes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_wifi(trial, monkeypatch):
    """An app whose Ethernet passes for Wi-Fi; its mode of power save is `session["power_save"]`, at first `min`."""

    def mode(device):
        return device.session.setdefault("power_save", "min")

    def net(device, args):
        return Reply(network_commands.net(device, args).fields | {"kind": "wifi", "power_save": mode(device)})

    def update_url(device, args):
        before = mode(device)
        if args.get("power_save") != "keep":
            set_mode(device, "none", f"was {before}")
        try:
            return Reply(network_commands.update_url(device, args).fields | {"power_save": mode(device)})
        finally:
            if args.get("power_save") != "keep":
                set_mode(device, before, "as before")

    def set_mode(device, mode, why):
        device.session["power_save"] = mode
        device.ota.log.info("rig_network", f"power save {mode} ({why})")

    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "net", net)
    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "update_url", update_url)
    return trial


def updating(trial, server, authority):
    url = started(trial, server, authority)
    return trial, url, "min"


@pytest.mark.parametrize("fault", [None, "disconnect@50%"])
def test_an_app_that_stays_awake_during_updates_passes(with_wifi, update_server, update_authority, fault):
    notes.test_wifi_does_not_sleep_during_an_update(
        updating(with_wifi, update_server, update_authority), update_server, fault
    )


def test_throughput_is_kept_with_the_evidence(with_wifi, update_server, update_authority):
    notes.test_throughput_with_and_without_power_save(
        updating(with_wifi, update_server, update_authority), update_server
    )
    fields = with_wifi.record()
    assert MEASURED in fields["evidence"]
    measured = json.loads((with_wifi.folder / MEASURED).read_text())
    assert set(measured) == {"bytes_per_second_without_power_save", "bytes_per_second_with_power_save"}
    assert all(value > 0 for value in measured.values())


@pytest.mark.parametrize("fault", ["sleeps on", "never sleeps again", "says nothing"])
def test_an_app_that_sleeps_or_says_nothing_fails(with_wifi, update_server, update_authority, monkeypatch, fault):
    prepared = updating(with_wifi, update_server, update_authority)
    awake = virtual_agent.OPTIONAL_COMMANDS["update_url"]

    def update_url(device, args):
        if fault == "sleeps on":
            return awake(device, {**args, "power_save": "keep"})
        if fault == "says nothing":
            monkeypatch.setattr(type(device.ota.log), "info", lambda *_: None)
        reply = awake(device, args)
        if fault == "never sleeps again":
            device.session["power_save"] = "none"
        return reply

    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "update_url", update_url)
    with pytest.raises(AssertionError):
        notes.test_wifi_does_not_sleep_during_an_update(prepared, update_server, None)


@pytest.mark.parametrize(
    ("iram", "flash", "limits", "fails"),
    [
        (110, 48_211, {"iram_us": 110, "flash_us": 50_000}, None),
        (111, 48_211, {"iram_us": 110}, "limit of 110 us"),
        (110, 50_001, {"flash_us": 50_000}, "limit of 50000 us"),
        (110, 900, {}, "was nothing erased"),
    ],
)
def test_gaps_are_held_to_the_limits_of_the_board(trial, monkeypatch, iram, flash, limits, fails):
    measured = {"iram_us": iram, "flash_us": flash, "iram_count": 9, "flash_count": 8, "period_us": 100}
    fields = {name: str(number) for name, number in measured.items()}
    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "gap_begin", lambda device, args: Reply({"period_us": "100"}))
    monkeypatch.setitem(virtual_agent.OPTIONAL_COMMANDS, "gap_end", lambda device, args: Reply(fields))
    with_board(trial, interrupt_gap_limits=limits)
    if fails is None:
        notes.test_interrupts_outside_iram_wait_for_the_flash(trial)
    else:
        with pytest.raises(AssertionError, match=fails):
            notes.test_interrupts_outside_iram_wait_for_the_flash(trial)
    trial.record()
    kept = json.loads((trial.folder / MEASURED).read_text())
    assert kept == {"longest_gap_iram_us": iram, "longest_gap_flash_us": flash}


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_files_and_numbers_are_written_when_there_are_any(tmp_path):
    kept = Kept()
    assert kept.write(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
    kept.file("server.txt", lambda folder: (folder / "server.txt").write_text("served"))
    kept.measure("bytes_per_second", 5.5)
    assert kept.write(tmp_path) == ("server.txt", MEASURED)
    assert (tmp_path / "server.txt").read_text() == "served"
    assert json.loads((tmp_path / MEASURED).read_text()) == {"bytes_per_second": 5.5}
