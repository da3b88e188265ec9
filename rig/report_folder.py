"""The folder of one report: worked on under a hidden name, so that a folder without a dot is always a whole report."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import webbrowser
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from rig.boards.inventory import BenchConfig
from rig.errors import BenchFault, UserError
from rig.evidence.records import RunRecord
from rig.evidence.report import write_report
from rig.screen import Screen


class ReportFolder:
    """`partial` is where evidence goes until `finish` gives the folder its name, `final` or one like it."""

    def __init__(self, config: Path, bench: BenchConfig, started: datetime) -> None:
        self.final = config.resolve().parent / bench.bench.reports / started.strftime("%Y-%m-%d_%H-%M-%S")
        self.partial = self.final.with_name(f".{self.final.name}.{os.getpid()}")

    @contextlib.contextmanager
    def removed_on_error(self) -> Iterator[None]:
        """Whatever is raised inside leaves no folder."""
        try:
            yield
        except BaseException:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def make(self) -> None:
        """UserError if it cannot be."""
        try:
            self.partial.mkdir(parents=True)
        except (OSError, ValueError) as error:
            # ValueError: a path with a NUL in it
            raise UserError(
                f"{str(self.final.parent)!r}: no report can be written there: {error}",
                hint="bench.reports in rig.toml names another folder",
            ) from error

    def finish(self, record: RunRecord) -> Path:
        """Write the report, name the folder; its index.html. BenchFault if the disk does not take it."""
        try:
            write_report(record, self.partial)
            number, target = 2, self.final
            while target.exists():
                target = self.final.with_name(f"{self.final.name}-{number}")
                number += 1
            return self.partial.rename(target) / "index.html"
        except OSError as error:
            raise BenchFault(f"{self.final.parent}: the report cannot be written there: {error.strerror}") from error


def print_json(page: Path) -> None:
    """The results beside the page on stdout; JSON is UTF-8, whatever the terminal's encoding."""
    sys.stdout.buffer.write(page.with_name("results.json").read_bytes())


def show(page: Path, wanted: bool | None, screen: Screen) -> None:
    """Open the page in a browser if that is wanted, or, if nothing was said, on a desktop."""
    desktop = sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if (desktop if wanted is None else wanted) and not webbrowser.open(page.as_uri()):
        screen.print("no browser could be started")
