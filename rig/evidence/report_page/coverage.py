"""Which changes of image state the tests showed, held against those that ESP-IDF can make.

Sources (ESP-IDF): components/bootloader_support/src/bootloader_utility.c,
bootloader_utility_get_selected_boot_partition and set_actual_ota_seq;
components/app_update/esp_ota_ops.c, esp_rewrite_ota_data, esp_ota_set_boot_partition,
esp_ota_mark_app_valid_cancel_rollback, esp_ota_mark_app_invalid_rollback, esp_ota_invalidate_inactive_ota_data_slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rig.evidence.records import TestResult, Transition

NONE = "none"
STATES = (NONE, "NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED", "UNDEFINED")
WRITERS = ("bootloader", "app", "harness")

BOOTLOADER_CAN = {
    ("NEW", "PENDING_VERIFY"): "first start of an update",
    ("PENDING_VERIFY", "ABORTED"): "a reset came before the app confirmed",
    (NONE, "VALID"): "first boot without a factory app",
    ("NEW", NONE): "power cut while PENDING_VERIFY is written; or the factory-reset pin",
    ("PENDING_VERIFY", NONE): "power cut while ABORTED is written; or the factory-reset pin",
    ("VALID", NONE): "the factory-reset pin",
    ("INVALID", NONE): "the factory-reset pin",
    ("ABORTED", NONE): "the factory-reset pin",
    ("UNDEFINED", NONE): "the factory-reset pin",
}

_ERASED = "the other slots' update takes its place, or the boot partition is set to factory"

APP_CAN = {
    **{(before, "NEW"): "the boot partition is set to this slot" for before in STATES},
    **{(before, "UNDEFINED"): "the boot partition is set by an app built without rollback" for before in STATES},
    **{(before, NONE): _ERASED for before in STATES},
    **{(before, "VALID"): "the app confirms" for before in ("NEW", "PENDING_VERIFY", "UNDEFINED")},
    **{(before, "INVALID"): "the app rejects" for before in ("NEW", "PENDING_VERIFY", "VALID", "UNDEFINED")},
}


@dataclass(frozen=True)
class Cell:
    """One change `before` to `after`: how often each writer made it, and whether ESP-IDF can."""

    before: str
    after: str
    seen: dict[str, int]
    tests: int

    @property
    def by_bootloader(self) -> str | None:
        """When the bootloader makes this change; None if it never does."""
        return None if self.before == self.after else BOOTLOADER_CAN.get((self.before, self.after))

    @property
    def by_app(self) -> str | None:
        """When the app makes this change; None if it never does."""
        return None if self.before == self.after else APP_CAN.get((self.before, self.after))

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Writers that were seen to make this change although ESP-IDF has no code for it; staying as it was is none."""
        can = {"bootloader": self.by_bootloader, "app": self.by_app, "harness": "always"}
        return tuple(w for w, n in self.seen.items() if n and not can[w] and self.before != self.after)

    @property
    def missing(self) -> tuple[str, ...]:
        """Writers that can make this change but were never seen to."""
        can = {"bootloader": self.by_bootloader, "app": self.by_app}
        return tuple(writer for writer, when in can.items() if when and not self.seen[writer])

    @property
    def kind(self) -> str:
        """One word for how to draw the cell: unexpected, seen, same, missing, possible (app only) or impossible."""
        if self.unexpected:
            return "unexpected"
        if self.before == self.after and not any(self.seen.values()):
            return "same"
        if "bootloader" in self.missing:
            return "missing"
        if any(self.seen.values()):
            return "seen"
        return "possible" if self.by_app else "impossible"


@dataclass(frozen=True)
class Coverage:
    """The whole matrix, row by row in the order of `STATES`, and what has no cell (states such as 0x55)."""

    rows: tuple[tuple[Cell, ...], ...]
    others: tuple[tuple[str, int], ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for row in self.rows for cell in row)

    @property
    def bootloader_total(self) -> int:
        """How many changes the bootloader can make."""
        return sum(cell.by_bootloader is not None for cell in self.cells)

    @property
    def bootloader_seen(self) -> int:
        """How many of these the tests showed."""
        return sum(cell.by_bootloader is not None and cell.seen["bootloader"] > 0 for cell in self.cells)


def key(transition: Transition) -> str:
    """The change as one word without blanks, to find the tests that showed it."""
    return f"{transition.before}>{transition.after}".replace(" ", "_")


def coverage(results: Iterable[TestResult]) -> Coverage:
    """Count every transition of `results`, whatever their verdict."""
    counts: Counter[tuple[str, str, str]] = Counter()
    tests: Counter[tuple[str, str]] = Counter()
    for result in results:
        counts.update((t.before, t.after, t.by) for t in result.transitions)
        tests.update({(t.before, t.after) for t in result.transitions})
    rows = tuple(tuple(Cell(b, a, {w: counts[b, a, w] for w in WRITERS}, tests[b, a]) for a in STATES) for b in STATES)
    others = Counter({f"{b} → {a} by {w}": n for (b, a, w), n in counts.items() if b not in STATES or a not in STATES})
    return Coverage(rows, tuple(sorted(others.items())))
