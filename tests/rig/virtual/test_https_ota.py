"""What the virtual board's app writes while it downloads: in which order, with which errors, leaving what."""

from __future__ import annotations

import itertools

import pytest

from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.updates.agent_url import UrlOptions, UrlUpdate
from rig.updates.faults import parse_fault
from rig.updates.server import UpdateServer
from rig.virtual.ota import Ota
from tests.rig.device import PATIENCE_S, app, make_device
from tests.rig.downloads import OTADATA, SLOT, Makes, failure, recorded, server, started, within

__all__ = ["make_device", "server"]

FAMILIES = ("v4.4", "v5.1", "v5.5", "v6.0", "v6.1")


@pytest.mark.parametrize("idf", FAMILIES)
def test_an_update_is_downloaded_verified_and_chosen(make_device: Makes, server: UpdateServer, idf: str) -> None:
    device = started(make_device, idf=idf)
    image = app("network", "2.0.0", idf=idf)
    server.offer("app.bin", image)
    done = device.agent.update_url(server.url("app.bin"))
    assert done == UrlUpdate("ota_1", SLOT[0], len(image), "ota_1", None)
    assert device.chip.flash.read(SLOT[0], len(image)) == image
    device.agent.reboot()
    assert device.agent.wait_event("start", PATIENCE_S).fields["version"] == "2.0.0"


def test_each_sector_is_erased_just_before_its_first_byte_is_written(make_device: Makes, server: UpdateServer) -> None:
    device = started(make_device)
    with recorded(device) as mutations:
        device.agent.update_url(server.url("app.bin"))
    slot = within(mutations, SLOT)
    erased = [mutation.offset for mutation in slot if isinstance(mutation, Erase)]
    length = len(app("network", "2.0.0"))
    assert erased == list(range(SLOT[0], SLOT[0] + length, SECTOR_SIZE))
    for before, after in itertools.pairwise(slot):
        if isinstance(after, Program) and after.offset in erased:
            assert before == Erase(after.offset)
        if isinstance(before, Erase) and isinstance(after, Program):
            assert before.offset - after.offset <= SECTOR_SIZE
    # chosen last
    assert within(mutations[-2:], OTADATA) == mutations[-2:]


@pytest.mark.parametrize("fault", ["html", "other-project", "status=503", "truncate@1000", "replay"])
def test_nothing_is_written_when_the_header_or_the_server_is_wrong(
    make_device: Makes, server: UpdateServer, fault: str
) -> None:
    device = started(make_device)
    server.offer("app.bin", app("network", "1.0.0"))
    server.offer("app.bin", app("network", "3.0.0"))
    server.inject(parse_fault(fault))
    with recorded(device) as mutations:
        _, offset = failure(device, server.url("app.bin"))
    assert (offset, mutations) == (None, [])


@pytest.mark.parametrize(("idf", "erased"), [("v5.1", 0), ("v5.5", 1), ("v6.1", 1)])
def test_the_chip_is_looked_at_after_the_update_was_opened_and_before_it_is_written(
    make_device: Makes, server: UpdateServer, idf: str, erased: int
) -> None:
    device = started(make_device, idf=idf)
    device.agent.update_url(server.url("app.bin"))
    device.agent.set_boot("ota_0")
    server.inject(parse_fault("other-chip"))
    with recorded(device) as mutations:
        assert failure(device, server.url("app.bin")) == ("ESP_ERR_INVALID_VERSION", 0)
    # esp_ota_begin erases the inactive entry, from v5.5 on
    assert len(mutations) == erased == len(within(mutations, OTADATA))
    assert any("Mismatch chip id, expected 5, found " in line for line in device.lines())


def test_an_app_for_a_later_revision_of_the_chip_is_refused(make_device: Makes, server: UpdateServer) -> None:
    image = bytearray(app("network", "2.0.0"))
    image[15:17] = (999).to_bytes(2, "little")
    server.offer("app.bin", bytes(image))
    assert failure(started(make_device), server.url("app.bin")) == ("ESP_ERR_INVALID_VERSION", 0)


def test_without_the_check_the_magic_is_looked_at_by_the_first_write(make_device: Makes, server: UpdateServer) -> None:
    # 1024 bytes of a page whose chip id is that of esp32c3
    page = b"<!doctype ht" + (5).to_bytes(2, "little") + bytes(1100)
    server.offer("page", page)
    device = started(make_device)
    seen = failure(device, server.url("page"), UrlOptions(check="none"))
    assert seen == ("ESP_ERR_OTA_VALIDATE_FAILED", 0)


def test_an_image_bigger_than_the_slot_is_refused_where_the_slot_ends(make_device: Makes, server: UpdateServer) -> None:
    server.offer("app.bin", app("network", "2.0.0").ljust(SLOT[1] - SLOT[0] + 1, b"\0"))
    assert failure(started(make_device), server.url("app.bin")) == ("ESP_ERR_INVALID_SIZE", SLOT[1] - SLOT[0])


def test_an_app_that_was_not_chosen_is_no_update(
    make_device: Makes, server: UpdateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ota, "set_boot", lambda self, slot: "ESP_OK")
    error, offset = failure(started(make_device), server.url("app.bin"))
    assert (error, offset) == ("ESP_FAIL", len(app("network", "2.0.0")))
