"""The reference model as a board: the bootloader of `rig.idf`, and an app that does what the test app does.

It knows nothing of consoles or of the test app's own storage: an app on probation runs its diagnostics once, with the
outcome of the scenario, and any other app waits for requests (firmware_under_test/PROTOCOL.md, section 4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from rig.boards.image_boots import BootSeen, End, PowerUp, is_over
from rig.idf import ota_ops
from rig.idf.bootloader import run
from rig.idf.config import BootConfig, idf_family
from rig.idf.effects import Mutation, Steps
from rig.idf.memory import complete
from rig.idf.otadata import state_name
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash

T = TypeVar("T")

RESTARTING = ("reboot", "panic", "watchdog")


class ModelBooter:
    """Implements `ImageBooter`. `diagnostics`: their outcome, as `Agent.set_diagnostics` takes it."""

    def __init__(self, config: BootConfig, app_idf_version: str, table: PartitionTable, diagnostics: str) -> None:
        self.config = config
        self.app_config = replace(config, idf_version=idf_family(app_idf_version))
        self.table = table
        self.diagnostics = diagnostics

    def boot(self, flash: WatchedFlash) -> PowerUp:
        boots: list[BootSeen] = []
        while True:
            boots.append(self._boot(flash))
            if is_over(boots):
                return PowerUp(tuple(boots), b"")

    def close(self) -> None:
        pass

    def _boot(self, flash: WatchedFlash) -> BootSeen:
        result, effects = complete(run(flash, self.config), flash)
        made = [effect for effect in effects if isinstance(effect, Mutation)]
        if result.outcome == "exception":
            return BootSeen(None, None, None, "restarts", tuple(made))
        if result.slot is None:
            return BootSeen(None, None, None, "nothing bootable", tuple(made))
        context = ota_ops.AppContext(flash, self.table, self.app_config, result.slot)
        state: str | None = None
        end: End = "runs"
        try:
            error, number = self._do(ota_ops.esp_ota_get_state_partition(context, result.slot), flash, made)
            state = error if number is None else state_name(number)
            if state == "PENDING_VERIFY":
                end = self._diagnose(context, flash, made)
        except ota_ops.AppEnd:
            # A failed assertion panics, an endless loop trips the watchdog: both reset the chip.
            end = "restarts"
        return BootSeen(result.slot, None, state, end, tuple(made))

    def _diagnose(self, context: ota_ops.AppContext, flash: WatchedFlash, made: list[Mutation]) -> End:
        if self.diagnostics in ("pass", "delay"):
            self._do(ota_ops.esp_ota_mark_app_valid_cancel_rollback(context), flash, made)
        elif self.diagnostics == "fail":
            rejecting = ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(context)
            if self._do(rejecting, flash, made) == ota_ops.RESTART:
                return "restarts"
        elif self.diagnostics in RESTARTING:
            return "restarts"
        elif self.diagnostics == "hang":
            return "hangs"
        return "runs"

    def _do(self, steps: Steps[T], flash: WatchedFlash, made: list[Mutation]) -> T:
        result, effects = complete(steps, flash)
        made += [effect for effect in effects if isinstance(effect, Mutation)]
        return result
