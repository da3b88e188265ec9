"""Faults of the emulator that look like firmware: how they are told from what an app does by itself.

Known faults of Espressif's QEMU (interrupts taken inside critical sections, old translated code) end an app as a crash
does. So an app that restarts must have announced it, or have been told to crash by its diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterable

from rig.protocol import Line

PENDING = "PENDING_VERIFY"
CRASHES = frozenset({"panic", "watchdog"})
"""Outcomes of diagnostics (PROTOCOL.md, 4) that end in a crash."""


def restart_announced(said: Iterable[Line]) -> bool:
    """Whether an app that said this in one boot announced its restart, or that its diagnostics end in a crash."""
    return any(
        line.word == "shutdown"
        or (line.word == "start" and line.fields.get("state") == PENDING and line.fields.get("diag") in CRASHES)
        for line in said
    )
