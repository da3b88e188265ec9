"""Names of crash images: `update-ok/m0412/torn-erase-3`, and `…/then/m0002/torn-program-16` for a second cut."""

from __future__ import annotations

import re
from typing import NamedTuple

from rig.errors import UserError

EXAMPLE = "a name looks like update-ok/m0412, update-ok/m0412/torn-erase-3 or update-ok/m0412/then/m0001"
_STEP = re.compile(r"m([0-9]{4}|[1-9][0-9]{4,})(?:/(torn-[a-z]+(?:-[a-z]+)?-[0-9]+))?")


class Cut(NamedTuple):
    """Power lost right after mutation `number` (counted from 1; 0: before the first), or, with a `form`, within it."""

    number: int
    form: str = ""

    def __str__(self) -> str:
        return f"m{self.number:04d}" + (f"/{self.form}" if self.form else "")


class Name(NamedTuple):
    """A crash image: the first cut in the recorded run, further ones in the power-up that follows the one before."""

    scenario: str
    cuts: tuple[Cut, ...]

    def __str__(self) -> str:
        return f"{self.scenario}/" + "/then/".join(map(str, self.cuts))


def parse(text: str) -> Name:
    """The inverse of `str`. UserError for anything else."""
    scenario, _, rest = text.partition("/")
    matches = [_STEP.fullmatch(part) for part in rest.split("/then/")]
    if not scenario or not all(matches):
        raise UserError(f"{text!r} is no crash image", hint=EXAMPLE)
    return Name(scenario, tuple(Cut(int(match[1]), match[2] or "") for match in matches if match))
