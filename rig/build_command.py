"""`rig build`: which builds, live progress, and what was built."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from rig import build, esp_idf
from rig.boards import inventory
from rig.boards.inventory import BenchConfig
from rig.build import Built, Order, Step
from rig.errors import UserError
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen
from rig.virtual.builds import FIRMWARE


def run(
    config: Path,
    targets: tuple[str, ...],
    variants: tuple[str, ...],
    versions: tuple[str, ...],
    project: Path | None,
    builds: Path | None,
    jobs: int | None,
    *,
    as_json: bool,
) -> int:
    """The exit code of `rig build`; see `rig.errors` for what it may raise."""
    bench = inventory.load(config)
    source = (project or FIRMWARE).absolute()
    folder = (builds or config.absolute().parent / bench.firmware.builds).absolute()
    at_once = jobs or (os.cpu_count() or 1) + 2
    orders = [
        Order(source, folder, target, variant, version, at_once)
        for target in dict.fromkeys(targets or _targets(bench))
        for variant in dict.fromkeys(variants or build.default_variants(source))
        for version in dict.fromkeys(versions or build.VERSIONS)
    ]
    idf = esp_idf.find(os.environ)
    # All of them, so that the tenth is not refused after half an hour.
    for order in orders:
        build.check(order, idf)
    screen = Screen(stderr=as_json)
    screen.print(f"ESP-IDF {idf.version} in {idf.path}", highlight=False, soft_wrap=True)
    done: list[Built] = []
    with ended_like_ctrl_c(), BuildProgress(screen, len(orders)) as progress:
        for order in orders:
            progress.started(order)
            with contextlib.closing(build.run(order, idf)) as events:
                for event in events:
                    match event:
                        case Step():
                            progress.step(event)
                        case Built():
                            done.append(event)
                            progress.done(event)
    if as_json:
        json.dump([_plain(built) for built in done], sys.stdout, indent=2)
        print()
    screen.print(f"{len(done)} builds in {folder}", highlight=False, soft_wrap=True)
    return 0


def _targets(bench: BenchConfig) -> Iterable[str]:
    chips = [board.chip for board in bench.board if board.firmware == "built"]
    if not chips:
        raise UserError(
            "no board of rig.toml needs built firmware: virtual boards bring their own",
            hint="add a board of kind qemu or serial, or name a chip with --target",
        )
    return chips


def _plain(built: Built) -> dict[str, object]:
    return {
        "target": built.order.target,
        "variant": built.order.variant,
        "version": built.order.version,
        "path": str(built.order.final),
        "idf_version": built.build.idf_version,
        "app_bytes": built.build.app_path.stat().st_size,
        "seconds": round(built.seconds, 1),
    }


class BuildProgress:
    """One live line with idf.py's step on a terminal; everywhere one line for each finished build."""

    def __init__(self, screen: Screen, total: int) -> None:
        self.screen = screen
        self.total = total
        self.finished = 0
        self.now = ""
        self._live: Progress | None = None

    def __enter__(self) -> BuildProgress:
        if self.screen.is_terminal:
            text = TextColumn(
                "{task.fields[line]}", markup=False, table_column=Column(no_wrap=True, overflow="crop", ratio=1)
            )
            columns = (BarColumn(20), TimeElapsedColumn(), text)
            self._live = Progress(*columns, console=self.screen, refresh_per_second=8, transient=True, expand=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, order: Order) -> None:
        self.now = f"[{self.finished + 1}/{self.total}] {order}"
        if self._live is not None:
            for task in self._live.task_ids:
                self._live.remove_task(task)
            self._live.add_task("", total=None, line=f"{self.now}: starting idf.py")

    def step(self, step: Step) -> None:
        if self._live is not None:
            self._live.update(
                self._live.task_ids[0], completed=step.position or 0, total=step.total, line=f"{self.now}: {step.text}"
            )

    def done(self, built: Built) -> None:
        self.finished += 1
        size = built.build.app_path.stat().st_size
        self.screen.print(
            f"{self.now}: {size} bytes, {built.build.idf_version}, {built.seconds:.0f} s",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
