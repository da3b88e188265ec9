"""From a flash dump to a scenario that begins with what the dump shows."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from rig.errors import BenchFault, UserError
from rig.fieldkit import steps
from rig.fieldkit.dump import explain_dump
from rig.fieldkit.explained import Explanation
from rig.fieldkit.scenario import Firmware, Scenario, Start
from rig.fieldkit.verdicts import FieldVerdict
from rig.idf.chips import CHIPS
from rig.idf.config import IDF_VERSIONS

WHOLE = "good", "bad hash", "torn", "damaged", "erased", "foreign"
"""What an image is that lies in the file."""


def scenario_from_dump(content: bytes, source: str, base: int | None, name: str, folder: Path, times: int) -> Scenario:
    """Boots it `times` times, and expects nothing yet.

    A dump that has every partition is kept beside the scenario, as `<name>.bin.gz` in `folder`, and put on a board as
    it is. Of any other one otadata and the shape of the partition table are taken. UserError for a dump of which
    nothing can be put on a board.
    """
    told = explain_dump(content, source, base)
    whole = _is_whole(told)
    if told.verdict is FieldVerdict.INCONCLUSIVE and not told.otadata:
        raise UserError(f"{source}: no otadata in it, so nothing to reproduce", hint=f"rig explain {source}")
    left_out = [*told.notes] if not whole else []
    start = _kept(content, told, name, folder) if whole else _told(told)
    return Scenario.model_validate(
        {
            "name": name,
            "summary": f"From a dump: {told.reasons[0]}"[:200],
            "text": "\n".join([f"{told.verdict}: {told.meaning}", *told.reasons]),
            "left_out": tuple(left_out),
            "firmware": _firmware(told, whole).model_dump(),
            "start": start.model_dump(),
            "steps": tuple(steps.Boot() for _ in range(times)),
        }
    )


def _is_whole(told: Explanation) -> bool:
    """Bootloader, table, otadata and every slot are in the file, from offset 0 on."""
    begins = told.facts.get("base") == "0x0"
    return begins and bool(told.table) and bool(told.otadata) and all(image.content in WHOLE for image in told.images)


def _kept(content: bytes, told: Explanation, name: str, folder: Path) -> Start:
    """The dump beside the scenario; the same bytes make the same file."""
    path = folder / f"{name}.bin.gz"
    partial = path.with_name(path.name + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(gzip.compress(content, mtime=0))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BenchFault(f"{path}: the dump cannot be kept: {error.strerror}") from error
    return Start(dump=path.name, dump_sha256=hashlib.sha256(content).hexdigest())


def _told(told: Explanation) -> Start:
    entries = {entry.entry: entry.hex or "erased" for entry in told.otadata}
    images = {
        image.slot: steps.Image(keep=0.5 if image.content in ("torn", "damaged", "bad hash") else 1.0)
        for image in told.images
        if image.content not in ("erased", "not in the file") and image.slot.startswith("ota_")
    }
    if not told.images:
        images = {"ota_1": steps.Image()}
    return Start.model_validate({"otadata": (entries.get(0, "erased"), entries.get(1, "erased")), "slots": images})


def _firmware(told: Explanation, whole: bool) -> Firmware:
    slots = [row.subtype for row in told.table if row.type == "app"]
    factory = "factory" in slots
    count = sum(1 for slot in slots if slot.startswith("ota_"))
    rollback = told.facts.get("rollback", True)
    plain = {(False, True): "rollback", (False, False): "no_rollback", (True, True): "factory"}
    variant = plain.get((factory, rollback), "factory_no_rollback")
    if not whole and count == 3:
        variant = "factory_three_slots" if factory else "three_slots"
    family = told.facts.get("idf_family")
    chip = told.facts.get("chip")
    return Firmware(
        variant=variant,
        chip=chip if whole and chip in CHIPS else None,
        idf_versions=(family,) if family in IDF_VERSIONS else (),
    )
