"""The notes on flash and interrupts: what stands still while the flash cache is off."""

import pytest

requirement = pytest.mark.requirement
needs = pytest.mark.needs

SECTOR_ERASE_US = 1_000
"""Data sheets of NOR flash give 20 ms and more for a sector; so much is left for a chip that is far better."""


@needs("interrupt_latency")
@requirement(
    "NOTE-02", "Interrupts that are not in IRAM wait while the flash cache is off; the longest gap is measured."
)
def test_interrupts_outside_iram_wait_for_the_flash(trial):
    trial.install("gap_probe")
    trial.boot()
    trial.agent.begin_gap_probe()
    trial.update("2.0.0")
    gaps = trial.agent.end_gap_probe()
    trial.finish()
    assert gaps.flash_us > SECTOR_ERASE_US, "the probe in flash never waited: was nothing erased?"
    assert gaps.iram_us < gaps.flash_us
