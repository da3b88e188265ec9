"""`docs/requirements.md`: every requirement, the tests that carry it, and the requirements no test carries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rig.errors import UserError
from rig.evidence.records import Requirement, TestResult, Verdict
from rig.evidence.report_page.summary import count, split_test
from rig.evidence.report_page.text import one_line

_HEAD = "# Requirements"
_NOTE = "Generated from the requirements and the tests that carry them; do not edit."


def render_requirements(
    requirements: Sequence[Requirement],
    tests: Mapping[str, Sequence[str]],
    last: Sequence[TestResult] | None = None,
) -> str:
    """The Markdown text: one table per area with id, sentence and tests, and the last verdicts if `last` is given.

    `tests` maps a requirement's id to the pytest node ids that carry it; parameters in brackets are left out.
    Areas and requirements keep their order, tests are sorted: the same input gives the same text.
    Raises `UserError` if an id occurs twice or a test names an id that is not there.
    """
    _check(requirements, tests)
    without = [requirement.id for requirement in requirements if not tests.get(requirement.id)]
    lines = [_HEAD, "", _NOTE, "", _sum(len(requirements), without)]
    for area in dict.fromkeys(requirement.area for requirement in requirements):
        columns = ["Id", "Requirement", "Tests", *(["Last verdict"] if last is not None else [])]
        lines += ["", f"## {one_line(area)}", "", _row(columns), _row(["---"] * len(columns))]
        for requirement in (r for r in requirements if r.area == area):
            cells = [_escaped(requirement.id), _escaped(requirement.text), _tests(tests.get(requirement.id, ()))]
            if last is not None:
                cells.append(_verdicts([result for result in last if requirement.id in result.requirements]))
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _check(requirements: Sequence[Requirement], tests: Mapping[str, Sequence[str]]) -> None:
    ids = [requirement.id for requirement in requirements]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise UserError(f"requirement id used twice: {', '.join(twice)}", hint="give each requirement its own id")
    if unknown := sorted(set(tests) - set(ids)):
        named = "; ".join(f"{name} ({', '.join(sorted(tests[name]))})" for name in unknown)
        raise UserError(f"tests name requirements that do not exist: {named}", hint=f"known ids: {', '.join(ids)}")


def _sum(total: int, without: Sequence[str]) -> str:
    if not without:
        return f"{total} requirements, each with at least one test."
    return f"{total} requirements, {len(without)} of them without a test: {', '.join(map(_escaped, without))}."


def _tests(names: Sequence[str]) -> str:
    files = sorted({split_test(name.partition("[")[0]) for name in names})
    return "<br>".join(f"`{one_line(name)}` in {_escaped(file)}" for file, name in files) or "**none**"


def _verdicts(results: Sequence[TestResult]) -> str:
    boards = sorted({result.board for result in results})
    parts = []
    for board in boards:
        counts = count(result for result in results if result.board == board)
        seen = [(verdict, number) for verdict, number in counts.items() if number]
        parts.append(f"{_escaped(board)}: {', '.join(_counted(verdict, number) for verdict, number in seen)}")
    return "<br>".join(parts) or "not run"


def _counted(verdict: Verdict, number: int) -> str:
    return verdict.value if number == 1 else f"{verdict.value} ×{number}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """`text` on one line with what Markdown would read as markup made literal; `_` within words is no markup."""
    return re.sub(r"(?<!\w)_|_(?!\w)|[\\`*\[\]<>|#]", lambda match: "\\" + match.group(), one_line(text))
