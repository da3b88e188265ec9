"""What a certificate comes to: gate, qualification, and whether the shipped bootloader is the qualified one."""

from __future__ import annotations

import itertools

import pytest

from rig.certificate.derive import derive
from rig.evidence.records import Retry, SweepRecord, Verdict
from tests.rig.certificate.material import facts_of, gate_report, release_build, release_of, result, run_of

OTHER = "rollback " + "0" * 64


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return release_of(release_build(tmp_path_factory.mktemp("build")))


@pytest.fixture(scope="module")
def own(release):
    """What a test notes that ran plain rollback on the shipped bootloader."""
    return f"rollback {release.bootloader_sha256}"


def found(release, results, gate=None, **more):
    return derive(facts_of(release), gate or gate_report(), run_of(results, **more))


def verdicts(certificate):
    return {part.name: part.verdict.value for part in certificate.parts}


def notes(certificate):
    return [note.text for note in certificate.exceptions]


def test_a_build_is_qualified_if_tests_passed_on_its_very_bootloader(release, own):
    seen = found(release, [result("A-1", bootloader=own), result("A-2", bootloader=own)])
    assert (seen.verdict, seen.headline) == (Verdict.PASS, "Qualified")
    assert verdicts(seen) == {"gate": "pass", "qualification": "pass", "bootloader": "pass"}
    assert seen.boards[0].text == "all 2 tests of plain rollback ran on the shipped bootloader, byte by byte (SHA-256)"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"kind": "virtual"}, "the bench's own model of the bootloader, which is NOT the shipped bootloader"),
        ({"chip": "esp32"}, "another chip than the build's"),
    ],
    ids=["virtual board", "another chip"],
)
def test_a_board_that_cannot_run_the_bootloader_qualifies_none(release, own, more, says):
    seen = found(release, [result("A-1", bootloader=own, **more)])
    assert (seen.verdict, seen.headline) == (Verdict.INCONCLUSIVE, "Inconclusive about this bootloader")
    assert says in seen.boards[0].text


@pytest.mark.parametrize(
    ("bootloaders", "says"),
    [
        ([OTHER], "NOT the shipped bootloader: 1 of 1 tests of plain rollback ran on another one"),
        (["own", OTHER], "1 of 2 tests of plain rollback ran on another one"),
        (["own, own again"], "no test of plain rollback says on which bootloader it ran"),
        (["factory"], "no test of plain rollback says on which bootloader it ran"),
        ([None], "no test of plain rollback says on which bootloader it ran"),
    ],
    ids=["another", "once another", "two in one test", "another variant", "unknown"],
)
def test_every_test_of_plain_rollback_has_to_run_on_it(release, own, bootloaders, says):
    texts = {"own": own, "own, own again": f"{own}, {OTHER}", "factory": own.replace("rollback", "factory")}
    results = [result(f"A-{n}", bootloader=texts.get(name, name)) for n, name in enumerate(bootloaders)]
    seen = found(release, results)
    assert verdicts(seen) == {"gate": "pass", "qualification": "pass", "bootloader": "inconclusive"}
    assert says in seen.boards[0].text


def test_a_test_that_was_skipped_shows_no_bootloader(release, own):
    seen = found(release, [result("A-1", "skipped", bootloader=own), result("A-2", bootloader=None)])
    assert (seen.boards[0].same, seen.boards[0].unknown) == (0, 1)
    assert verdicts(seen)["bootloader"] == "inconclusive"


def test_a_bootloader_that_the_bench_made_is_never_qualified(release, own):
    seen = found(release.model_copy(update={"synthesised": True}), [result("A-1", bootloader=own)])
    assert seen.verdict is Verdict.INCONCLUSIVE
    assert "holds no machine code" in seen.parts[2].text


def test_one_of_several_boards_is_enough_unless_tests_were_spread_over_them(release, own):
    results = [result("A-1", bootloader=own), result("A-1", board="two", bootloader=OTHER)]
    assert found(release, results).verdict is Verdict.PASS
    spread = found(release, results, spread=True)
    assert spread.verdict is Verdict.INCONCLUSIVE
    assert "the tests were spread over boards" in spread.parts[2].text


@pytest.mark.parametrize(("status", "says"), [("passed", "the gate saw it boot"), ("warning", "did not see it boot")])
def test_what_the_gate_watched_is_told_but_does_not_qualify(release, status, says):
    seen = found(release, [result("A-1", bootloader=OTHER)], gate_report(GATE_ROLLBACK_WATCHED=status))
    assert seen.verdict is Verdict.INCONCLUSIVE
    assert says in seen.parts[2].text


