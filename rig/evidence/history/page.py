"""The history as one HTML page, to be looked at in a browser: offline, light or dark, wide or narrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rig.evidence.history.analysis import Analysis, Row
from rig.evidence.history.read import Run
from rig.evidence.verdicts import LETTER, MEANING, PRECEDENCE, Verdict

HERE = Path(__file__).parent
REPORT = HERE.parent / "report_page"


def render(found: Analysis, runs: Sequence[Run], total: tuple[int, int]) -> str:
    """The page as one text; `total`: how many runs and results there are in all."""
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(HERE), FileSystemLoader(REPORT)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_id = {run.id: run for run in runs}
    troubled = found.troubles
    return environment.get_template("history.html.j2").render(
        css=Markup(environment.get_template("page.css").render() + environment.get_template("history.css").render()),
        groups=[("Requirements", found.requirements), ("Boards", found.boards), ("Builds", found.builds)],
        runs=runs,
        run_name=lambda number: by_id[number].name if number in by_id else None,
        total=total,
        troubled=troubled,
        headline=_headline(found.requirements),
        css_name=lambda verdict: verdict.value.replace(" ", "-"),
        letter=LETTER,
        meaning=MEANING,
        tone=_tone(found.requirements),
        spoken=lambda row: _spoken(row, runs),
    )


def _headline(rows: Sequence[Row]) -> str:
    if not rows:
        return "No requirement was tested yet"
    troubled = sum(bool(row.blames) for row in rows)
    if not troubled:
        return "Every requirement does well with its last build"
    return f"{troubled} of {len(rows)} requirement{'' if len(rows) == 1 else 's'} in trouble"


def _tone(rows: Sequence[Row]) -> Verdict:
    seen = {row.last for row in rows if row.last is not None}
    return next((verdict for verdict in PRECEDENCE if verdict in seen), Verdict.SKIPPED)


def _spoken(row: Row, runs: Sequence[Run]) -> str:
    """The strip in words, for whoever does not see it."""
    told = [row.trend[run.id].value if run.id in row.trend else "not run" for run in runs]
    return f"{row.name}, oldest run first: {', '.join(told)}"
