"""Downloads that go on where they were broken off, in ranges, and what the app keeps in NVS for that."""

from __future__ import annotations

import pytest

from rig.idf.effects import SECTOR_SIZE, Erase
from rig.protocol import Line, encode_line
from rig.updates.agent_url import UrlOptions
from rig.updates.faults import parse_fault
from rig.updates.server import UpdateServer
from rig.updates.uart import transfer_image
from rig.virtual.nvs import Nvs
from rig.virtual.resumption import STEP, forget, keep, kept
from rig.virtual.tap import Cut
from tests.rig.device import PATIENCE_S, Device, FakeFlash, app, make_device, small_app
from tests.rig.downloads import NVS, SLOT, Answers, Makes, failure, recorded, server, started, within

__all__ = ["make_device", "server"]

RESUME = UrlOptions(resume=True)
PLAIN = UrlOptions()


def broken_off(device: Device, server: UpdateServer, share: int = 60) -> int:
    """A download that ends early; bytes in the slot."""
    server.inject(parse_fault(f"disconnect@{share}%"), times=1)
    error, offset = failure(device, server.url("app.bin"), RESUME)
    assert error == "ESP_FAIL"
    assert offset is not None
    return offset


def asked_from(server: UpdateServer) -> str | None:
    return server.served[-1].range


@pytest.mark.parametrize("idf", ["v5.5", "v6.0", "v6.1"])
def test_a_download_goes_on_at_the_last_whole_sector(make_device: Makes, server: UpdateServer, idf: str) -> None:
    image = app("network", "2.0.0", idf=idf)
    server.offer("app.bin", image)
    device = started(make_device, idf=idf)
    whole = broken_off(device, server) // STEP * STEP
    with recorded(device) as mutations:
        device.agent.update_url(server.url("app.bin"), RESUME)
    assert asked_from(server) == f"bytes={whole}-"
    # what was written behind it is erased once more
    assert within(mutations, SLOT)[0] == Erase(SLOT[0] + whole)
    assert device.chip.flash.read(SLOT[0], len(image)) == image


def test_a_power_cut_in_a_sector_costs_that_sector_only(make_device: Makes, server: UpdateServer) -> None:
    device = started(make_device)
    device.chip.tap.arm(Cut("program", SLOT[0] + 5 * SECTOR_SIZE, SLOT[1], nth=7, phase="torn"))
    device.write(encode_line(Line(1, "update_url", {"url": server.url("app.bin"), "resume": "1"})))
    assert device.chip.wait_power_lost(PATIENCE_S)
    device.start()
    device.agent.network()
    device.agent.update_url(server.url("app.bin"), RESUME)
    assert asked_from(server) == f"bytes={5 * SECTOR_SIZE}-"
    image = app("network", "2.0.0")
    assert device.chip.flash.read(SLOT[0], len(image)) == image


@pytest.mark.parametrize("idf", ["v4.4", "v5.1"])
def test_before_v5_5_nothing_can_be_resumed(make_device: Makes, server: UpdateServer, idf: str) -> None:
    device = started(make_device, idf=idf)
    assert failure(device, server.url("app.bin"), RESUME) == ("ESP_ERR_NOT_SUPPORTED", None)


def test_a_server_that_knows_no_ranges_is_asked_once_more_for_all(make_device: Makes) -> None:
    image = app("network", "2.0.0")
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(image) + image
    answers = Answers(whole, whole)
    device = started(make_device)
    assert device.agent.update_url(answers.url, RESUME).length == len(image)
    assert [b"Range: bytes=0-" in asked for asked in answers.asked] == [True, False]
    answers.close()


def test_a_download_that_is_over_is_not_gone_on_with(make_device: Makes, server: UpdateServer) -> None:
    device = started(make_device)
    broken_off(device, server)
    device.agent.update_url(server.url("app.bin"), RESUME)
    device.agent.update_url(server.url("app.bin"), RESUME)
    assert asked_from(server) == "bytes=0-"


@pytest.mark.parametrize("what", ["another download", "an update by cable", "another choice"])
def test_what_comes_between_makes_it_begin_anew(make_device: Makes, server: UpdateServer, what: str) -> None:
    device = started(make_device)
    broken_off(device, server)
    match what:
        case "another download":
            server.inject(parse_fault("disconnect@60%"), times=1)
            failure(device, server.url("app.bin"), PLAIN)
        case "an update by cable":
            transfer_image(device.agent, small_app("3.0.0"))
            device.agent.update_end()
        case _:
            device.agent.set_boot("ota_0")
    device.agent.update_url(server.url("app.bin"), RESUME)
    assert asked_from(server) == "bytes=0-"


def test_another_file_is_downloaded_from_its_beginning(make_device: Makes, server: UpdateServer) -> None:
    device = started(make_device)
    broken_off(device, server)
    server.offer("other.bin", app("network", "3.0.0"))
    device.agent.update_url(server.url("other.bin"), RESUME)
    assert asked_from(server) == "bytes=0-"


