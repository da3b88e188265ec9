"""Which boards `rig qualify` takes, how many copies of each, and what the report says of their firmware."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rig.boards.inventory import BenchConfig
from rig.errors import UserError
from rig.evidence.records import RunRecord, TestResult
from rig.evidence.report_page.summary import burnt
from rig.qualify_boards import board_facts, check_spent, choose, copies, firmware_facts

VIRTUAL = {"name": "virtual-c3", "kind": "virtual", "chip": "esp32c3"}
OTHER = {"name": "virtual-32", "kind": "virtual", "chip": "esp32"}
ATTACHED = {"name": "desk", "kind": "serial", "chip": "esp32", "port": "/dev/ttyUSB0"}
EMULATED = {"name": "qemu-c3", "kind": "qemu", "chip": "esp32c3"}


def bench(*boards: dict[str, str]) -> BenchConfig:
    return BenchConfig.model_validate({"board": list(boards)})


def result(board: str, **firmware: str) -> TestResult:
    return TestResult(
        test="t", requirements=[], board=board, kind="k", chip="c", verdict="pass",
        started=datetime(2025, 1, 1, tzinfo=UTC), duration_s=1.0, firmware=firmware,
    )  # fmt: skip


def test_boards_keep_the_order_in_which_they_were_named():
    both = bench(VIRTUAL, OTHER)
    assert [section.name for section in choose(both, ["virtual-32", "virtual-c3"])] == ["virtual-32", "virtual-c3"]
    assert [section.name for section in choose(both, [])] == ["virtual-c3"]


def test_an_unknown_board_among_known_ones_is_refused():
    with pytest.raises(UserError, match="no board is called 'three'"):
        choose(bench(VIRTUAL, OTHER), ["virtual-c3", "three"])


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("port", "/dev/ttyUSB0", "/dev/../dev/ttyUSB0"),
        ("port", "rfc2217://lab:4000", "rfc2217://LAB:4000"),
        ("mac", "60:55:F9:00:00:01", "60:55:f9:00:00:01"),
        ("serial_number", "A1", "A1"),
        ("place", {"name": "c3-1"}, {"name": "c3-1", "program": "/opt/labgrid-client"}),
    ],
)
def test_one_board_under_two_names_is_refused(key, one, other):
    same = {"kind": "serial", "chip": "esp32"}
    both = bench({**same, "name": "left", key: one}, {**same, "name": "right", key: other})
    with pytest.raises(UserError, match=f"boards left and right have the same {key}"):
        choose(both, ["left", "right"])
    assert len(choose(both, ["left"])) == 1


def test_a_port_reached_through_a_link_is_the_same_port(tmp_path):
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    same = {"kind": "serial", "chip": "esp32"}
    boards = [{**same, "name": name, "port": str(tmp_path / name)} for name in ("ttyUSB0", "by-id")]
    with pytest.raises(UserError, match="they are one board"):
        choose(bench(*boards), ["ttyUSB0", "by-id"])


@pytest.mark.parametrize(
    ("cores", "boards", "expected"),
    [
        (2, [VIRTUAL], [4]),
        (2, [VIRTUAL, OTHER], [2, 2]),
        (2, [VIRTUAL, EMULATED, ATTACHED], [2, 1, 1]),
        (1, [VIRTUAL, OTHER, EMULATED], [1, 1, 1]),
        (64, [VIRTUAL], [8]),
    ],
)
def test_boards_that_are_programs_share_the_cores(monkeypatch, cores, boards, expected):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert list(copies(bench(*boards).board, None).values()) == expected


def test_an_attached_board_is_never_copied():
    assert copies(bench(VIRTUAL, ATTACHED).board, 5) == {"virtual-c3": 5, "desk": 1}
    assert copies(bench(ATTACHED).board, 1) == {"desk": 1}
    with pytest.raises(UserError, match="--jobs 2: there is only one desk"):
        copies(bench(ATTACHED).board, 2)


def test_firmware_is_told_for_each_board_with_every_build_its_tests_name():
    both = bench(VIRTUAL, ATTACHED)
    results = [
        result("desk", build="rollback", version="2.0.0"), result("desk", build="rollback", version="1.0.0"),
        result("desk", build="rollback", version="1.0.0"), result("desk"), result("virtual-c3"),
    ]  # fmt: skip
    assert firmware_facts(both, both.board, results) == [
        {"board": "virtual-c3", "source": "synthesised test app", "ESP-IDF": "v5.5"},
        {"board": "desk", "source": "builds in builds", "build": "rollback", "version": "1.0.0"},
        {"board": "desk", "source": "builds in builds", "build": "rollback", "version": "2.0.0"},
    ]


def test_facts_of_a_board_are_short_texts():
    (section,) = bench(VIRTUAL).board
    assert {**board_facts(section), "how": ""} == {**VIRTUAL, "how": ""}


SPARE = ATTACHED | {"efuse": "burn"}


def test_a_board_is_burnt_only_if_rig_toml_and_the_command_line_both_say_so():
    check_spent(choose(bench(SPARE), []), ["desk"])
    check_spent(choose(bench(ATTACHED, VIRTUAL), []), [])
    for boards, words in (((ATTACHED,), "does not give this board up"), ((VIRTUAL, SPARE), "this board is not tested")):
        with pytest.raises(UserError, match=f"--burn-efuses desk: .*{words}"):
            check_spent(choose(bench(*boards), []), ["desk"])


def test_what_was_burnt_for_good_is_summed_up_for_each_board():
    spans = [result("desk").model_copy(update={"burnt": span}) for span in ((0, 0), (0, 2), (2, 3))]
    found = burnt(run_of(*spans, result("other")))
    assert found == ["eFuses of desk: secure version 0 to 3, 3 bits burnt for good"]
    assert burnt(run_of(result("desk"))) == []


def run_of(*results: TestResult) -> RunRecord:
    when = datetime(2025, 1, 1, tzinfo=UTC)
    return RunRecord(tool="t", started=when, finished=when, command="c", requirements=[], results=list(results))
