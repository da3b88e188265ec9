"""The request `cut_line` as the simulated app reads it (PROTOCOL.md, section 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rig.idf.partitions import PartitionTable
from rig.virtual.cut_line import Setting, Where

OPERATIONS = ("otadata_erase", "otadata_program", "slot_erase", "slot_program")
LONGEST_DELAY_US, MOST = 1_000_000, 100_000
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")


def setting_of(args: Mapping[str, str], table: PartitionTable) -> Setting:
    """What a request arms; ValueError with a text for a person when it is out of range."""
    op = args.get("op", "")
    if op not in OPERATIONS:
        raise ValueError(f"op: {', '.join(OPERATIONS)}, off")
    where: Where
    match args.get("in", "app"):
        case "app":
            where = "app"
        case "bootloader":
            where = "bootloader"
        case _:
            raise ValueError("in: app, bootloader")
    nth = _number(args, "nth", 1, MOST)
    delay_us = _number(args, "delay_us", 0, LONGEST_DELAY_US)
    if where == "bootloader" and op.startswith("slot"):
        raise ValueError("the bootloader writes no slot")
    if where == "bootloader" and op == "otadata_program" and delay_us:
        raise ValueError("delay_us: only 0 for a program of the bootloader")
    otadata = table.otadata_for_app
    parts = table.app_slots if op.startswith("slot") else () if otadata is None else (otadata,)
    ranges = tuple((part.offset, part.end) for part in parts)
    return Setting(where, op.endswith("erase"), ranges, nth, delay_us / 1e6)


def _number(args: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = args.get(name, "")
    value = int(text, 16 if text[1:2] in ("x", "X") else 10) if _NUMBER.fullmatch(text) else low - 1
    if not low <= value <= high:
        raise ValueError(f"{name}: {low} to {high}")
    return value
