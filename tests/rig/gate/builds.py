"""Builds for the gate: a good one, and ways to spoil a copy of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rig.gate import catalogue
from rig.gate.check import Outcome, Status
from rig.gate.pieces import Pieces, load_pieces
from rig.gate.release import Release
from rig.idf.partitions import Partition, PartitionTable
from rig.virtual.builds import make_build

TABLE = "partition_table/partition-table.bin"
APP, BOOTLOADER, OTADATA = "rig_test_app.bin", "bootloader/bootloader.bin", "ota_data_initial.bin"
CONFIG, ARGS = "config/sdkconfig.json", "flasher_args.json"
NEEDS_BOARD = {"GATE-ROLLBACK-WATCHED", "GATE-FALLBACK-CONFIRM"}
CODE = (("irom", bytes(64)), ("iram", bytes(64)))
"""Segments of an app whose entry point lies in one of them."""
MISSING = object()
"""The value of a setting that is to be taken out."""


def good_build(
    folder: Path, *, variant: str = "rollback", chip: str = "esp32c3", version: str = "2.0.0", **more: Any
) -> Path:
    return make_build(folder, variant=variant, chip=chip, version=version, **more)


def outcomes(build: Path, previous: Path | None = None, **more: Any) -> dict[str, Outcome]:
    """What every check found, by id."""
    before = None if previous is None else load_pieces(previous)
    release = Release(load_pieces(build), before, **more)
    return {check.id: outcome for check, outcome in catalogue.run(release)}


def of_status(found: dict[str, Outcome], status: Status) -> set[str]:
    return {name for name, outcome in found.items() if outcome.status is status}


def failing(build: Path, previous: Path | None = None, **more: Any) -> set[str]:
    return of_status(outcomes(build, previous, **more), Status.FAILED)


def configure(build: Path, **settings: Any) -> None:
    edit_json(build / CONFIG, settings)


def edit_json(path: Path, changes: dict[str, Any]) -> None:
    data = json.loads(path.read_text())
    for key, value in changes.items():
        data.pop(key, None)
        if value is not MISSING:
            data[key] = value
    path.write_text(json.dumps(data))


def edit_bytes(path: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def read_table(build: Path) -> tuple[Partition, ...]:
    return PartitionTable.from_binary((build / TABLE).read_bytes()).entries


def write_table(build: Path, entries: Iterable[Partition]) -> None:
    (build / TABLE).write_bytes(PartitionTable(tuple(entries)).to_binary())


def pieces(build: Path) -> Pieces:
    return load_pieces(build)
