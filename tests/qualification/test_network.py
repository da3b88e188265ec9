"""Updates over the network: what arrives, what is refused, and what a download that breaks off leaves behind."""

import threading
import urllib.request

import pytest

from rig.updates.agent_url import UrlOptions
from rig.updates.faults import parse_fault
from tests.qualification.states import entry

requirement = pytest.mark.requirement
needs = pytest.mark.needs
pytestmark = needs("network")

APP = "app.bin"
BEFORE = (entry(3, "VALID"), entry(2, "VALID"))
"""ota_0 runs; ota_1 holds what ran before it."""

BY_NETWORK = "NET-01", "An update over HTTP or HTTPS goes the way of any other: NEW, PENDING_VERIFY, VALID."
BREAKS_OFF = (
    "NET-05",
    "A download that breaks off leaves the running app and its otadata as they were; the same update then succeeds.",
)
NO_NEW_VERSION = "NET-09", "What is no new version of this app is refused by its header, before anything is erased."
GOES_ON = "NET-13", "A download goes on where a lost connection or lost power broke it off, and is whole in the end."


def start(trial, authority=b"", version="2.0.0"):
    """An app in ota_0 that has an address and trusts `authority`; ota_1 holds the version before."""
    trial.install(trial.network.variant, version=version, otadata=BEFORE, slots={"ota_1": "1.0.0"})
    trial.boot()
    trial.network.connect(authority)


def url(trial, server):
    return server.url(APP, trial.network.access.host)


def offer(trial, server, version="3.0.0"):
    image = trial.image_of(trial.network.variant, version)
    server.offer(APP, image)
    return image


@pytest.fixture
def updating(trial, plain_update_server):
    """A running app and a server, over HTTP, that has version 3.0.0 for it."""
    offer(trial, plain_update_server)
    start(trial)
    return trial, plain_update_server


@pytest.fixture
def updating_safely(trial, update_server, update_authority):
    """The same over HTTPS."""
    offer(trial, update_server)
    start(trial, update_authority.pem)
    return trial, update_server


def demand_old_app(trial, trace):
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata[0] == entry(3, "VALID")


# --- updates that succeed --------------------------------------------------------------------------------------------


@requirement(*BY_NETWORK)
def test_an_update_over_http(updating):
    trial, server = updating
    trial.network.download(url(trial, server), "3.0.0")
    started = trial.restart()
    assert (started.slot, started.version) == ("ota_1", "3.0.0")
    assert trial.slot_image("ota_0") == "ok", "the download wrote into the slot that ran"
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_1", "VALID", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]
    assert trace.otadata == (entry(3, "VALID"), entry(4, "VALID"))


@requirement(*BY_NETWORK)
def test_an_update_over_https(updating_safely):
    trial, server = updating_safely
    trial.network.download(url(trial, server), "3.0.0")
    started = trial.restart()
    assert (started.slot, started.version) == ("ota_1", "3.0.0")
    trace = trial.finish()
    assert trace.otadata == (entry(3, "VALID"), entry(4, "VALID"))
    assert trial.changed_below(trial.offset("ota_0")) == {"nvs", "otadata"}


@requirement("NET-02", "Redirections are followed, ten of them at most.")
def test_redirections(updating):
    trial, server = updating
    server.inject(parse_fault("redirect-loop"), times=21)
    assert trial.network.failed_download(url(trial, server), "3.0.0") == ("ESP_ERR_HTTP_MAX_REDIRECT", None)
    trial.network.download(url(trial, server), "3.0.0")
    trial.finish()


@requirement("NET-03", "An image may come in ranges, in chunks or without a length.")
@pytest.mark.parametrize(
    ("fault", "options"),
    [(None, UrlOptions(request_size=16384)), ("chunked", UrlOptions()), ("length=none", UrlOptions())],
    ids=["ranges", "chunks", "without length"],
)
def test_other_ways_to_transfer(updating, fault, options):
    trial, server = updating
    if fault is not None:
        server.inject(parse_fault(fault))
    trial.network.download(url(trial, server), "3.0.0", options)
    assert trial.restart().version == "3.0.0"
    trial.finish()
    if options.request_size is not None:
        assert len([served for served in server.served if served.status == 206]) > 1


@requirement("NET-04", "A server busy with two clients at once delivers the whole image to both.")
def test_two_clients_at_once(updating):
    trial, server = updating
    image = trial.image_of(trial.network.variant, "3.0.0")
    got = []
    other = threading.Thread(target=lambda: got.append(urllib.request.urlopen(server.url(APP), timeout=60).read()))
    server.inject(parse_fault("together=2"), times=2)
    other.start()
    trial.network.download(url(trial, server), "3.0.0")
    other.join()
    assert got == [image]
    assert trial.restart().version == "3.0.0"
    trial.finish()


# --- downloads that break off ----------------------------------------------------------------------------------------


