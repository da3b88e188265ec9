"""`rig crash cut`: what it refuses, what it prints, what it leaves in its folder, and how it ends."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from rig import crash_cut_command
from rig.boards import kinds
from rig.crash.series import FILE, MOST_IN_VAIN, SeriesRecord
from rig.crash_cut_command import run
from rig.errors import BenchFault, Inconclusive, NotApplicable, UserError
from rig.evidence.records import Verdict
from tests.rig import faulty

_numbers = itertools.count(1)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A bench with one virtual board, under a name of its own, and one that has no power switch."""
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "rig.toml"
    path.write_text(
        f"""
        [[board]]
        name = "cut{next(_numbers)}"
        kind = "virtual"
        time_scale = 200.0

        [[board]]
        name = "powerless"
        kind = "serial"
        chip = "esp32c3"
        port = "/dev/nowhere"
        firmware = "synthesised"
        """,
        encoding="utf-8",
    )
    return path


@pytest.fixture
def boards(monkeypatch):
    """The boards that were opened."""
    opened = []
    real = kinds.open_board

    def remember(section):
        opened.append(real(section))
        return opened[-1]

    monkeypatch.setattr(kinds, "open_board", remember)
    return opened


def results(folder):
    return SeriesRecord.model_validate_json((folder / FILE).read_text(encoding="utf-8"))


# --- what it is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"on_line": "x", "on_event": "start"}, "one moment"),
        ({"on_event": "start", "at_mutation": 4}, "one moment"),
        ({"on_line": "("}, r"'\(' is no regular expression"),
        ({"on_event": "fly"}, r"no event 'fly'[\s\S]*ready, restart, shutdown, start"),
        ({"on_event": ""}, "no event ''"),
        ({"on_event": "start running"}, "as in: start state=PENDING_VERIFY"),
        ({"at_mutation": 0}, "counted from 1"),
        ({"after": 1.0, "sweep": "0:1:3"}, "one of --after, --sweep, --bisect"),
        ({"sweep": "0:1:3", "bisect": "0:1"}, "one of --after, --sweep, --bisect"),
        ({"after": -0.1}, "0 or more"),
        ({"after": float("nan")}, "0 or more"),
        ({"sweep": "0:1"}, "FROM:TO:STEPS is needed"),
        ({"sweep": "0:1:3:4"}, "FROM:TO:STEPS is needed"),
        ({"sweep": "0:one:3"}, "FROM:TO:STEPS is needed"),
        ({"sweep": "0:1:2.5"}, r"2\.5 steps"),
        ({"sweep": "0:1:1"}, "2 steps are both ends"),
        ({"sweep": "1:0:3"}, "no window"),
        ({"bisect": "0"}, r"FROM:TO\[:RESOLUTION\] is needed"),
        ({"bisect": "0:inf"}, r"FROM:TO\[:RESOLUTION\] is needed"),
        ({"bisect": "0:1:0"}, "resolution"),
        ({"variant": "nonsense"}, "nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_board_is_touched(config, boards, given, said):
    with pytest.raises(UserError, match=said):
        run(config, None, "update-ok", **given)
    assert boards == []
    assert sorted(path.name for path in config.parent.iterdir()) == ["rig.toml"]


def test_names_that_do_not_exist_are_refused(config, boards):
    with pytest.raises(UserError, match=r"no scenario is called 'fly'[\s\S]*update-ok"):
        run(config, None, "fly")
    with pytest.raises(UserError, match="no board is called 'nobody'"):
        run(config, "nobody", "update-ok")
    with pytest.raises(UserError, match="update-from-factory is about the variant factory"):
        run(config, None, "update-from-factory", variant="no_rollback")
    assert boards == []


def test_a_board_without_a_power_switch_is_refused_and_leaves_no_folder(config):
    with pytest.raises(UserError, match="this board has no power switch"):
        run(config, "powerless", "update-ok")
    assert list((config.parent / "reports").iterdir()) == []


def test_a_folder_with_results_is_not_written_over(config, tmp_path, boards):
    (tmp_path / "cuts").mkdir()
    (tmp_path / "cuts" / FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="holds the results of other cuts"):
        run(config, None, "update-ok", output=tmp_path / "cuts")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no results can be written there"):
        run(config, None, "update-ok", output=tmp_path / "file")
    assert boards == []


# --- what it does ----------------------------------------------------------------------------------------------------


def test_one_cut_on_an_event(config, capsys, boards):
    assert run(config, None, "update-ok", on_event="ack offset=8192", after=0.0) == 0
    said = capsys.readouterr().out
    assert re.search(r"0\.00 ms +[\d.]+ ms +old app +ota_0 VALID runs", said)
    (folder,) = (config.parent / "reports").iterdir()
    assert folder.name.endswith("-cut-update-ok")
    assert str(folder / FILE) in said
    found = results(folder)
    assert (found.moment, found.scenario, found.pace) == ("the event ack offset=8192", "update-ok", 200.0)
    assert found.finished is not None
    assert sorted(path.name for path in folder.iterdir()) == ["0001", FILE]
    assert (folder / "0001" / "console.log").read_bytes()
    assert boards[0].console.port_at_hand is None, "the console is closed"


def test_a_sweep_prints_each_delay_and_the_edges(config, tmp_path, capsys):
    assert (
        run(config, None, "rollback", on_event="diag result=rebooting", sweep="0:600:2", output=tmp_path / "cuts") == 0
    )
    said = capsys.readouterr().out
    assert "600,000.00 ms" in said
    assert said.count("update failed, recorded") == 2
    assert "pass: 2 cuts" in said
    assert [cut.delay_s for cut in results(tmp_path / "cuts").cuts] == [0.0, 600.0]


def test_a_bisection_prints_the_edge(config, tmp_path, capsys):
    given = {"on_event": "ack", "bisect": "0:1200:600", "output": tmp_path / "cuts"}
    assert run(config, None, "update-ok", **given) == 0
    found = results(tmp_path / "cuts")
    (edge,) = found.edges
    assert (edge.below, edge.above) == ("old app", "new app")
    assert edge.low_s < edge.high_s
    assert "from 'old app' to 'new app'" in " ".join(capsys.readouterr().out.split())


def test_a_window_without_an_edge_is_inconclusive_and_still_shown(config, tmp_path, capsys):
    with pytest.raises(Inconclusive, match="same outcome, 'old app'"):
        run(config, None, "update-ok", at_mutation=10, bisect="0:0.001", output=tmp_path / "cuts")
    said = capsys.readouterr().out
    assert "exact" in said
    assert "pass: 2 cuts, broken off" in said
    assert results(tmp_path / "cuts").finished is None


def test_json_goes_to_stdout_and_the_table_to_stderr(config, tmp_path, capfdbinary):
    given = {"on_line": "Loaded app from partition at offset 0x110000", "output": tmp_path / "cuts", "as_json": True}
    assert run(config, None, "update-ok", **given) == 0
    out, err = capfdbinary.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "cuts" / FILE).read_bytes())
    assert json.loads(out)["cuts"][0]["outcome"] == "update failed, recorded"
    assert b"update failed, recorded" in err


