"""Scenario files: read, checked, written so that two of them can be compared line by line."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import UserError
from rig.fieldkit.entries import entry_bytes, entry_words
from rig.fieldkit.scenario import Expect, Scenario, Start, dumps, load
from rig.fieldkit.steps import (
    Boot,
    Confirm,
    Corrupt,
    Cut,
    CutAtLine,
    Diagnose,
    Image,
    Restart,
    SetBoot,
    Update,
    WriteOtadata,
)
from rig.idf.errors import FormatError
from rig.idf.otadata import ImageState

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))
WORDS = st.one_of(
    st.just("erased"),
    st.binary(min_size=32, max_size=32).map(entry_words),
    st.builds(
        "seq {} {}{}".format,
        st.integers(0, 0xFFFFFFFF),
        st.sampled_from([state.name for state in ImageState]),
        st.sampled_from(["", ", bad CRC"]),
    ),
)
STEPS = st.one_of(
    st.just(Boot()),
    st.just(Confirm()),
    st.just(Restart()),
    st.builds(Update, image=st.builds(Image, version=st.sampled_from(["2.0.0", "3.0.0"]), keep=st.just(0.5))),
    st.builds(SetBoot, slot=st.sampled_from(["factory", "ota_0", "ota_1", "ota_15"])),
    st.builds(Diagnose, outcome=st.sampled_from(["pass", "fail", "panic"])),
    st.builds(Cut, during=st.sampled_from([Restart(), Update(), Boot()]), nth=st.integers(1, 9)),
    st.builds(Corrupt, where=st.sampled_from(["ota_1", "otadata[0]"]), seed=st.integers(0, 99)),
)  # fmt: skip


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_words_of_an_entry_are_those_32_bytes(data):
    assert entry_bytes(entry_words(data)) == data


@given(WORDS)
@settings(deadline=None)
def test_words_stay_what_they_are(words):
    assert entry_bytes(entry_words(entry_bytes(words))) == entry_bytes(words)


@pytest.mark.parametrize("words", ["", "seq", "seq 1", "seq 1 GOOD", "seq x VALID", "seq 99999999999 VALID", "ff" * 31])
def test_other_words_are_refused(words):
    with pytest.raises(FormatError):
        entry_bytes(words)


@given(
    st.builds(
        Scenario,
        name=st.just("a-story"),
        summary=st.just("What happens."),
        steps=st.lists(STEPS, max_size=6).map(tuple),
        start=st.builds(Start, otadata=st.tuples(WORDS, WORDS)),
        expect=st.lists(st.builds(Expect, booted=st.just(("ota_0", "none"))), max_size=2).map(tuple),
    )
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(scenario):
    text = dumps(scenario)
    assert Scenario.model_validate(tomllib.loads(text)) == scenario
    assert dumps(Scenario.model_validate(tomllib.loads(text))) == text


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_of_the_catalogue_is_complete(path):
    scenario = load(path)
    assert scenario.name == path.stem
    assert scenario.issue
    assert all(scenario.expected(version) for version in scenario.idf_versions)


BROKEN = {
    "no TOML": ("steps = [", "no TOML file"),
    "unknown key": ('name = "a"\nsummary = "b"\nwhat = 1', "what"),
    "unknown step": ('name = "a"\nsummary = "b"\nsteps = [{ do = "dance" }]', "steps.0"),
    "wrong slot": (
        'name = "a"\nsummary = "b"\nsteps = [{ do = "set_boot", slot = "ota_16" }]',
        "steps.0.set_boot.slot",
    ),
    "wrong entry": ('name = "a"\nsummary = "b"\n[start]\notadata = ["seq 1 GOOD", "erased"]', "start.otadata.0"),
    "wrong format": ('format = 2\nname = "a"\nsummary = "b"', "format"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_told_with_its_key(tmp_path, what):
    text, words = BROKEN[what]
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was(text):
    scenario = Scenario(
        name="any", summary="x", text=f"one\n[two]\n{text}", steps=(CutAtLine(during=Boot(), line=f"\x7f[{text}"),)
    )
    assert Scenario.model_validate(tomllib.loads(dumps(scenario))).steps == scenario.steps


def test_one_step_is_one_line():
    steps = tuple(WriteOtadata(entries=("ab" * 32, "cd" * 32)) for _ in range(3))
    text = dumps(Scenario(name="long", summary="x", steps=steps))
    assert sum(line.startswith("    { do = ") for line in text.splitlines()) == 3