@requirement(*BREAKS_OFF)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("disconnect@90%", "ESP_FAIL"),
        ("reset@50%", "ESP_FAIL"),
        ("stall@50%", "ESP_ERR_TIMEOUT"),
        ("length+1000", "ESP_FAIL"),
        ("truncate@50%", "ESP_ERR_OTA_VALIDATE_FAILED"),
    ],
)
def test_a_download_that_breaks_off(updating, fault, error):
    trial, server = updating
    server.inject(parse_fault(fault), times=1)
    seen, came = trial.network.failed_download(url(trial, server), "3.0.0")
    assert seen == error
    assert came is not None
    trial.reset()
    trial.network.connect()
    trial.network.download(url(trial, server), "3.0.0")
    assert trial.restart().version == "3.0.0"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]
    assert trace.otadata == (entry(3, "VALID"), entry(4, "VALID"))


@requirement(*BREAKS_OFF)
def test_a_changed_byte_is_found_at_the_end(updating):
    trial, server = updating
    image = bytearray(trial.image_of(trial.network.variant, "3.0.0"))
    image[0x2000] ^= 0xFF
    server.inject(parse_fault("flip@0x2000"))
    assert trial.network.download_error(url(trial, server), bytes(image)) == "ESP_ERR_OTA_VALIDATE_FAILED"
    trial.reset()
    trace = trial.finish()
    demand_old_app(trial, trace)


@requirement("NET-06", "Power lost in a download leaves the running app; the same update then succeeds.")
@needs("power_cut", "flash_mutations")
@pytest.mark.parametrize(("kind", "nth", "phase"), [("erase", 1, "before"), ("program", 40, "torn")])
def test_power_lost_in_a_download(updating, kind, nth, phase):
    trial, server = updating
    with trial.power_lost_at("ota_1", kind=kind, nth=nth, phase=phase):
        trial.network.download(url(trial, server), "3.0.0")
    trial.power_on()
    trial.network.connect()
    trial.network.download(url(trial, server), "3.0.0")
    assert trial.restart().version == "3.0.0"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]


# --- refused before anything is erased -------------------------------------------------------------------------------


def demand_untouched(trial, server, image, error):
    """The download is refused, neither slot nor otadata were touched, and it was the server's fault: a good one is not."""
    slot = trial.slot_hash("ota_1")
    assert trial.network.failed_download(url(trial, server), image) == (error, None)
    assert trial.slot_hash("ota_1") == slot
    assert trial.agent.otadata().entries == BEFORE
    asked = tuple(server.served)
    server.clear_faults()
    offer(trial, server, "3.0.0")
    trial.network.download(url(trial, server), "3.0.0")
    assert trial.restart().version == "3.0.0"
    trial.finish()
    return asked


@requirement("NET-07", "A server that refuses or delivers nothing is given up before anything is erased.")
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("status=404", "ESP_FAIL"),
        # Retry-After is not heeded by esp_https_ota: when to come back is up to the app
        ("status=503,retry-after=3600", "ESP_FAIL"),
        ("truncate@0", "ESP_FAIL"),
    ],
)
def test_a_server_that_does_not_deliver(updating, fault, error):
    trial, server = updating
    server.inject(parse_fault(fault))
    demand_untouched(trial, server, "3.0.0", error)


@requirement("NET-08", "A server that cannot prove who it is gets no further: nothing is erased, whatever it offers.")
@pytest.mark.parametrize(
    "fault", ["unknown-authority", "wrong-host-certificate", "expired-certificate", "tls-downgrade"]
)
def test_a_server_that_is_not_the_right_one(updating_safely, fault):
    trial, server = updating_safely
    server.inject(parse_fault(fault))
    asked = demand_untouched(trial, server, "3.0.0", "ESP_ERR_HTTP_CONNECT")
    assert {served.path for served in asked} <= {""}, "it was asked for a file although it was refused"


@requirement(*NO_NEW_VERSION)
@pytest.mark.parametrize(("fault", "error"), [("html", "ESP_FAIL"), ("other-project", "ESP_ERR_INVALID_VERSION")])
def test_a_wrong_file(updating, fault, error):
    trial, server = updating
    server.inject(parse_fault(fault))
    demand_untouched(trial, server, "3.0.0", error)


@requirement(*NO_NEW_VERSION)
def test_the_version_that_runs(updating):
    trial, server = updating
    offer(trial, server, "2.0.0")
    demand_untouched(trial, server, "2.0.0", "ESP_ERR_INVALID_VERSION")


@requirement(*NO_NEW_VERSION)
def test_the_version_that_has_failed(trial, plain_update_server):
    server = plain_update_server
    offer(trial, server, "3.0.0")
    failed = (entry(3, "VALID"), entry(4, "INVALID"))
    trial.install(trial.network.variant, otadata=failed, slots={"ota_1": "3.0.0"})
    trial.boot()
    trial.network.connect()
    slot = trial.slot_hash("ota_1")
    assert trial.network.failed_download(url(trial, server), "3.0.0") == ("ESP_ERR_INVALID_VERSION", None)
    assert trial.slot_hash("ota_1") == slot
    trace = trial.finish()
    assert trace.otadata == failed


