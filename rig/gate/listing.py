"""The checks as the table of docs/gate.md: `python -m rig.gate.listing` prints it."""

from __future__ import annotations

from rig.gate.catalogue import CHECKS


def table() -> str:
    """Markdown: a row for each check, in order."""
    rows = [f"| {check.id} | {check.title} | {check.reason} | {check.remedy} |" for check in CHECKS]
    return "\n".join(["| id | passes if | why | what to do |", "| --- | --- | --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
