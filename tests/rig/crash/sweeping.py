"""Sweeps of small recordings on the virtual chip's firmware."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig.boards.image_boots import ImageBooter
from rig.crash.journal import Journal
from rig.crash.recording import Recording
from rig.crash.sweep import Bench, sweep
from rig.evidence.records import SweepRecord
from tests.rig.crash.hand import virtual

Open = Callable[[], ImageBooter]


def run(made: Recording, folder: Path, booter: Open | None = None, at_once: int = 1, **options: Any) -> SweepRecord:
    """Sweep on the virtual chip's firmware, or on another booter."""
    opened = booter or (lambda: virtual(made.boot_config, made.table))
    return sweep(made, Bench("b", "virtual", opened, at_once), Journal(folder / "journal", made, "b"), **options)


def said(record: SweepRecord) -> SweepRecord:
    """The record without what may differ from run to run: how long it took, and how many images had to be booted."""
    return record.model_copy(update={"duration_s": 0.0, "booted": 0})