@requirement("NET-10", "An app for another chip is refused before it is written.")
def test_an_app_for_another_chip(updating):
    trial, server = updating
    server.inject(parse_fault("other-chip"))
    assert trial.network.failed_download(url(trial, server), "3.0.0") == ("ESP_ERR_INVALID_VERSION", 0)
    assert trial.slot_image("ota_1") == "ok"
    trial.reset()
    demand_old_app(trial, trial.finish())


@requirement(
    "NET-11", "An old image replayed at the new one's URL is refused if it is the one that runs; an older one is not."
)
@pytest.mark.parametrize(
    ("replayed", "seen"), [("2.0.0", ("ESP_ERR_INVALID_VERSION", None)), ("1.0.0", None)], ids=["running", "older"]
)
def test_a_replayed_image(trial, plain_update_server, replayed, seen):
    server = plain_update_server
    old = offer(trial, server, replayed)
    offer(trial, server, "3.0.0")
    server.inject(parse_fault("replay"))
    start(trial)
    if seen is not None:
        assert trial.network.failed_download(url(trial, server), old) == seen
    else:
        # what stops it is anti-rollback, by the secure version
        trial.network.download(url(trial, server), old)
        assert trial.restart().version == replayed
    trial.finish()


@requirement("NET-12", "While an app is PENDING_VERIFY a download is refused before anything is erased.")
@pytest.mark.parametrize("options", [UrlOptions(), UrlOptions(resume=True)], ids=["from the start", "resumed"])
def test_a_download_is_refused_while_pending(updating, options):
    trial, server = updating
    trial.diagnostics("manual")
    trial.network.download(url(trial, server), "3.0.0")
    trial.restart()
    trial.network.connect()
    offer(trial, server, "4.0.0")
    before = trial.slot_hash("ota_0")
    error = _supported(trial.network.failed_download(url(trial, server), "4.0.0", options), options)
    assert error == ("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", None)
    assert trial.slot_hash("ota_0") == before
    trial.confirm()
    trace = trial.finish()
    assert trace.otadata == (entry(3, "VALID"), entry(4, "VALID"))


# --- resumption ------------------------------------------------------------------------------------------------------

RESUME = UrlOptions(resume=True)


def _supported(result, options):
    if options.resume and result == ("ESP_ERR_NOT_SUPPORTED", None):
        pytest.skip("this ESP-IDF cannot resume a download: esp_ota_resume came with v5.5")
    return result


def resumed_from(server):
    """Where the last download began, in bytes of the image."""
    return int(server.served[-1].range.removeprefix("bytes=").rstrip("-"))


@requirement(*GOES_ON)
def test_resumption_after_a_lost_connection(updating):
    trial, server = updating
    server.inject(parse_fault("disconnect@60%"), times=1)
    error, came = _supported(trial.network.failed_download(url(trial, server), "3.0.0", RESUME), RESUME)
    assert error == "ESP_FAIL"
    trial.network.download(url(trial, server), "3.0.0", RESUME)
    assert 0 < resumed_from(server) <= came
    assert trial.restart().version == "3.0.0"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]


@requirement(*GOES_ON)
@needs("power_cut", "flash_mutations")
def test_resumption_after_lost_power(updating):
    trial, server = updating
    server.inject(parse_fault("disconnect@30%"), times=1)
    error, _ = _supported(trial.network.failed_download(url(trial, server), "3.0.0", RESUME), RESUME)
    assert error == "ESP_FAIL"
    with trial.power_lost_at("ota_1", kind="program", nth=3, phase="torn"):
        trial.network.download(url(trial, server), "3.0.0", RESUME)
    trial.power_on()
    trial.network.connect()
    trial.network.download(url(trial, server), "3.0.0", RESUME)
    assert resumed_from(server) > 0
    assert trial.restart().version == "3.0.0"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]


@requirement(
    "NET-14", "A download gone on with another file is found out at its end, and the next attempt starts anew."
)
def test_resumption_with_another_image(updating):
    trial, server = updating
    server.inject(parse_fault("disconnect@60%"), times=1)
    _supported(trial.network.failed_download(url(trial, server), "3.0.0", RESUME), RESUME)
    image = offer(trial, server, "4.0.0")
    mixed = trial.image_of(trial.network.variant, "3.0.0")
    error, came = trial.network.failed_download(url(trial, server), mixed_with(mixed, image, server), RESUME)
    assert error == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert came == len(image)
    trial.network.download(url(trial, server), "4.0.0", RESUME)
    assert trial.restart().version == "4.0.0"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]


def mixed_with(first, second, server):
    """What the slot holds when a download of `first` is gone on with by `second`; where, the device decides."""
    kept = server.served[-1].sent // 4096 * 4096
    return first[:kept] + second[kept:]
