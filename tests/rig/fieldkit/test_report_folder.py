"""Report folders explained: each failed test by its console, one test alone, and folders that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.fieldkit.report_folder import explain_folder
from rig.fieldkit.verdicts import FieldVerdict as V

DATA = Path(__file__).parents[2] / "data"
LOG = DATA / "logs" / "field" / "dht22-selftest-fail-rollback.log"
FOLDER = "tests/virtual-c3/update.test_some"


@pytest.fixture
def report(tmp_path):
    """A report with one test, which passed; `verdict` and more can be changed."""

    def make(verdict: str = "pass", **changes: object) -> Path:
        record = json.loads((DATA / "report" / "sample_run.json").read_text())
        result = record["results"][0] | {
            "verdict": verdict,
            "reason": "",
            "evidence": {"console.log": f"{FOLDER}/console.log"},
        }
        record["results"], record["sweeps"] = [result | changes], []
        (tmp_path / FOLDER).mkdir(parents=True, exist_ok=True)
        shutil.copy(LOG, tmp_path / FOLDER / "console.log")
        (tmp_path / "results.json").write_text(json.dumps(record))
        return tmp_path

    return make


def test_a_failed_test_is_explained_by_its_console(report):
    told = explain_folder(report("firmware fail", reason="the slot was wrong"))
    assert told.kind == "report folder"
    assert told.verdict is V.ROLLBACK_CORRECT
    assert "firmware fail: the slot was wrong" in told.reasons[0]
    assert told.boots
    assert told.evidence


def test_a_bench_fault_weighs_more_than_what_the_console_shows(report):
    told = explain_folder(report("bench fault", reason="the port vanished"))
    assert told.verdict is V.BENCH_FAULT
    assert {finding.verdict for finding in told.findings} == {V.BENCH_FAULT, V.ROLLBACK_CORRECT}


def test_one_test_alone(report):
    told = explain_folder(report("pass") / FOLDER)
    assert told.verdict is V.ROLLBACK_CORRECT
    assert told.notes[0].endswith(": pass")


def test_nothing_failed_or_nothing_there(report, tmp_path):
    with pytest.raises(UserError, match=r"nothing failed \(1 pass\)"):
        explain_folder(report("pass"))
    with pytest.raises(UserError, match="neither results"):
        explain_folder(tmp_path / "tests")
    (tmp_path / "results.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="no results of a run"):
        explain_folder(tmp_path)


@pytest.mark.parametrize("path", ["../outside.log", "nowhere.log"])
def test_a_console_outside_the_folder_or_missing_is_not_read(report, path):
    folder = report("firmware fail", evidence={"console.log": path})
    (folder.parent / "outside.log").write_bytes(LOG.read_bytes())
    told = explain_folder(folder)
    assert (told.verdict, told.boots) == (V.INCONCLUSIVE, [])
    assert told.unknown == ["the console of that test"]