def test_what_burns_efuses_is_skipped(config):
    with pytest.raises(NotApplicable, match="burns eFuses"):
        run(config, None, "secure-version-raised")
    assert list((config.parent / "reports").iterdir()) == []


def test_another_variant_takes_the_place_of_rollback_and_is_named(config, tmp_path):
    """The negative control: a bootloader without rollback, held to rollback."""
    given = {"on_event": "ready running=ota_1", "variant": "no_rollback", "output": tmp_path / "cuts"}
    assert run(config, None, "update-ok", **given) == 1
    found = results(tmp_path / "cuts")
    assert found.variant == "no_rollback"
    assert found.cuts[0].verdict is Verdict.FIRMWARE_FAIL


def test_a_hazard_ends_with_0_and_a_deviation_with_1(config, tmp_path, capsys, monkeypatch):
    given = {"at_mutation": 424}
    assert run(config, None, "update-ok", **given, output=tmp_path / "hazard") == 0
    assert results(tmp_path / "hazard").cuts[0].outcome == "new app silently lost"
    faulty.never_writing(monkeypatch)
    _rename(config)
    assert run(config, None, "update-ok", on_event="start state=NEW", output=tmp_path / "deviation") == 1
    assert "firmware fail after 0.00 ms: boot 1: rollback is not enabled" in capsys.readouterr().out


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_a_dead_bench_ends_it_with_what_was_found(config, tmp_path, boards, monkeypatch, capsys):
    def fail(scenario, trial, moment, delay, patience):
        raise BenchFault("the relay does not answer")

    monkeypatch.setattr("rig.crash.series.cut_once", fail)
    with pytest.raises(BenchFault, match=f"{MOST_IN_VAIN} cuts in a row broke off; the last one: the relay"):
        run(config, None, "update-ok", sweep="0:1:9", output=tmp_path / "cuts")
    assert len(results(tmp_path / "cuts").cuts) == MOST_IN_VAIN
    assert "bench fault after 0.00 ms, 125.00 ms, 250.00 ms: the relay does not answer" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_whole_results_and_nothing_else(config, tmp_path, number):
    folder, scratch = tmp_path / "cuts", tmp_path / "scratch"
    scratch.mkdir()
    code = "import sys; from pathlib import Path; from rig.crash_cut_command import run; " + (
        f"run(Path({str(config)!r}), None, 'update-ok', sweep='0:100:200', output=Path({str(folder)!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / FILE).exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) != 0
    found = results(folder)
    assert found.finished is None
    assert sorted(path.name for path in folder.iterdir()) == [*(cut.evidence for cut in found.cuts), FILE]
    assert list(scratch.iterdir()) == []


def test_an_interrupted_board_is_powered_again(config, tmp_path, boards, monkeypatch):
    switched = []

    def interrupted(scenario, trial, moment, delay, patience):
        trial.board.power.off()
        trial.folder.mkdir()
        raise KeyboardInterrupt

    real = crash_cut_command.powered
    monkeypatch.setattr("rig.crash.series.cut_once", interrupted)
    monkeypatch.setattr(crash_cut_command, "powered", lambda board: real(_noting(board, switched)))
    with pytest.raises(KeyboardInterrupt):
        run(config, None, "update-ok", output=tmp_path / "cuts")
    assert switched == ["on", "off", "on"]
    assert not (tmp_path / "cuts").exists()


def _noting(board, switched):
    class Switch:
        def on(self):
            switched.append("on")
            board.power.on()

        def off(self):
            switched.append("off")
            board.power.off()

    return dataclasses.replace(board, power=Switch())


def _rename(config):
    """Another board in the same process needs another name."""
    text = config.read_text(encoding="utf-8")
    config.write_text(re.sub(r"cut\d+", f"cut{next(_numbers)}", text, count=1), encoding="utf-8")
