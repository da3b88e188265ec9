"""`rig replay`: a scenario on a virtual board of each ESP-IDF version that it is about, and what it says of itself."""

import json
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.fieldkit.scenario import Expect, Firmware, Scenario, Start, dumps, load
from rig.fieldkit.steps import Boot, Cut, Diagnose, Reject, Restart, Update

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))
BENCH = """
[firmware]
idf_version = "{version}"

[[board]]
name = "{name}"
kind = "virtual"
chip = "esp32c3"
time_scale = 200.0
"""
EVERY_TENTH = SCENARIOS[::10]
"""On other versions than that of the default bench, on which tests/scenarios/test_field.py plays all of them."""
CASES = [(path, version) for path in EVERY_TENTH for version in load(path).idf_versions if version in ("v5.1", "v6.0")]


NUMBERS = count()


def bench(version):
    """A virtual board of its own: one process has one chip of a name."""
    return BENCH.format(version=version, name=f"replay-{next(NUMBERS)}")


def replay(tmp_path, scenario, bench):
    config = tmp_path / "rig.toml"
    config.write_text(bench)
    return CliRunner().invoke(main, ["replay", "--json", "--config", str(config), str(scenario)])


@pytest.mark.parametrize(("path", "version"), CASES, ids=lambda case: getattr(case, "stem", case))
def test_a_scenario_of_the_catalogue_is_reproduced(tmp_path, path, version):
    done = replay(tmp_path, path, bench(version))
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["result"], found["idf_version"], found["why"]) == ("reproduced", version, [])


def changed(tmp_path, old, new):
    text = (SCENARIOS[0].parent / "second-update-on-probation.toml").read_text()
    assert old in text
    path = tmp_path / "scenario.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (
            'booted = ["ota_0", "ota_1"]',
            'booted = ["ota_0", "ota_0"]',
            "booted: expected ota_0, ota_0, seen ota_0, ota_1",
        ),
        ("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", "ESP_OK", "answers: expected ESP_OK, ESP_OK"),
    ],
)
def test_what_comes_otherwise_is_not_reproduced_and_shown_side_by_side(tmp_path, old, new, word):
    done = replay(tmp_path, changed(tmp_path, old, new), bench("v5.5"))
    assert done.exit_code == 1, done.output
    assert word in json.loads(done.stdout)["why"][0]


def test_a_board_that_is_not_there_is_a_bench_fault(tmp_path):
    desk = (
        '[[board]]\nname = "desk"\nkind = "serial"\nchip = "esp32c3"\nfirmware = "synthesised"\nport = "/dev/nothing"\n'
    )
    done = replay(tmp_path, SCENARIOS[0], desk)
    assert done.exit_code == 3, done.output


def test_a_step_without_a_running_app_is_a_wrong_scenario(tmp_path):
    done = replay(tmp_path, changed(tmp_path, '    { do = "boot" },\n', ""), bench("v5.5"))
    assert done.exit_code == 2, done.output
    assert "needs a running app" in done.stderr


UPDATED = (Boot(), Diagnose(outcome="manual"), Update(), Restart())


@pytest.mark.parametrize(
    ("variant", "steps", "expect"),
    [
        (
            "rollback",
            (*UPDATED, Cut(during=Reject(), kind="erase"), Boot()),
            Expect(booted=("ota_0", "ota_1", "ota_0"), otadata=("seq 1 VALID", "erased")),
        ),
        (
            "signed",
            UPDATED,
            Expect(booted=("ota_0", "ota_1"), answers=("ESP_OK",), otadata=("seq 1 VALID", "seq 2 PENDING_VERIFY")),
        ),
    ],
    ids=["power lost in a rejection", "a signed app"],
)
def test_what_can_be_played(tmp_path, variant, steps, expect):
    start = Start(otadata=("seq 1 VALID", "erased"))
    scenario = Scenario(
        name="played",
        summary="It plays.",
        firmware=Firmware(variant=variant),
        start=start,
        steps=steps,
        expect=(expect,),
    )
    path = tmp_path / "scenario.toml"
    path.write_text(dumps(scenario))
    done = replay(tmp_path, path, bench("v5.5"))
    assert done.exit_code == 0, done.output
