"""What is found must not depend on how much the bootloader says."""

import pytest

from tests.qualification.states import entry

requirement = pytest.mark.requirement


@requirement(
    "LOG-01", "A rollback is found and judged the same whether the bootloader logs at DEBUG, at INFO or at WARN."
)
@pytest.mark.parametrize("variant", ["rollback_debug", "rollback", "rollback_quiet"])
def test_rollback_at_each_log_level(trial, variant):
    trial.install(variant)
    trial.boot()
    trial.diagnostics("panic")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "VALID", "bootloader"),
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "ABORTED", "bootloader"),
    ]
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))
