"""Folders of emulated chips: none is left, and none that is in use is taken away."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from rig.emulator import scratch
from rig.emulator.scratch import PREFIX, ScratchFolder, sweep


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("root")
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    return root


def age(path: Path) -> None:
    old = time.time() - 3600
    os.utime(path, (old, old))


def test_a_removed_folder_is_gone_and_may_be_removed_again(root: Path) -> None:
    folder = ScratchFolder.make()
    assert folder.path.parent == root
    (folder.path / "efuse.bin").write_bytes(b"x")
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


def test_what_a_killed_owner_left_is_swept_up_by_the_next_one(root: Path) -> None:
    left = root / f"{PREFIX}left"
    left.mkdir()
    (left / "uart.log").write_bytes(b"x")
    age(left)
    ScratchFolder.make().remove()
    assert not left.exists()


def test_what_is_in_use_or_young_or_not_ours_stays(root: Path) -> None:
    used = ScratchFolder.make()
    age(used.path)
    young, other = root / f"{PREFIX}young", root / "other"
    young.mkdir()
    other.mkdir()
    age(other)
    sweep(root)
    assert used.path.is_dir()
    assert young.is_dir()
    assert other.is_dir()
    used.remove()


def test_the_path_is_short_enough_for_a_socket_whatever_the_temporary_folder_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = root / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = ScratchFolder.make()
    assert len(os.fsencode(folder.path)) <= scratch.LONGEST
    folder.remove()
