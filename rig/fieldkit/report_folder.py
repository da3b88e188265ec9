"""A report folder of this project explained: each test that did not pass, by its console; or the folder of one test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rig.errors import UserError
from rig.evidence.records import RunRecord, SweepRecord, TestResult, Verdict
from rig.fieldkit.explain_log import explain_log
from rig.fieldkit.explained import Explanation, Finding
from rig.fieldkit.verdicts import MEANINGS, WEIGHT, FieldVerdict

RESULTS = "results.json"
CONSOLE = "console.log"
_CHUNK = 0x100000
_DEPTH = 3
"""A test's folder is reports/<time>/tests/<board>/<test>."""
_BENCH = {Verdict.BENCH_FAULT: FieldVerdict.BENCH_FAULT, Verdict.INCONCLUSIVE: FieldVerdict.INCONCLUSIVE}


class Explained(NamedTuple):
    """One test of the report, and what its console says; None where it has none."""

    result: TestResult
    log: Explanation | None


def explain_folder(path: Path) -> Explanation:
    """Explain reports/<time>/, or the evidence of one test in it.

    Raises UserError for any other folder, and where nothing failed.
    """
    if (path / RESULTS).is_file():
        return _report(path, _record(path / RESULTS))
    if (path / CONSOLE).is_file():
        return _one_test(path)
    raise UserError(
        f"{path}: neither {RESULTS} nor {CONSOLE} is in this folder",
        hint="give reports/<time>, the folder of one test below it, a log or a dump",
    )


def _record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="give a report folder that can be read") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path}: no results of a run: {where}: {first['msg']}", hint="write the report again"
        ) from error


def _report(folder: Path, record: RunRecord) -> Explanation:
    failed = [result for result in record.results if result.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    sweeps = [sweep for sweep in record.sweeps if sweep.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    counts = ", ".join(
        f"{number} {verdict.value}" for verdict, number in Counter(r.verdict for r in record.results).items()
    )
    if not failed and not sweeps:
        raise UserError(
            f"{folder}: nothing failed ({counts or 'no tests'}), so there is nothing to explain",
            hint="give the folder of one test below it to have its console explained",
        )
    tests = [Explained(result, _log_of(folder, result)) for result in failed]
    told = [finding for test in tests for finding in _findings(test)] + [_swept(sweep) for sweep in sweeps]
    told.sort(key=lambda finding: WEIGHT[finding.verdict])
    # boots and entries of one test only: those of several do not belong together
    shown = next((test.log for test in tests if test.log and test.log.findings), None)
    base = shown or Explanation(
        source="", kind="report folder", verdict=told[0].verdict, meaning="", reasons=told[0].reasons
    )
    notes = [f"{counts}; one finding or more for each test that did not pass"]
    if len(tests) > 1 and shown:
        notes.append(f"boots and otadata are those of {_name(tests[0].result)}")
    return base.model_copy(
        update={
            "source": str(folder),
            "kind": "report folder",
            "verdict": told[0].verdict,
            "meaning": MEANINGS[told[0].verdict],
            "reasons": told[0].reasons,
            "evidence": told[0].evidence,
            "unknown": told[0].unknown,
            "findings": told,
            "notes": [*notes, *base.notes],
        }
    )


def _name(result: TestResult) -> str:
    return f"{result.test.rpartition('::')[2]} on {result.board}"


def _log_of(folder: Path, result: TestResult) -> Explanation | None:
    """A path in results.json that leads out of the folder is not followed."""
    relative = result.evidence.get(CONSOLE)
    if relative is None:
        return None
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size == 0:
        return None
    return explain_log(_chunks(path), str(path))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="give a report folder that can be read") from error


def _findings(test: Explained) -> Iterator[Finding]:
    """What the run said of the test, then what its console shows; line numbers are those of its console.log."""
    result, log = test.result, test.log
    said = f"{_name(result)}: {result.verdict.value}{f': {result.reason}' if result.reason else ''}"
    judged = _BENCH.get(result.verdict)
    if judged is not None or log is None:
        yield Finding(
            verdict=judged or FieldVerdict.INCONCLUSIVE,
            reasons=[said],
            unknown=[] if judged is FieldVerdict.BENCH_FAULT else ["the console of that test"] if log is None else [],
        )
    for finding in log.findings if log else ():
        where = f"{said}; {CONSOLE} shows {finding.verdict.value}"
        yield finding.model_copy(update={"reasons": [where, *finding.reasons]})


def _swept(sweep: SweepRecord) -> Finding:
    """A sweep has no one console: its findings name the crash images."""
    said = f"sweep {sweep.scenario} on {sweep.board}: {sweep.verdict.value}"
    return Finding(
        verdict=_BENCH.get(sweep.verdict, FieldVerdict.INCONCLUSIVE),
        reasons=[f"{said}{f': {sweep.reason}' if sweep.reason else ''}", *(item.what for item in sweep.findings[:5])],
        unknown=["rig crash replay, with the names of the crash images in the report"],
    )


def _one_test(folder: Path) -> Explanation:
    told = explain_log(_chunks(folder / CONSOLE), str(folder))
    result = _result_of(folder)
    notes = list(told.notes)
    if result is not None:
        notes.insert(0, f"{_name(result)}: {result.verdict.value}{f': {result.reason}' if result.reason else ''}")
    return told.model_copy(update={"kind": "report folder", "notes": notes})


def _result_of(folder: Path) -> TestResult | None:
    """What the report above says of the test with this evidence."""
    own = folder.resolve()
    for above in list(own.parents)[:_DEPTH]:
        if (above / RESULTS).is_file():
            console = (own / CONSOLE).relative_to(above).as_posix()
            results = _record(above / RESULTS).results
            return next((result for result in results if result.evidence.get(CONSOLE) == console), None)
    return None