def test_the_worst_part_is_the_verdict_and_a_failure_outweighs_all(release, own):
    """By hand: firmware fail, then bench fault, then inconclusive, then pass."""
    gates = {"pass": "passed", "inconclusive": "not done", "firmware fail": "failed"}
    rank = ["pass", "inconclusive", "bench fault", "firmware fail"]
    for gate, run, link in itertools.product(gates, rank, ("pass", "inconclusive")):
        results = [result("A-1", run, bootloader=own if link == "pass" else OTHER)]
        seen = found(release, results, gate_report(GATE_HTTP=gates[gate]))
        assert verdicts(seen) == {"gate": gate, "qualification": run, "bootloader": link}
        assert seen.verdict.value == max(gate, run, link, key=rank.index)
        assert (seen.headline == "Qualified") == (gate == run == link == "pass")


def test_nothing_that_ran_is_inconclusive(release):
    assert verdicts(found(release, [result("A-1", "skipped")]))["qualification"] == "inconclusive"


def test_another_variant_in_the_place_of_rollback_is_not_the_qualification(release, own):
    seen = found(release, [result("A-1", bootloader=own)], variant="no_rollback")
    assert verdicts(seen)["qualification"] == "inconclusive"


def test_a_failure_may_be_accepted_but_never_one_of_rollback_itself(release, own):
    results = [result("A-1", bootloader=own)]
    accepted = found(release, results, gate_report(GATE_HTTP="failed", GATE_HTTP_accepted="lab only"))
    assert accepted.verdict is Verdict.PASS
    assert "GATE-HTTP accepted (lab only): failed: seen" in notes(accepted)
    for name in ("GATE_ROLLBACK", "GATE_ROLLBACK_WATCHED"):
        seen = found(release, results, gate_report(**{name: "failed", f"{name}_accepted": "we ship it"}))
        assert verdicts(seen)["gate"] == "firmware fail"


def test_the_exceptions_tell_what_was_not_shown(release, own):
    retry = Retry(board="desk", reason="port vanished")
    results = [
        result("A-1", bootloader=own, retries=[retry]),
        result("A-2", "skipped", reason="no radio"),
        result("A-3", "inconclusive", reason="the log is silent"),
    ]
    run = run_of(results, quarantined={"two": "its port is gone"})
    lonely = run.requirements[0].model_copy(update={"id": "Z-9"})
    run = run.model_copy(update={"requirements": [*run.requirements, lonely]})
    gate = gate_report(GATE_HTTP="warning").model_copy(update={"previous": None})
    seen = derive(facts_of(release, left_out=["rig.toml: password"]), gate, run)
    for text in (
        "GATE-HTTP warning: seen",
        "no previous release was named: nothing was compared with what devices have",
        "inconclusive on desk: tests/qualification/test_x.py::test_A-3: the log is silent",
        "skipped on every board, 1 requirement: A-2",
        "without any test, 1 requirement: Z-9",
        "1 test skipped on desk: no radio",
        "no sweep of power cuts ran",
        "1 test done again after a bench fault",
        "two got no more tests: its port is gone",
        "rig.toml: password",
    ):
        assert text in notes(seen)


def test_sweeps_count_and_are_listed(release, own):
    sweep = SweepRecord(
        scenario="update-ok", summary="", board="desk", kind="serial", chip="esp32c3", idf_version="v5.5",
        variant="rollback", verdict=Verdict.FIRMWARE_FAIL, images=12, booted=3, duration_s=1.0, mutations=[],
        outcomes=[], windows=[], findings=[], reason="unbootable",
    )  # fmt: skip
    seen = found(release, [result("A-1", bootloader=own)], sweeps=[sweep])
    assert seen.verdict is Verdict.FIRMWARE_FAIL
    assert [(row.scenario, row.images) for row in seen.sweeps] == [("update-ok", 12)]
    assert "firmware fail on desk: sweep update-ok: unbootable" in notes(seen)
    assert "no sweep of power cuts ran" not in notes(seen)


def test_the_matrix_has_every_requirement_with_the_worst_of_its_tests_on_each_board(release):
    results = [
        result("A-1"), result("A-1", "firmware fail"), result("A-1", board="two"), result("A-2", board="two"),
    ]  # fmt: skip
    seen = found(release, results)
    assert {row.id: {name: verdict.value for name, verdict in row.verdicts.items()} for row in seen.requirements} == {
        "A-1": {"desk": "firmware fail", "two": "pass"},
        "A-2": {"two": "pass"},
    }
