"""A virtual bench whose chip and firmware tests may tamper with."""

import pytest

from rig.evidence import trial as trial_module
from tests.rig.bench import virtual_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def trial(bench):
    return bench.trial()


@pytest.fixture
def impatient(monkeypatch):
    """For apps that never come up: fifty times what a start takes here is waited for them."""
    monkeypatch.setattr(trial_module, "START_TIMEOUT_S", 2.0)
