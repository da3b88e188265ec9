"""The real espefuse on the simulated chip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import espefuse
import pytest

from rig.idf.chips import CHIPS
from rig.virtual.chips import SPECS
from rig.virtual.cpu import Cpu

if TYPE_CHECKING:
    from conftest import Lab


def summary(chip: Any, tmp_path: Path) -> dict[str, Any]:
    target = tmp_path / "efuses.json"
    target.unlink(missing_ok=True)
    espefuse.main(["--port", f"virtual://{chip.name}", "summary", "--format", "json", "--file", str(target)])
    fields: dict[str, Any] = json.loads(target.read_text())
    return fields


@pytest.mark.parametrize("model", SPECS)
def test_summary_shows_mac_and_revision(lab: Lab, model: str, tmp_path: Path) -> None:
    chip = lab.chip(model)
    chip.power_on()
    fields = summary(chip, tmp_path)
    assert fields["MAC"]["value"].startswith(chip.spec.default_mac)
    assert "invalid" not in fields["MAC"]["value"]
    assert fields["SECURE_VERSION"]["value"] == 0
    major, minor = fields["WAFER_VERSION_MAJOR"]["value"], fields["WAFER_VERSION_MINOR"]["value"]
    assert major * 100 + minor == CHIPS[model].revision


@pytest.mark.parametrize("model", SPECS)
def test_a_burnt_secure_version_is_seen_by_espefuse(lab: Lab, model: str, tmp_path: Path) -> None:
    def burner(cpu: Cpu) -> None:
        cpu.efuse.burn_secure_version(3)
        cpu.write(b"burnt\r\n")

    chip = lab.chip(model, firmware=burner)
    chip.power_on()
    lab.read_until(chip, b"burnt\r\n")
    assert summary(chip, tmp_path)["SECURE_VERSION"]["value"] == 0b111


@pytest.mark.parametrize("model", SPECS)
def test_what_espefuse_burns_is_seen_by_the_firmware(lab: Lab, model: str) -> None:
    def reader(cpu: Cpu) -> None:
        cpu.write(b"secure version %d\r\n" % cpu.efuse.secure_version)

    chip = lab.chip(model, firmware=reader)
    chip.power_on()
    port = ["--port", f"virtual://{chip.name}", "--do-not-confirm"]
    espefuse.main([*port, "burn-efuse", "SECURE_VERSION", "0x1"])
    espefuse.main([*port, "--after", "hard-reset", "burn-efuse", "SECURE_VERSION", "0x3"])
    lab.read_until(chip, b"secure version 2\r\n")
