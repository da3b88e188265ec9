"""The notes on flash, interrupts and Wi-Fi: what stands still meanwhile, and what must not be asleep."""

import pytest

from rig.updates.agent_url import UrlOptions
from rig.updates.faults import parse_fault

requirement = pytest.mark.requirement
needs = pytest.mark.needs

SECTOR_ERASE_US = 1_000
"""Data sheets of NOR flash give 20 ms and more for a sector; so much is left for a chip that is far better."""


@needs("interrupt_latency")
@requirement(
    "NOTE-02",
    "Interrupts that are not in IRAM wait while the flash cache is off; the longest gaps are measured and within the board's limits.",
)
def test_interrupts_outside_iram_wait_for_the_flash(trial):
    trial.install("gap_probe")
    trial.boot()
    trial.agent.begin_gap_probe()
    trial.update("2.0.0")
    gaps = trial.agent.end_gap_probe()
    for kind in ("iram_us", "flash_us"):
        trial.kept.measure(f"longest_gap_{kind}", getattr(gaps, kind))
    trial.finish()
    assert gaps.flash_us > SECTOR_ERASE_US, "the probe in flash never waited: was nothing erased?"
    assert gaps.iram_us < gaps.flash_us
    for kind, limit in trial.board.interrupt_gap_limits.items():
        assert getattr(gaps, kind) <= limit, f"the longest gap is over the board's limit of {limit} us ({kind})"


@pytest.fixture
def updating(trial, update_server, update_authority):
    """A running app with Wi-Fi, a server with version 2.0.0 for it, and the mode of power save before."""
    update_server.offer("app.bin", trial.image_of(trial.network.variant, "2.0.0"))
    trial.install(trial.network.variant)
    trial.boot()
    before = trial.network.connect(update_authority.pem).power_save
    assert before in ("min", "max"), "power save is off anyway, so nothing can be seen of it"
    return trial, update_server.url("app.bin", trial.network.access.host), before


@needs("network", "wifi")
@requirement(
    "NOTE-01", "Wi-Fi power save is off during an update and as before afterwards, also when the update fails."
)
@pytest.mark.parametrize("fault", [None, "disconnect@50%"], ids=["done", "failed"])
def test_wifi_does_not_sleep_during_an_update(updating, update_server, fault):
    trial, url, before = updating
    if fault is None:
        assert trial.network.download(url, "2.0.0").power_save == "none"
    else:
        update_server.inject(parse_fault(fault))
        assert trial.network.download_error(url, "2.0.0") == "ESP_FAIL"
    assert trial.network.power_saves == ["none", before]
    assert trial.agent.network().power_save == before
    trial.finish()


@needs("network", "wifi")
@requirement("NOTE-05", "The throughput of an update over Wi-Fi is measured with power save and without.")
def test_throughput_with_and_without_power_save(updating, update_server):
    trial, url, before = updating
    for mode, name in (("off", "without"), ("keep", "with")):
        done = trial.network.download(url, "2.0.0", UrlOptions(power_save=mode))
        assert done.power_save == ("none" if mode == "off" else before)
        served = update_server.served[-1]
        trial.kept.measure(f"bytes_per_second_{name}_power_save", round(served.sent / served.seconds))
    trial.finish()
