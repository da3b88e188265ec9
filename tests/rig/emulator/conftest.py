"""Emulated chips on a stand-in for QEMU, so that all of the bench's own part is tested where QEMU is not installed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.emulator.find import Qemu, find_qemu
from rig.emulator.machine import Machine, build_machine
from rig.errors import UserError
from tests.rig.emulator import fake_qemu as fake

FLASH_SIZE = 0x10000
BUILDS = "RIG_TEST_BUILDS"
CHIP = "esp32c3"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def builds() -> Path:
    """Where real firmware is, for tests on the real QEMU; skips those if one of the two is missing."""
    try:
        find_qemu(CHIP)
    except UserError as error:
        pytest.skip(f"no QEMU: {error.what.splitlines()[0]}")
    folder = os.environ.get(BUILDS)
    if folder is None:
        pytest.skip(f"{BUILDS} does not name a folder of firmware made by rig build")
    for version in ("1.0.0", "2.0.0"):
        if not (Path(folder) / CHIP / "rollback" / version).is_dir():
            pytest.skip(f"{BUILDS} has no {CHIP}/rollback/{version}")
    return Path(folder)


@pytest.fixture
def fake_qemu(tmp_path: Path) -> Qemu:
    """A program that takes QEMU's arguments."""
    return Qemu(fake.program(tmp_path), "QEMU emulator version 0.0 (fake)", "test")


@pytest.fixture
def make_machine(fake_qemu: Qemu) -> Iterator[Callable[[], Machine]]:
    made: list[Machine] = []

    def make() -> Machine:
        name = f"emulated-{os.getpid()}-{next(_numbers)}"
        made.append(build_machine(name, "esp32c3", FLASH_SIZE, fake_qemu, "instructions"))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def machine(make_machine: Callable[[], Machine]) -> Machine:
    return make_machine()
