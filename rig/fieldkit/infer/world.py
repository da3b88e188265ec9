"""The model under one configuration: what a boot and the app's calls make of two otadata entries. Remembers all it did.

Only entries and the goodness of images matter here, so flash is small and its images are a few bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.evidence.events import Decision
from rig.fieldkit.infer.layout import OTADATA_AT, Layout
from rig.idf import ota_ops
from rig.idf.bootloader import boot
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Log, Program
from rig.idf.image_build import build_image
from rig.idf.memory import FlashImage, complete, cut_after
from rig.idf.otadata import ENTRY_SIZE, SelectEntry, parse, state_name

Pair = tuple[bytes, bytes]
"""Both select entries, 32 bytes each."""
OK = "ESP_OK"
_DECISIONS = {
    "Defaulting to factory image": Decision.TO_FACTORY,
    "No factory image, trying OTA 0": Decision.NO_FACTORY,
    "ota data partition invalid, falling back to factory": Decision.OTADATA_BAD_FACTORY,
    "ota data partition invalid and no factory, will try all partitions": Decision.OTADATA_BAD_TRY_ALL,
    "otadata[0..1] in initial state": Decision.OTADATA_INITIAL,
    "No bootable app partitions in the partition table": Decision.NOTHING_BOOTABLE,
}


class Act(NamedTuple):
    """Something between two boots: `call` is that of a step of a scenario, `slot` where it is about one.

    `pair`: entries that were written by cable.
    """

    call: str
    slot: str = ""
    pair: Pair | None = None

    def __str__(self) -> str:
        return f"{self.call} {self.slot}".strip()


class Booted(NamedTuple):
    """What the bootloader does with a pair of entries; `slot` None: nothing bootable, or it crashes."""

    slot: str | None
    pair: Pair
    decisions: frozenset[Decision]
    rejected: frozenset[str]
    marked: frozenset[tuple[int, str]]


class World:
    """One layout under one configuration. `app_config`: that of the apps, where it is not the bootloader's."""

    def __init__(self, layout: Layout, config: BootConfig, app_config: BootConfig) -> None:
        self.layout = layout
        self.config = config
        self.app_config = app_config
        self.table = layout.small()
        self._flash: dict[frozenset[str], FlashImage] = {}
        self._boots: dict[tuple[Pair, frozenset[str]], Booted] = {}
        self._acts: dict[tuple[Act, Pair, str], Pair | None] = {}
        self._states: dict[tuple[Pair, str], str] = {}
        self._interrupted: dict[Pair, Pair | None] = {}

    def boot(self, pair: Pair, bad: frozenset[str]) -> Booted:
        """From these entries, with the images in `bad` slots not bootable."""
        key = (pair, bad)
        if key not in self._boots:
            self._boots[key] = self._boot(pair, bad)
        return self._boots[key]

    def act(self, act: Act, pair: Pair, running: str) -> Pair | None:
        """What an app in slot `running` makes of the entries; None where the call fails, or changes nothing."""
        if act.call == "otadata":
            return act.pair
        key = (act, pair, running)
        if key not in self._acts:
            self._acts[key] = self._act(act, pair, running)
        return self._acts[key]

    def state(self, pair: Pair, slot: str) -> str:
        """What the app in that slot reads of itself; the error's name where there is none."""
        key = (pair, slot)
        if key not in self._states:
            flash = self._with(pair, frozenset())
            app = ota_ops.AppContext(flash, self.table, self.app_config, slot)
            (error, number), _ = complete(ota_ops.esp_ota_get_state_partition(app, slot), flash)
            self._states[key] = error if number is None else state_name(number)
        return self._states[key]

    def interrupted(self, pair: Pair) -> Pair | None:
        """A boot that loses power between erasing an entry and writing it; None if it writes none."""
        if pair not in self._interrupted:
            flash = self._with(pair, frozenset())
            cut = cut_after(boot(flash, self.table, self.config), flash, 1)
            self._interrupted[pair] = _pair(flash) if cut.cut and _pair(flash) != pair else None
        return self._interrupted[pair]

    def _with(self, pair: Pair, bad: frozenset[str]) -> FlashImage:
        known = self._flash.get(bad)
        if known is None:
            known = self._flash[bad] = FlashImage.erased(max(part.end for part in self.table.entries))
            image = build_image(chip=self.config.chip, version="1.0.0")
            for part in self.table.app_slots:
                if part.slot not in bad:
                    known.load(part.offset, image)
                known.verdict(part.offset, part.size, self.config)
        flash = known.copy()
        for index, entry in enumerate(pair):
            flash.load(OTADATA_AT + index * SECTOR_SIZE, entry)
        return flash

    def _boot(self, pair: Pair, bad: frozenset[str]) -> Booted:
        flash = self._with(pair, bad)
        result, effects = complete(boot(flash, self.table, self.config), flash)
        texts = [effect.text for effect in effects if isinstance(effect, Log)]
        decisions = {_DECISIONS[text] for text in texts if text in _DECISIONS}
        if any(text.startswith("Set actual ota_seq") for text in texts):
            decisions.add(Decision.SEQ_SET)
        tried = result.tried[:-1] if result.slot else result.tried
        marked = {
            ((effect.offset - OTADATA_AT) // SECTOR_SIZE, state_name(parse(effect.data).state))
            for effect in effects
            if isinstance(effect, Program)
        }
        shown = frozenset(item for item in marked if item[1] in ("PENDING_VERIFY", "ABORTED"))
        return Booted(result.slot, _pair(flash), frozenset(decisions), frozenset(tried), shown)

    def _act(self, act: Act, pair: Pair, running: str) -> Pair | None:
        flash = self._with(pair, frozenset())
        app = ota_ops.AppContext(flash, self.table, self.app_config, running)
        if act.call == "erase":
            return _ERASED if pair != _ERASED else None
        if act.call == "confirm":
            error, _ = complete(ota_ops.esp_ota_mark_app_valid_cancel_rollback(app), flash)
        elif act.call == "reject":
            error, _ = complete(ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(app), flash)
            error = OK if error == ota_ops.RESTART else error
        elif act.call == "set_boot":
            error, _ = complete(ota_ops.esp_ota_set_boot_partition(app, act.slot), flash)
        else:
            error = self._update(app, flash, act.slot)
        after = _pair(flash)
        return after if error == OK and after != pair else None

    def _update(self, app: ota_ops.AppContext, flash: FlashImage, slot: str) -> str:
        part = self.table.slot(slot)
        assert part is not None
        (error, handle), _ = complete(ota_ops.esp_ota_begin(app, slot, 1), flash)
        if handle is None:
            return error
        flash.load(part.offset, build_image(chip=self.config.chip, version="1.0.0"))
        error, _ = complete(ota_ops.esp_ota_set_boot_partition(app, slot), flash)
        return error


_ERASED: Pair = (b"\xff" * ENTRY_SIZE, b"\xff" * ENTRY_SIZE)


def _pair(flash: FlashImage) -> Pair:
    return flash.read(OTADATA_AT, ENTRY_SIZE), flash.read(OTADATA_AT + SECTOR_SIZE, ENTRY_SIZE)


def same(entry: bytes, shown: SelectEntry) -> bool:
    """Whether the log shows this entry, whatever its label is."""
    have = parse(entry)
    return (have.seq, have.state, have.crc) == (shown.seq, shown.state, shown.crc)
