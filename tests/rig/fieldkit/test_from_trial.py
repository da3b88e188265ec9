"""A failing test as a scenario: what a trial's steps become, what is left out, and what is expected."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.evidence.moments import AtStart, OnEvent, OnLine
from rig.evidence.starting import Start
from rig.evidence.taken import Call, Origin, Taken
from rig.evidence.trial import Trial
from rig.fieldkit import steps
from rig.fieldkit.from_trial import Facts, scenario_of
from rig.fieldkit.from_trial_images import Images
from rig.fieldkit.from_trial_seen import SeenConsole
from rig.fieldkit.scenario import dumps, load
from rig.idf.partitions import PartitionTable
from rig.protocol import Line, encode_line
from rig.updates.uart import NO_FAULTS, UartFaults
from tests.rig.bench import virtual_bench

APP = bytes(range(256)) * 40 + b"odd"
TABLE = PartitionTable.from_csv(
    "otadata, data, ota, 0x9000, 0x2000\nota_0, app, ota_0, 0x10000, 0x10000\nota_1, app, ota_1, 0x20000, 0x10000"
)
QUESTIONS = {
    *("state", "slot_image", "slot_hash", "offset", "changed_below", "read_back", "read_back_secure_version"),
    *("secure_version", "corrupt_image", "image_of", "image_for_another_chip", "agent", "build", "installed"),
    *("finish", "judge", "so_far", "judged", "elapsed", "describe", "record"),
}


def installed(**more):
    given = {"variant": "rollback", "version": "1.0.0", "otadata": (b"", b""), "slots": None, "bootloader_of": None}
    return Call("install", {**given, "table_of": None, "diagnostics": None, "secure_version": 0, **more}, 0)


def taken(*calls, images=None, before=None):
    found = Taken(lambda: 0)
    found.calls = list(calls)
    found.images = images or {}
    found.before = before
    return found


def facts(log=b"", starts=(), **more):
    given = {"test": "tests/test_a.py::test_it[x-1]", "demanded": ("It works.",), "verdict": "firmware fail"}
    given |= {"reason": "boot 1: wrong\nmore of it", "board": "desk", "chip": "esp32c3", "idf_version": "v5.5"}
    given |= {"variants": {}, "encrypted": False, "otadata": None}
    return Facts(**{**given, "console": SeenConsole(log, starts, TABLE), **more})


def told(*calls, images=None, **more):
    scenario = scenario_of(taken(installed(), *calls, images=images), facts(**more))
    assert scenario is not None
    return scenario


def call(name, inside=(), answer="ESP_OK", **arguments):
    return Call(name, arguments, 0, answer, list(inside))


def update(image="2.0.0", **more):
    return call("update", image=image, slot="next", faults=NO_FAULTS, **more)


def cut(*inside, where="otadata", **more):
    return call("power_lost_at", inside, where=where, **{"kind": "erase", "nth": 2, "phase": "torn", **more})


# --- recording -------------------------------------------------------------------------------------------------------


def test_every_public_part_of_a_trial_is_a_step_or_a_question():
    public = {name for name in dir(Trial) if not name.startswith("_")}
    noted = {name for name in public - QUESTIONS if hasattr(getattr(Trial, name), "__wrapped__")}
    assert public - QUESTIONS == noted
    assert public >= QUESTIONS


def test_what_a_test_asks_is_noted_and_not_what_that_asks(tmp_path):
    with virtual_bench(tmp_path) as bench:
        trial = bench.trial()
        trial.install("rollback", otadata=(b"", b""), diagnostics="manual")
        trial.boot()
        with trial.power_lost_at("otadata", kind="erase", phase="before"):
            trial.update("2.0.0")
        trial.power_on()
        assert trial.update_error("2.0.0", keep=0.5) == "ESP_ERR_OTA_VALIDATE_FAILED"
        trial.finish()
    calls = trial.taken.calls
    assert [call.name for call in calls] == ["install", "boot", "power_lost_at", "power_on", "update_error"]
    assert [call.name for call in calls[2].inside] == ["update"]
    assert calls[4].answer == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert calls[4].arguments == {"image": "2.0.0", "flip": None, "keep": 0.5}
    assert trial.taken.before.slot == "ota_0"


# --- images ----------------------------------------------------------------------------------------------------------


def images(known, variants=None):
    found = Images(known, variants or {})
    found.variant = "rollback"
    return found


def test_an_image_is_named_by_where_its_bytes_came_from():
    flipped = bytes([APP[0] ^ 0xFF]) + APP[1:]
    known = images(
        {
            APP: Origin("rollback", "3.0.0"),
            b"other": Origin("three_slots", "1.0.0"),
            b"chip": Origin("rollback", "1.0.0", other_chip=True),
            b"broken": Origin("rollback", "4.0.0", flip=(3,)),
        },
        {"three_slots": "no_rollback"},
    )
    assert known.image(APP) == steps.Image(version="3.0.0")
    assert known.image("5.0.0", -1, 0.5) == steps.Image(version="5.0.0", flip=(-1,), keep=0.5)
    assert known.image(b"other") == steps.Image(version="1.0.0", variant="no_rollback")
    assert known.image(b"chip") == steps.Image(version="1.0.0", chip="other")
    assert known.image(b"broken", 5) == steps.Image(version="4.0.0", flip=(3, 5))
    assert known.image(flipped) == steps.Image(version="3.0.0", flip=(0,))
    assert known.image(b"") == steps.Image(keep=0.0)
    assert known.image(b"<html>") is None


@given(st.integers(1, len(APP)))
def test_a_cut_off_image_keeps_exactly_its_bytes(size):
    image = images({APP: Origin("rollback", "3.0.0")}).image(APP[:size])
    assert int(len(APP) * image.keep) == size


# --- steps -----------------------------------------------------------------------------------------------------------

STEPS = [
    (call("boot"), steps.Boot()),
    (call("boot_without_app", resets=3), steps.Boot()),
    (call("power_on"), steps.Boot()),
    (call("reset"), steps.Reset(how="line")),
    (call("power_cycle"), steps.Reset(how="power")),
    (call("start_restart"), steps.Restart()),
    (call("crash", kind="watchdog"), steps.Crash(how="watchdog")),
    (call("diagnostics", outcome="fail", seconds=None), steps.Diagnose(outcome="fail")),
    (update(), steps.Update()),
    (call("update_error", image="2.0.0", flip=-1, keep=0.5), steps.Update(image=steps.Image(flip=(-1,), keep=0.5))),
    (call("abandon_update", version="2.0.0", after=0.5), steps.Update(stop_after=0.5)),
    (call("confirm_error"), steps.Confirm()),
    (call("reject"), steps.Reject()),
    (call("set_boot", slot="ota_1"), steps.SetBoot(slot="ota_1")),
    (call("erase_previous"), steps.ErasePrevious()),
    (call("wait_confirmed", timeout=60), steps.Wait(seconds=60, until="confirmed")),
    (cut(update()), steps.Cut(during=steps.Update(), kind="erase", nth=2, phase="torn")),
    (
        call("power_lost_on_line", [call("restart")], pattern="a.*b"),
        steps.CutAtLine(during=steps.Restart(), line="a.*b"),
    ),
    (
        call("power_lost_after", [call("start_restart")], moment=OnLine(re.compile(b"Loaded")), delay=0.0),
        steps.CutAtLine(during=steps.Restart(), line="Loaded"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "step"), STEPS, ids=lambda value: getattr(value, "name", ""))
def test_a_step_of_a_trial_is_a_step_of_a_scenario(asked, step):
    scenario = told(asked, call("wait_start"))
    assert scenario.steps == (step,)
    assert scenario.left_out == ()


def test_an_event_is_a_line_that_has_it():
    moment = OnEvent("start", {"state": "PENDING_VERIFY", "version": "2.0.0 b"})
    scenario = told(call("power_lost_after", [call("restart")], moment=moment, delay=0.0))
    (step,) = scenario.steps
    line = encode_line(Line(None, "start", {"version": "2.0.0 b", "state": "PENDING_VERIFY"})).decode()
    assert re.search(step.line, line)
    assert not re.search(step.line, line.replace("PENDING_VERIFY", "VALID"))
    assert not re.search(step.line, line.replace("start", "ready"))


LEFT_OUT = [
    (call("connect", authority=b"", key=b""), "The network was used"),
    (call("burn", version=2), "burn secure version 2"),
    (call("write", where="ota_1", data=b"x"), "ota_1 was written by cable"),
    (call("power_lost_by_line", [update()], op="slot_program"), "cut its own supply"),
    (call("power_lost_after", [update()], moment=AtStart(), delay=0.5), "0.5 s after the start of the run"),
    (cut(update(), update()), "no single step"),
    (cut(call("crash", kind="panic")), "cannot be what it was"),
    (update(b"<html>"), "an update (6 bytes) is no image"),
    (call("update", image="2.0.0", slot="next", faults=UartFaults(drop_frames={1})), "undisturbed"),
    (call("diagnostics", outcome="dance", seconds=None), "outcome cannot be what it was"),
]


@pytest.mark.parametrize(("asked", "sentence"), LEFT_OUT, ids=lambda value: getattr(value, "name", ""))
def test_what_a_scenario_cannot_hold_is_left_out_with_a_sentence(asked, sentence):
    (said,) = told(asked).left_out
    assert sentence in said


@pytest.mark.parametrize(("state", "runs_any"), [("PENDING_VERIFY", True), ("UNDEFINED", False)])
def test_delayed_diagnostics_that_are_cut_short_are_left_out(state, runs_any):
    delay = call("diagnostics", outcome="delay", seconds=60)
    first = app("ota_0")
    before = [at("boot", 0), delay, update(), at("restart", len(first))]
    log, starts = first + app("ota_1", state), (0,)
    cut_short = told(*before, at("reset", len(log)), log=log, starts=starts)
    assert any("delayed diagnostics" in sentence for sentence in cut_short.left_out) == runs_any
    assert told(*before, call("wait_confirmed", timeout=9), log=log, starts=starts).left_out == ()


def test_the_variant_that_ran_is_named_and_the_last_installation_counts():
    first = [installed(version="9.0.0"), call("boot")]
    asked = taken(*first, installed(slots={"ota_1": "3.0.0", "ota_0": b"?"}, otadata=(b"", b"\x01" * 32)), call("boot"))
    scenario = scenario_of(asked, facts(variants={"rollback": "mine"}))
    assert scenario.firmware.variant == "mine"
    assert scenario.start.slots == {"ota_1": steps.Image(version="3.0.0")}
    assert scenario.start.otadata[0] == "erased"
    assert len(scenario.steps) == 1
    assert "ota_0 (1 bytes)" in scenario.left_out[0]


def test_an_outcome_told_beforehand_is_told_by_the_app_itself():
    asked = installed(otadata=(b"", b"\x01" * 32), slots={"ota_1": "3.0.0"}, diagnostics="fail")
    before = Start("ota_0", "1.0.0", "VALID", "?", "?")
    scenario = scenario_of(taken(asked, call("boot"), before=before), facts())
    assert [step.do for step in scenario.steps] == ["boot", "diagnostics", "cable", "otadata", "boot"]
    assert scenario.expect[0].booted[0] == "ota_0"
    assert scenario.start.slots == {}


def test_nothing_installed_is_no_scenario():
    assert scenario_of(taken(call("boot")), facts()) is None


# --- what was seen ---------------------------------------------------------------------------------------------------

RESET = b"rst:0x1 (POWERON)\nI (20) boot: ESP-IDF v5.5\n"
GAVE_UP = RESET + b"E (30) boot: No bootable app partitions in the partition table\n"


def app(slot, state="VALID"):
    start = Line(None, "start", {"running": slot, "version": "1.0.0", "state": state, "diag": "pass"})
    return RESET + encode_line(start) + encode_line(Line(None, "ready", {}))


def at(name, began, **arguments):
    return Call(name, arguments, began, "ESP_OK")


def test_expected_is_what_was_seen_and_not_what_boots_while_power_is_cut():
    first, lost, last = app("ota_0"), app("ota_1", "PENDING_VERIFY"), app("ota_0")
    losing = at("power_lost_at", len(first), where="otadata", kind="any", nth=1, phase="after")
    losing.inside.append(at("start_restart", len(first)))
    scenario = told(
        at("boot", 0), losing, at("power_on", len(first + lost)),
        log=first + lost + last, starts=(0, len(first + lost)), otadata=(b"\xff" * 32, b"\x00" * 32),
    )  # fmt: skip
    (expect,) = scenario.expect
    assert expect.booted == ("ota_0", "ota_0")
    assert expect.states == ("VALID", "VALID")
    assert expect.idf_versions == ("v5.5",)
    assert expect.otadata[0] == "erased"
    assert scenario.needs == ("flash_mutations", "power_cut")


def test_a_board_that_gives_up_is_seen_as_often_as_a_replay_looks():
    assert told(at("boot_without_app", 0), log=GAVE_UP * 5, starts=(0,)).expect[0].booted == ("none", "none")


def test_a_step_sees_nothing_of_what_the_next_one_starts():
    hangs = app("ota_0").partition(b"@rig - ready")[0] + b"I (99) app: nothing more\n"
    expect = told(
        at("boot", 0), at("power_cycle", len(hangs)), log=hangs + app("ota_1"), starts=(0, len(hangs))
    ).expect[0]  # fmt: skip
    assert expect.booted == ("ota_0", "ota_1")


def test_a_restart_is_looked_at_from_its_reset_on():
    before = encode_line(Line(None, "ready", {}))
    expect = told(at("restart", 0), log=before + app("ota_1")).expect[0]
    assert expect.booted == ("ota_1",)


def test_answers_are_expected_only_if_all_are_known():
    assert told(update(), call("confirm", answer="ESP_FAIL")).expect[0].answers == ("ESP_OK", "ESP_FAIL")
    assert told(update(), call("confirm", answer=None)).expect[0].answers is None


def test_it_says_in_words_what_was_demanded():
    scenario = told(call("boot"))
    assert scenario.summary == "firmware fail: boot 1: wrong"
    assert "It works." in scenario.text
    assert "more of it" in scenario.text
    assert (scenario.name, scenario.test) == ("it-x-1", "tests/test_a.py::test_it[x-1]")


# --- whatever it was, the file loads ---------------------------------------------------------------------------------

NAMES = sorted({asked.name for asked, _ in (*STEPS, *LEFT_OUT)} | {"wait_start", "something_new"})
WORDS = st.sampled_from(["2.0.0", "ota_1", "pass", "panic", "otadata", "any", "after", "x\x1b[1m\x00\u202e", ""])
ARGUMENTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("version", "slot", "outcome", "kind", "where", "phase", "pattern"), WORDS),
        **dict.fromkeys(("seconds", "timeout", "nth", "flip"), st.sampled_from([None, -1, 0, 1, 9999])),
        **dict.fromkeys(("keep", "after"), st.sampled_from([0.0, 0.5, 1.0])),
        "delay": st.sampled_from([0.0, 2.0]),
        "image": st.sampled_from(["2.0.0", b"", b"<html>", APP, APP[:99]]),
        "faults": st.sampled_from([NO_FAULTS, UartFaults(truncate=3)]),
        "moment": st.sampled_from([AtStart(), OnEvent("ack"), OnLine(re.compile(b"\xff"))]),
    }
)
BEGAN = st.integers(0, 99)
INNER = st.builds(Call, st.sampled_from(NAMES), ARGUMENTS, BEGAN)
ANSWERS = st.sampled_from([None, "ESP_OK", "ESP_FAIL"])
CALLS = st.builds(Call, st.sampled_from(NAMES), ARGUMENTS, BEGAN, ANSWERS, st.lists(INNER, max_size=2))
INSTALLED = st.builds(
    installed,
    version=WORDS,
    otadata=st.tuples(st.binary(max_size=40), st.binary(max_size=40)),
    slots=st.dictionaries(WORDS, st.sampled_from(["2.0.0", b"", b"?", APP[:7]]), max_size=2),
    secure_version=st.integers(-1, 40),
    diagnostics=st.sampled_from([None, "fail", "dance"]),
)
FACTS = st.builds(
    facts,
    log=st.lists(st.sampled_from([GAVE_UP, app("ota_0"), app("ota_9"), b"\xff\x00\n"]), max_size=4).map(b"".join),
    test=st.sampled_from(["a.py::test_\x00", "", "a.py::test_" + "long-" * 30, "a.py::test_it[\u00fc]"]),
    reason=st.text(max_size=300),
    idf_version=st.sampled_from(["v5.5", "v9.9"]),
    otadata=st.one_of(st.none(), st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@given(INSTALLED, st.lists(CALLS, max_size=5), FACTS)
@settings(max_examples=150, deadline=None)
def test_whatever_was_asked_the_scenario_loads_again(folder, start, calls, known):
    scenario = scenario_of(taken(start, *calls, images={APP: Origin("rollback", "3.0.0")}), known)
    path = folder / "scenario.toml"
    path.write_text(dumps(scenario), encoding="utf-8")
    assert load(path) == scenario
