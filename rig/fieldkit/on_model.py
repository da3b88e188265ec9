"""The reference model as a subject for scenarios: what ESP-IDF's bootloader and calls do to flash, step by step.

It prints nothing. Its app does what the test app does (firmware_under_test/PROTOCOL.md, section 4): on probation it
runs its diagnostics, and otherwise it waits for requests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import singledispatchmethod
from typing import NamedTuple, TypeVar

from rig.boards.image_boots import BootSeen as Boot
from rig.boards.image_boots import End, is_over
from rig.boards.install import slot_of
from rig.boards.shelf import FirmwareShelf
from rig.errors import Inconclusive, NotApplicable
from rig.fieldkit import steps
from rig.fieldkit.beginning import beginning
from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.firmware import image_bytes
from rig.fieldkit.places import corrupted, erased_regions, place_of
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.subject import OK, Done, Left, NoApp, SeenBoot
from rig.idf import ota_ops
from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Log, Memory, Mutation, Program, Steps
from rig.idf.image_desc import AppDesc, app_config
from rig.idf.memory import FlashImage
from rig.idf.otadata import ENTRY_SIZE, state_name
from rig.idf.partitions import PartitionTable
from rig.protocol import MAX_PAYLOAD

Bootloader = Callable[[Memory, BootConfig, Pins], Steps[BootResult]]
PAGE = 256
"""Bytes that the chip programs at once: a longer write is so many flash mutations."""
_DESC_AT, _DESC_SIZE = 32, 256
_CRASHES: Mapping[str, End] = {"panic": "restarts", "watchdog": "restarts", "reboot": "restarts", "hang": "hangs"}
NOTHING = Done(None, (), None)

T = TypeVar("T")


class PowerLost(Exception):
    """The mutation of a cut has come."""


class Aim(NamedTuple):
    """The mutation at which power is lost: flash offsets [`start`, `end`), counted from 1, `keep` bytes if torn."""

    start: int
    end: int
    step: steps.Cut
    keep: int


class ModelSubject:
    """Implements `Subject`. `bootloader` takes the place of the model's: one that is wrong on purpose."""

    def __init__(self, shelf: FirmwareShelf, bootloader: Bootloader = run) -> None:
        self._shelf = shelf
        self._bootloader = bootloader
        self._flash = FlashImage.erased(0)
        self._diagnostics: steps.Diagnosis | None = None
        self._running: str | None = None
        self._aim: Aim | None = None
        self._seen = 0
        self.erased: Counter[int] = Counter()
        """Erases so far, by sector."""

    # --- Subject ---------------------------------------------------------------------------------------------------

    def install(self, scenario: Scenario, idf_version: str) -> None:
        begin = beginning(scenario, self._shelf)
        wanted = scenario.firmware
        self.table: PartitionTable = begin.build.table
        self._variant = wanted.variant
        self._config = begin.build.boot_config
        boots = self._shelf.build(wanted.bootloader or wanted.variant, scenario.start.version)
        self._boot_config = boots.boot_config
        self._otadata = begin.build.otadata_offset
        self._flash = FlashImage(begin.content, begin.secure_version or 0)
        # a board rewrites what differs: never more than this
        self.erased.update(range(0, len(begin.content), SECTOR_SIZE))
        self._built = {begin.build.app.desc.elf_sha: self._config} if begin.build.app.desc else {}
        for image in scenario.start.slots.values():
            self._learn(image)
        self._diagnostics, self._running = scenario.start.diagnostics, None

    def do(self, step: steps.Step) -> Done:
        return self._do(step)

    def left(self) -> Left:
        read = self._flash.read
        entries = (read(self._otadata, ENTRY_SIZE), read(self._otadata + SECTOR_SIZE, ENTRY_SIZE))
        return Left(entries, self._flash.secure_version if self._config.anti_rollback else None)

    def console(self) -> bytes:
        return b""

    def close(self) -> None:
        pass

    # --- for whoever chooses what to do next -----------------------------------------------------------------------

    @property
    def idf_version(self) -> str:
        """That of the bootloader which is installed."""
        return self._boot_config.idf_version

    @property
    def running(self) -> str | None:
        """The slot whose app waits for requests."""
        return self._running

    def mutations(self, during: steps.Step, where: str, kind: str) -> int:
        """How many of that kind there would be in that place; nothing is changed."""
        flash, running, diagnostics, erased = self._flash, self._running, self._diagnostics, self.erased
        self._flash, self.erased = flash.copy(), Counter()
        _, offset, size = place_of(self.table, where)
        never = steps.Cut.model_construct(during=during, where=where, kind=kind, nth=1 << 30, phase="after")
        self._aim, self._seen = Aim(offset, offset + size, never, 0), 0
        try:
            self._do(during)
            return self._seen
        finally:
            self._aim = None
            self._flash, self._running, self._diagnostics, self.erased = flash, running, diagnostics, erased

    # --- steps -----------------------------------------------------------------------------------------------------

    @singledispatchmethod
    def _do(self, step: object) -> Done:
        raise NotApplicable(f"the model knows no step {type(step).__name__}")

    @_do.register
    def _boot(self, step: steps.Boot) -> Done:
        return self._come_up(None)

    @_do.register
    def _reset(self, step: steps.Reset) -> Done:
        return self._come_up(None)

    @_do.register
    def _restart(self, step: steps.Restart) -> Done:
        self._app()
        return self._come_up(None)

    @_do.register
    def _crash(self, step: steps.Crash) -> Done:
        self._app()
        if _CRASHES[step.how] == "hangs":
            self._running = None
            return Done(None, (), "hangs")
        return self._come_up(None)

    @_do.register
    def _diagnose(self, step: steps.Diagnose) -> Done:
        self._app()
        self._diagnostics = step.outcome
        return Done(None, (), "runs")

    @_do.register
    def _update(self, step: steps.Update) -> Done:
        app = self._app()
        data = self._image(step.image)
        next_slot = ota_ops.esp_ota_get_next_update_partition(app)
        slot = next_slot if step.slot == "next" or step.stop_after is not None else step.slot
        if slot is None or self.table.slot_for_app(slot) is None:
            return self._answered("ESP_ERR_INVALID_ARG")
        error, handle = self._run(ota_ops.esp_ota_begin(app, slot, ota_ops.OTA_SIZE_UNKNOWN))
        if handle is None:
            return self._answered(error)
        limit = len(data) if step.stop_after is None else int(len(data) * step.stop_after)
        for offset in range(0, limit, MAX_PAYLOAD):
            error = self._run(ota_ops.esp_ota_write(app, handle, data[offset : min(offset + MAX_PAYLOAD, limit)]))
            if error != OK:
                ota_ops.esp_ota_abort(app, handle)
                return self._answered(error)
        if step.stop_after is not None:
            ota_ops.esp_ota_abort(app, handle)
            return self._answered(OK)
        error = self._run(ota_ops.esp_ota_end(app, handle))
        return self._answered(error if error != OK else self._run(ota_ops.esp_ota_set_boot_partition(app, slot)))

    @_do.register
    def _set_boot(self, step: steps.SetBoot) -> Done:
        app = self._app()
        if self.table.slot_for_app(step.slot) is None:
            return self._answered("ESP_ERR_INVALID_ARG")
        return self._answered(self._run(ota_ops.esp_ota_set_boot_partition(app, step.slot)))

    @_do.register
    def _confirm(self, step: steps.Confirm) -> Done:
        error = self._run(ota_ops.esp_ota_mark_app_valid_cancel_rollback(self._app()))
        if error == OK:
            self._diagnostics = None
        return self._answered(error)

    @_do.register
    def _reject(self, step: steps.Reject) -> Done:
        app = self._app()
        self._diagnostics = None
        error = self._run(ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(app))
        return self._come_up(OK) if error == ota_ops.RESTART else self._answered(error)

    @_do.register
    def _erase_previous(self, step: steps.ErasePrevious) -> Done:
        return self._answered(self._run(ota_ops.esp_ota_erase_last_boot_app_partition(self._app())))

    @_do.register
    def _cut(self, step: steps.Cut) -> Done:
        part, offset, size = place_of(self.table, step.where)
        keep = SECTOR_SIZE // 2 if step.kind == "erase" else ENTRY_SIZE // 2
        self._aim, self._seen = Aim(offset, offset + size, step, keep), 0
        try:
            self._do(step.during)
        except PowerLost:
            self._running = None
            return NOTHING
        finally:
            self._aim = None
        raise Inconclusive(f"the {step.kind} number {step.nth} in {part.label} never came, so power was not cut there")

    @_do.register
    def _corrupt(self, step: steps.Corrupt) -> Done:
        _, offset, size = place_of(self.table, step.where)
        data = self._flash.read(offset, size)
        return self._by_cable({offset: corrupted(data, step.bits, random.Random(step.seed))})

    @_do.register
    def _erase(self, step: steps.Erase) -> Done:
        if place_of(self.table, step.where)[0].label == "nvs":
            self._diagnostics = None
        return self._by_cable(erased_regions(self.table, step.where))

    @_do.register
    def _cable(self, step: steps.Cable) -> Done:
        part = slot_of(self.table, step.slot)
        return self._by_cable({part.offset: self._image(step.image).ljust(part.size, b"\xff")})

    @_do.register
    def _write_otadata(self, step: steps.WriteOtadata) -> Done:
        content = b"".join(entry_bytes(words).ljust(SECTOR_SIZE, b"\xff") for words in step.entries)
        return self._by_cable({self._otadata: content})

    @_do.register
    def _wait(self, step: steps.Wait) -> Done:
        return Done(None, (), None if self._running is None else "runs")

    # --- underneath ------------------------------------------------------------------------------------------------

    def _app(self) -> ota_ops.AppContext:
        if self._running is None:
            raise NoApp
        return self._context(self._running)

    def _context(self, slot: str) -> ota_ops.AppContext:
        """By the configuration that the app in that slot was built with."""
        part = slot_of(self.table, slot)
        desc = AppDesc.find(self._flash.read(part.offset + _DESC_AT, _DESC_SIZE))
        config = self._config if desc is None else app_config(self._built.get(desc.elf_sha, self._config), desc)
        return ota_ops.AppContext(self._flash, self.table, config, slot)

    def _image(self, image: steps.Image) -> bytes:
        self._learn(image)
        return image_bytes(self._shelf, self._variant, image)

    def _learn(self, image: steps.Image) -> None:
        """How an app that will be in flash was built."""
        if image.chip == "same":
            build = self._shelf.build(image.variant or self._variant, image.version)
            if build.app.desc is not None:
                self._built[build.app.desc.elf_sha] = build.boot_config

    def _answered(self, error: str) -> Done:
        return Done(error, (), "runs")

    def _by_cable(self, regions: Mapping[int, bytes]) -> Done:
        self._running = None
        for offset, data in regions.items():
            self.erased.update(range(offset, offset + len(data), SECTOR_SIZE))
            self._flash.load(offset, data)
        return NOTHING

    def _come_up(self, answer: str | None) -> Done:
        self._running = None
        boots: list[Boot] = []
        while not boots or not (is_over(boots) or boots[-1].end == "hangs"):
            boots.append(self._one_boot())
        if boots[-1].end == "runs":
            self._running = boots[-1].slot
        return Done(answer, tuple(SeenBoot(boot.slot, boot.version, boot.state) for boot in boots), boots[-1].end)

    def _one_boot(self) -> Boot:
        result = self._run(self._bootloader(self._flash, self._boot_config, NONE))
        if result.outcome == "exception" or result.slot is None or result.offset is None:
            return Boot(None, None, None, "nothing bootable" if result.outcome == "reset" else "restarts", ())
        desc = AppDesc.find(self._flash.read(result.offset + _DESC_AT, _DESC_SIZE))
        if desc is None:
            return Boot(result.slot, None, None, "hangs", ())
        app = self._context(result.slot)
        state: str | None = None
        try:
            error, number = self._run(ota_ops.esp_ota_get_state_partition(app, result.slot))
            state = error if number is None else state_name(number)
            end = self._diagnose_now(app) if state == "PENDING_VERIFY" else "runs"
        except ota_ops.AppEnd:
            # a failed assertion panics, an endless loop trips the watchdog
            end = "restarts"
        return Boot(result.slot, desc.version, state, end, ())

    def _diagnose_now(self, app: ota_ops.AppContext) -> End:
        outcome = self._diagnostics or "pass"
        if outcome in ("pass", "delay"):
            if self._run(ota_ops.esp_ota_mark_app_valid_cancel_rollback(app)) == OK:
                self._diagnostics = None
        elif outcome == "fail":
            self._diagnostics = None
            if self._run(ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(app)) == ota_ops.RESTART:
                return "restarts"
        return _CRASHES.get(outcome, "runs")

    def _run(self, decisions: Steps[T]) -> T:
        while True:
            try:
                effect = next(decisions)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(effect, Log):
                continue
            if isinstance(effect, Erase):
                self.erased[effect.offset] += 1
            if self._aim is None:
                self._flash.apply(effect)
                continue
            for mutation in _pages(effect):
                self._towards(mutation, self._aim)

    def _towards(self, mutation: Mutation, aim: Aim) -> None:
        """Apply it, or lose power at it."""
        step = aim.step
        kind = "erase" if isinstance(mutation, Erase) else "program"
        hit = not isinstance(mutation, BurnSecureVersion) and aim.start <= mutation.offset < aim.end
        if not hit or step.kind not in (kind, "any"):
            self._flash.apply(mutation)
            return
        self._seen += 1
        last = self._seen == step.nth
        if not last or step.phase == "after":
            self._flash.apply(mutation)
        elif step.phase == "torn":
            self._flash.tear(mutation, aim.keep)
        if last:
            raise PowerLost


def _pages(effect: Mutation) -> list[Mutation]:
    if not isinstance(effect, Program) or len(effect.data) <= PAGE - effect.offset % PAGE:
        return [effect]
    pages: list[Mutation] = []
    offset, data = effect.offset, effect.data
    while data:
        room = PAGE - offset % PAGE
        pages.append(Program(offset, data[:room]))
        offset, data = offset + room, data[room:]
    return pages
