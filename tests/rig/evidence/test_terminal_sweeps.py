"""A power-cut sweep in the terminal: outcomes beside the model's, windows, findings to replay, one line of sums."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import Console

from rig.evidence.records import SweepRecord
from rig.evidence.terminal_sweeps import print_sweep
from tests.rig.evidence.consoles import plain_console, printed, terminal
from tests.rig.evidence.sweeps import broken_sweep, good_sweep


def shown(sweep: SweepRecord, console: Console) -> str:
    print_sweep(sweep, console)
    return printed(console)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("sweep", [good_sweep(), broken_sweep()], ids=["good", "broken"])
def test_it_fits_the_width_in_any_encoding_without_colour(sweep: SweepRecord, width: int, encoding: str) -> None:
    text = shown(sweep, plain_console(width, encoding))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text


def test_each_outcome_has_its_severity_and_the_numbers_of_board_and_model() -> None:
    rows = [line.split() for line in shown(broken_sweep(), plain_console(120)).splitlines()]
    assert ["good", "old", "app", "6,120", "6,120"] in [row[:5] for row in rows]
    assert ["hazard", "confirmation", "lost", "0", "!", "71"] in [row[:6] for row in rows]
    assert ["BROKEN", "unbootable", "142", "!", "0"] in [row[:5] for row in rows]


def test_windows_come_with_widths_and_the_data_sheet_they_rest_on() -> None:
    text = shown(good_sweep(), plain_console(200))
    line = next(line for line in text.splitlines() if "PENDING_VERIFY → VALID, by the app" in line)
    assert line.split()[-5:] == ["1", "45.7", "ms", "403", "ms"]
    assert "W25Q32JV data sheet" in text
    without = good_sweep().model_copy(update={"windows": []})
    assert "no risky window" in shown(without, plain_console())


def test_deviations_come_before_hazards_each_with_its_command_in_one_piece() -> None:
    long = "x" * 90
    found = [finding.model_copy(update={"image": finding.image + long}) for finding in broken_sweep().findings]
    lines = shown(broken_sweep().model_copy(update={"findings": found}), plain_console()).splitlines()
    commands = [line.strip() for line in lines if "rig crash replay" in line]
    assert commands == [f"rig crash replay {finding.image}" for finding in found]
    text = "\n".join(lines)
    assert text.index("DEVIATION (142 images): unbootable") < text.index("hazard (4 images): confirmation lost")
    assert "board: no app nothing bootable" in text
    assert "model: ota_0 VALID runs" in text
    assert "to do: remedy against confirmation lost" in text


def test_the_meaning_that_the_table_tells_is_not_told_again() -> None:
    sweep = good_sweep()
    longer = sweep.findings[0].model_copy(update={"what": f"lost, by a cut: {sweep.outcomes[3].meaning}"})
    text = shown(sweep.model_copy(update={"findings": [longer]}), plain_console(200))
    assert "): lost, by a cut\n" in text


@pytest.mark.parametrize(
    ("sweep", "last"),
    [
        (
            good_sweep(),
            "pass: 5,553 crash images and 2,165 of a second cut, 1,204 booted, 6,514 covered by these, 2.71 s",
        ),
        (broken_sweep(), "firmware fail: 680 crash images, 310 booted, 370 covered by these, 2.71 s"),
    ],
    ids=["good", "broken"],
)
def test_the_last_line_sums_it_up(sweep: SweepRecord, last: str) -> None:
    assert shown(sweep, plain_console(120)).splitlines()[-1] == last


def test_what_is_wrong_stands_above_the_sums() -> None:
    assert shown(broken_sweep(), plain_console(200)).splitlines()[-2] == (
        "unbootable: 142 crash images, in the model 0; 142 crash images do otherwise than the model of ESP-IDF v5.5"
    )


def test_text_from_the_board_cannot_reach_the_terminal_as_control_characters() -> None:
    sweep = broken_sweep()
    spoilt = sweep.findings[0].model_copy(update={"board_did": "\x1b[2J\x07[bold]gone[/]"})
    text = shown(sweep.model_copy(update={"findings": [spoilt]}), plain_console())
    assert "\\x07[bold]gone[/]" in text


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[" in shown(broken_sweep(), terminal())
