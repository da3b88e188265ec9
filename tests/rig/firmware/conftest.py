"""The C code of the agent, compiled once for each process that runs tests."""

import pytest

from tests.rig.firmware.c_side import CSide, compile_program, compiler
from tests.rig.firmware.network_side import NetworkSide


@pytest.fixture(scope="session")
def cc():
    found = compiler()
    if found is None:
        pytest.skip("no C compiler here (cc, or CC in the environment)")
    return found


@pytest.fixture(scope="session")
def c_side(cc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness")
    with CSide(compile_program(cc, "harness", folder), folder / "errors") as running:
        yield running


@pytest.fixture(scope="session")
def pipe_device(cc, tmp_path_factory):
    """The program of a device on a pipe."""
    return compile_program(cc, "pipe_device", tmp_path_factory.mktemp("pipe_device"))


@pytest.fixture(scope="session")
def network_side(cc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network_side")
    with NetworkSide(compile_program(cc, "network_side", folder), folder / "errors") as running:
        yield running
