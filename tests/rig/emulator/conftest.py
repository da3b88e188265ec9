"""Emulated chips on a stand-in for QEMU, so that all of the bench's own part is tested where QEMU is not installed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.emulator.find import Qemu
from rig.emulator.machine import Machine, build_machine
from tests.rig.emulator import fake_qemu as fake

FLASH_SIZE = 0x10000
_numbers = itertools.count(1)


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
