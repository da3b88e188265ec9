"""`rig fuzz`: right firmware agrees with the model step by step, a planted bug comes out as a short scenario."""

import json
import tomllib

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.fieldkit.scenario import load

BENCH = """
[firmware]
idf_version = "{version}"

[[board]]
name = "{name}"
kind = "virtual"
chip = "esp32c3"
time_scale = 200.0
{more}
"""


def bench(folder, name, version="v5.5", more=""):
    path = folder / f"{name}.toml"
    path.write_text(BENCH.format(name=name, version=version, more=more))
    return path


def wrong(folder, bootloader):
    return bench(folder, bootloader.replace("_", "-"), more=f'wrong_bootloader = "{bootloader}"')


def rig(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.parametrize("version", ["v4.4", "v5.1", "v5.5", "v6.0", "v6.1"])
def test_right_firmware_agrees_with_the_model_in_every_step(tmp_path, version):
    done = rig(
        "fuzz", "--json", "--config", bench(tmp_path, f"right-{version[1:]}", version), "--seed", 6, "--steps", 600
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["steps"], said["found"]) == (600, None)


@pytest.mark.parametrize(
    ("bootloader", "seed"),
    [("confirms_new", 5), ("never_aborts", 7), ("needs_an_entry", 5), ("erases_both_entries", 5)],
)
def test_a_planted_bug_is_found_and_comes_out_as_five_steps_or_fewer(tmp_path, bootloader, seed):
    config = wrong(tmp_path, bootloader)
    done = rig("fuzz", "--json", "--config", config, "--seed", seed, "--steps", 5000)
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)["found"]
    scenario = load(tmp_path / "reports" / "fuzz" / found["scenario"].rsplit("/", 1)[1])
    assert len(scenario.steps) == found["steps"] <= 5
    # where the bug is it is reproduced, and nowhere else
    assert rig("replay", found["scenario"], "--config", config).exit_code == 0
    right = bench(tmp_path, f"right-{bootloader}")
    assert rig("replay", found["scenario"], "--config", right).exit_code == 1


def test_the_same_seed_makes_the_same_walks(tmp_path):
    config = wrong(tmp_path, "never_aborts")
    texts = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        assert rig("fuzz", "--config", config, "--seed", 11, "--steps", 5000, "--output", folder).exit_code == 1
        (path,) = folder.iterdir()
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    assert tomllib.loads(texts[0])["name"].startswith("fuzz-11-")


def test_a_worn_sector_ends_it(tmp_path):
    done = rig("fuzz", "--json", "--config", bench(tmp_path, "worn"), "--seed", 1, "--steps", 5000, "--wear", 60)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["most_erases_of_a_sector"] >= 60
    assert said["steps"] < 5000


def test_an_unknown_variant_is_refused(tmp_path):
    done = rig("fuzz", "--config", bench(tmp_path, "odd"), "--variant", "nonsense")
    assert done.exit_code == 2
    assert "unknown build variant 'nonsense'" in done.stderr


def test_a_suite_of_scenarios_takes_no_other_variant(tmp_path):
    done = rig("qualify", "--suite", "field", "--variant", "no_rollback", "--config", bench(tmp_path, "no-variant"))
    assert done.exit_code == 2
    assert "names its own build variant" in done.stderr