def test_an_app_on_probation_resumes_nothing_although_esp_ota_resume_would(
    make_device: Makes, server: UpdateServer
) -> None:
    device = started(make_device)
    device.agent.set_diagnostics("manual")
    device.agent.update_url(server.url("app.bin"))
    device.agent.reboot()
    device.agent.wait_ready(PATIENCE_S)
    device.agent.network()
    server.offer("app.bin", app("network", "3.0.0"))
    with recorded(device) as mutations:
        error = failure(device, server.url("app.bin"), RESUME)
    assert error == ("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", None)
    assert within(mutations, SLOT) == []
    assert server.served[-1].range is None, "it asked the server although it could not take what came"


def test_only_a_download_that_may_be_resumed_writes_nvs(make_device: Makes, server: UpdateServer) -> None:
    device = started(make_device)
    with recorded(device) as mutations:
        device.agent.update_url(server.url("app.bin"))
    assert within(mutations, NVS) == []
    with recorded(device) as mutations:
        device.agent.update_url(server.url("app.bin"), RESUME)
    # one record a sector, and one that ends it
    assert len(within(mutations, NVS)) == len(app("network", "2.0.0")) // STEP + 1


# --- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("idf", ["v5.1", "v5.5", "v6.0"])
@pytest.mark.parametrize("size", [1024, 10000, 1 << 20])
def test_ranges_make_up_the_image(make_device: Makes, server: UpdateServer, idf: str, size: int) -> None:
    image = app("network", "2.0.0", idf=idf)
    server.offer("app.bin", image)
    device = started(make_device, idf=idf)
    assert device.agent.update_url(server.url("app.bin"), UrlOptions(request_size=size)).length == len(image)
    assert device.chip.flash.read(SLOT[0], len(image)) == image
    assert [served.method for served in server.served][:2] == ["HEAD", "GET"]
    assert len(server.served) == 1 + -(-len(image) // size)


def test_a_range_that_fails_ends_the_update(make_device: Makes, server: UpdateServer) -> None:
    server.inject(parse_fault("status=500"), after=3)
    seen = failure(started(make_device), server.url("app.bin"), UrlOptions(request_size=8192))
    assert seen == ("ESP_FAIL", 2 * 8192)


@pytest.mark.parametrize(("idf", "length"), [("v5.5", None), ("v6.0", 41328)])
def test_a_server_without_head_is_asked_for_one_byte_from_v6_0_on(
    make_device: Makes, idf: str, length: int | None
) -> None:
    image = app("network", "2.0.0", idf=idf)
    no_head = b"HTTP/1.1 405 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    byte = b"HTTP/1.1 206 x\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/%d\r\n\r\n" % len(image) + image[:1]
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(image) + image
    answers = Answers(no_head, byte, rest)
    device = started(make_device, idf=idf)
    if length is None:
        assert failure(device, answers.url, UrlOptions(request_size=1 << 20)) == ("ESP_FAIL", None)
    else:
        assert device.agent.update_url(answers.url, UrlOptions(request_size=1 << 20)).length == len(image)
    answers.close()


# --- the record ------------------------------------------------------------------------------------------------------


def test_the_record_belongs_to_its_url_and_its_slot() -> None:
    nvs = Nvs(FakeFlash(0x4000), 0, 0x4000)
    assert kept(nvs, "http://a/b", "ota_1") == 0
    keep(nvs, "http://a/b", "ota_1", 8192)
    assert kept(nvs, "http://a/b", "ota_1") == 8192
    assert kept(nvs, "http://a/c", "ota_1") == kept(nvs, "http://a/b", "ota_0") == kept(nvs, "http://a/b", None) == 0
    forget(nvs)
    assert kept(nvs, "http://a/b", "ota_1") == 0


def test_without_nvs_nothing_is_kept() -> None:
    keep(None, "http://a/b", "ota_1", 8192)
    forget(None)
    assert kept(None, "http://a/b", "ota_1") == 0


def test_the_record_goes_when_the_server_does_not_go_on(make_device: Makes, server: UpdateServer) -> None:
    """Else power lost in the second attempt would leave it over a slot that holds new bytes at its start."""
    image = app("network", "2.0.0")
    part = b"HTTP/1.1 206 x\r\nContent-Length: %d\r\n\r\n" % len(image) + image[:20000]
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(image)
    answers = Answers(part, whole, whole + image[:2000], part[:-1])
    device = started(make_device)
    assert failure(device, answers.url, RESUME) == ("ESP_FAIL", 20000)
    assert failure(device, answers.url, RESUME) == ("ESP_FAIL", 2048 - 48)
    failure(device, answers.url, RESUME)
    assert b"Range: bytes=0-\r\n" in answers.asked[-1]
    answers.close()
