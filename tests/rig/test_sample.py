"""`rig sample`: what it writes is a build directory, and nothing is lost by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.boards.firmware import FirmwareBuild
from rig.cli import main


def sample(*words: str) -> Result:
    return CliRunner().invoke(main, ["sample", *words])


def test_a_sample_is_a_build_directory_that_passes_the_gate_as_an_update_of_another(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert sample(str(old)).exit_code == 0
    assert sample(str(new), "--version", "2.0.0").exit_code == 0
    assert FirmwareBuild.load(new).version == "2.0.0"
    assert CliRunner().invoke(main, ["gate", str(new), "--previous", str(old)]).exit_code == 0


def test_chip_variant_and_secure_version_are_as_asked_for(tmp_path: Path) -> None:
    words = ["--chip", "esp32", "--variant", "anti_rollback", "--secure-version", "3"]
    assert sample(str(tmp_path / "b"), *words).exit_code == 0
    found = FirmwareBuild.load(tmp_path / "b")
    assert (found.chip, found.boot_config.anti_rollback, found.secure_version) == ("esp32", True, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--variant", "nonsense"], "unknown build variant"),
        (["--version", "x" * 40], "version"),
        (["--chip", "esp99"], "Invalid value for '--chip'"),
    ],
)
def test_wrong_use_is_explained_and_leaves_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    result = sample(str(tmp_path / "b"), *words)
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_nothing_is_written_over(tmp_path: Path, taken: str) -> None:
    place = tmp_path / "b"
    if taken == "folder":
        place.mkdir()
    kept = place if taken == "file" else place / "notes.txt"
    kept.write_text("mine")
    result = sample(str(place))
    assert result.exit_code == 2
    assert "is there already" in result.output
    assert kept.read_text() == "mine"
