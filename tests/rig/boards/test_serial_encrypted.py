"""A serial board whose chip is encrypted for good, its key known to the bench: here a virtual chip behind the port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.boards import serial
from rig.boards.board import Capability, powered
from rig.boards.inventory import SerialBoardSection
from rig.boards.shelf import SynthesisedShelf
from rig.errors import UserError
from rig.evidence.trial import Trial
from rig.virtual.chip import VirtualChip, build_chip
from rig.virtual.efuse_keys import burn_flash_key
from rig.virtual.firmware import run_from_flash
from rig.virtual.rfc2217 import serve
from tests.qualification.states import BLANK, entry

KEY = bytes(range(32))


@pytest.fixture
def chip() -> Iterator[VirtualChip]:
    """A chip with that key, powered."""
    chip = build_chip("encrypted", "esp32c3", run_from_flash, time_scale=200.0)
    burn_flash_key(chip.efuse, KEY)
    with chip:
        yield chip
    assert chip.firmware_errors == []


def section(key: Path | None, port: str = "rfc2217://127.0.0.1:1") -> SerialBoardSection:
    return SerialBoardSection(
        name="desk", kind="serial", chip="esp32c3", firmware="synthesised", port=port, encryption_key=key
    )


def test_every_build_is_encrypted_for_such_a_chip(chip: VirtualChip, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    shelf = SynthesisedShelf(tmp_path / "builds", "esp32c3", "v5.5")
    with serve(chip) as server, powered(serial.open_board(section(tmp_path / "key", server.url))) as board:
        trial = Trial(board, shelf, tmp_path / "evidence")
        trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
        trial.boot()
        trial.update("2.0.0")
        trial.restart()
        image = trial.image_of("rollback", "2.0.0")
        assert trial.cable.read("ota_1", len(image)) != image
        assert trial.finish().booted == ["ota_0", "ota_1"]


def test_without_a_key_the_capability_is_missing() -> None:
    lacks = serial.missing(section(None))
    assert "names no flash encryption key" in lacks[Capability.FLASH_ENCRYPTION]
    assert Capability.FLASH_ENCRYPTION not in serial.missing(section(Path("key")))


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), (b"short", "no flash encryption key")])
def test_a_bad_key_file_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match=says):
        serial.open_board(section(tmp_path / "key"))
