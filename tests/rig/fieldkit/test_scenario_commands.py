"""`rig scenario check` and `rig scenario minimise`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.fieldkit.minimise import minimised
from rig.fieldkit.scenario import load
from rig.fieldkit.steps import Boot, Restart, Update

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TEXT = (SCENARIOS / "crash-before-confirm.toml").read_text()
VERSIONS = '\n[firmware]\nidf_versions = ["v5.1"]\n'
BENCH = '[[board]]\nname = "{name}"\nkind = "virtual"\nchip = "esp32c3"\ntime_scale = 200.0\n{more}\n'


def rig(*arguments):
    return CliRunner().invoke(main, ["scenario", *map(str, arguments)])


def written(folder, text):
    path = folder / "scenario.toml"
    path.write_text(text)
    return path


def test_what_makes_sense_is_said_to(tmp_path):
    done = rig("check", written(tmp_path, TEXT + VERSIONS))
    assert done.exit_code == 0, done.output
    assert "makes sense" in done.output


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('    { do = "boot" },\n', "", "step 1, diagnostics: this step needs a running app"),
        (
            '{ do = "update" }',
            '{ do = "erase", where = "ota_7" }',
            "step 3, erase: this partition table has no 'ota_7'",
        ),
        ('{ do = "restart" }', '{ do = "cut", during = { do = "confirm" }, where = "ota_0" }', "never came"),
        ("[[expect]]", '[[expect]]\nends = "runs"\n\n[[expect]]', "expectation 2 never counts"),
        ("[[expect]]", '[[expect]]\nidf_versions = ["v6.1"]', "expectation 1 is about v6.1"),
        ("[start]", '[start]\ndump = "nowhere.bin"', "begins from a dump, so start.otadata"),
        ('{ do = "restart" }', '{ do = "dance" }', "not a scenario"),
    ],
)
def test_what_contradicts_itself_is_found(tmp_path, old, new, word):
    assert old in TEXT
    done = rig("check", "--json", written(tmp_path, TEXT.replace(old, new) + VERSIONS))
    assert done.exit_code == 2, done.output
    assert any(word in text for text in json.loads(done.stdout)[0]["wrong"]), done.stdout


def test_what_right_firmware_does_otherwise_is_shown_and_no_error(tmp_path):
    done = rig("check", written(tmp_path, TEXT.replace('"ota_1", "ota_0"]', '"ota_1", "ota_1"]') + VERSIONS))
    assert done.exit_code == 0, done.output
    assert "right firmware of ESP-IDF v5.1 does otherwise: booted" in done.output


def test_ddmin_keeps_only_what_shows_it():
    """Whatever lies between and around: two steps are needed, in that order."""
    scenario = load(SCENARIOS / "twelve-updates-in-a-row.toml")

    def shows(candidate):
        kinds = [step.do for step in candidate.steps]
        return "update" in kinds and "restart" in kinds[kinds.index("update") :]

    assert minimised(scenario, shows).steps == (Update(), Restart())


def test_of_a_wrong_bootloader_its_disagreement_is_kept_and_shown_again(tmp_path):
    config = tmp_path / "rig.toml"
    config.write_text(BENCH.format(name="minimise-wrong", more='wrong_bootloader = "confirms_new"'))
    done = rig("minimise", "--json", "--config", config, SCENARIOS / "third-update-takes-the-first-slot.toml",
               "--output", tmp_path / "min.toml")  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["kept"], said["result"]) == ("states otherwise than ESP-IDF", "reproduced")
    assert load(tmp_path / "min.toml").steps == (Boot(), Update(), Restart())


def test_of_right_firmware_the_ending_is_kept(tmp_path):
    config = tmp_path / "rig.toml"
    config.write_text(BENCH.format(name="minimise-right", more=""))
    more = '    { do = "boot" },\n    { do = "reset", how = "line" },\n    { do = "confirm" },\n'
    longer = TEXT.replace('    { do = "boot" },\n', more)
    done = rig("minimise", "--json", "--config", config, written(tmp_path, longer), "--output", tmp_path / "min.toml")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] == "how it ends"
    assert [step.do for step in load(tmp_path / "min.toml").steps] == ["boot", "diagnostics", "update", "restart"]


def test_a_scenario_that_expects_nothing_cannot_be_made_shorter(tmp_path):
    config = tmp_path / "rig.toml"
    config.write_text(BENCH.format(name="minimise-none", more=""))
    text = TEXT.split("[[expect]]")[0]
    done = rig("minimise", "--config", config, written(tmp_path, text))
    assert done.exit_code == 2, done.output
    assert "nothing tells which steps matter" in done.stderr
