"""The steps of a scenario done to a board of any kind, through what every board has: console, flash, reset, power."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from functools import singledispatchmethod

from rig.boards.board import Board, Cut, EfuseState
from rig.boards.channel import ConsoleChannel
from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import BootSeen, End
from rig.boards.install import flash_content, slot_of
from rig.boards.shelf import FirmwareShelf
from rig.errors import NotApplicable, UserError
from rig.evidence.cutting import Cutter
from rig.evidence.handling import Handling
from rig.evidence.moments import OnLine
from rig.evidence.power_up import watch
from rig.evidence.witnesses import ENTRY, Witnesses
from rig.fieldkit import steps
from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.firmware import image_bytes
from rig.fieldkit.places import corrupted, erased_regions, place_of
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.subject import OK, Done, Left, SeenBoot
from rig.idf.effects import SECTOR_SIZE
from rig.updates.agent import Agent, AgentError
from rig.updates.uart import NO_FAULTS, abort_transfer, install_image, transfer_image
from rig.updates.uart import UartFaults as Faults

PATIENCE_S = 30.0
"""From a reset until the app must have finished; the host's seconds."""
NOTHING = Done(None, (), None)


class BoardSubject:
    """Implements `Subject` on a board that is open and powered. What boots while power is cut is not counted."""

    def __init__(self, board: Board, shelf: FirmwareShelf) -> None:
        self.board = board
        self._shelf = shelf
        self._witnesses = Witnesses(board.console, board.restarts)
        self._cutter = Cutter(board, self._witnesses)
        self._handling = Handling(board, self._witnesses)
        self._agent = Agent(
            ConsoleChannel(board.console, self._cutter.has_cut), board=board.name, clock_rate=board.clock_rate
        )
        self._scenario: Scenario | None = None
        self._build: FirmwareBuild | None = None
        self._runs = False
        self._slot: str | None = None
        self._start = board.console.position

    # --- Subject ---------------------------------------------------------------------------------------------------

    def install(self, scenario: Scenario, idf_version: str) -> None:
        """NotApplicable for a build that there is not, or that may burn eFuses which are to stay."""
        start, wanted = scenario.start, scenario.firmware
        if start.dump is not None:
            raise NotApplicable("the scenario begins from a dump, which cannot be put on a board yet")
        build = self._shelf.build(wanted.variant, start.version)
        if build.boot_config.anti_rollback and self.board.efuse is None:
            raise NotApplicable("this board's eFuses are not to be burnt", board=self.board.name)
        bootloader = self._shelf.build(wanted.bootloader or wanted.variant, start.version)
        entries = tuple(entry_bytes(words) for words in start.otadata)
        images = {name: image_bytes(self._shelf, wanted.variant, image) for name, image in start.slots.items()}
        content = flash_content(build, bootloader, (entries[0], entries[1]), images)
        burnt = start.secure_version if build.boot_config.anti_rollback else None
        self._handling.restore(build, content, None, EfuseState(burnt, None))
        self._scenario, self._build = scenario, build
        self._runs = False
        self._start = self.board.console.position

    def do(self, step: steps.Step) -> Done:
        return self._do(step)

    def left(self) -> Left:
        """As the running app reads it, else by the loader, which stops what runs."""
        build = self.build
        if self._runs:
            said = self._agent.otadata()
            entries = said.entries
        else:
            self._handling.read_back(build)
            entries = self._witnesses.samples[-1].entries
        return Left((bytes(entries[0]), bytes(entries[1])), None)

    def console(self) -> bytes:
        return b"".join(chunk.data for chunk in self.board.console.chunks_since(self._start))

    def close(self) -> None:
        pass

    # --- steps -----------------------------------------------------------------------------------------------------

    @property
    def build(self) -> FirmwareBuild:
        if self._build is None:
            raise UserError("nothing is installed yet")
        return self._build

    @singledispatchmethod
    def _do(self, step: object) -> Done:
        raise NotApplicable(f"a board cannot be given the step {type(step).__name__}")

    @_do.register
    def _boot(self, step: steps.Boot) -> Done:
        self._handling.start_from_flash()
        return self._watched()

    @_do.register
    def _update(self, step: steps.Update) -> Done:
        self._demand_app()
        data = image_bytes(self._shelf, self._variant, step.image)
        if step.stop_after is not None:
            transfer = transfer_image(self._agent, data, faults=Faults(stop_after=int(len(data) * step.stop_after)))
            abort_transfer(self._agent, transfer.request_id)
            return Done(OK, (), "runs")
        slot = self._agent.slots().next if step.slot == "next" else step.slot
        return self._call(lambda: install_image(self._agent, data, slot or "", faults=NO_FAULTS))

    @_do.register
    def _set_boot(self, step: steps.SetBoot) -> Done:
        return self._call(lambda: self._agent.set_boot(step.slot))

    @_do.register
    def _confirm(self, step: steps.Confirm) -> Done:
        return self._call(self._agent.confirm)

    @_do.register
    def _erase_previous(self, step: steps.ErasePrevious) -> Done:
        return self._call(self._agent.erase_previous)

    @_do.register
    def _reject(self, step: steps.Reject) -> Done:
        done = self._call(self._agent.reject)
        return done if done.answer != OK else self._watched()._replace(answer=OK)

    @_do.register
    def _diagnose(self, step: steps.Diagnose) -> Done:
        self._demand_app()
        self._agent.set_diagnostics(step.outcome, step.seconds)
        return Done(None, (), "runs")

    @_do.register
    def _restart(self, step: steps.Restart) -> Done:
        self._demand_app()
        self._agent.reboot()
        return self._watched()

    @_do.register
    def _reset(self, step: steps.Reset) -> Done:
        if step.how == "line":
            self._handling.reset_line()
        else:
            self._handling.power_cycle()
        return self._watched()

    @_do.register
    def _crash(self, step: steps.Crash) -> Done:
        self._demand_app()
        self._agent.crash(step.how)
        return self._watched()

    @_do.register
    def _cut(self, step: steps.Cut) -> Done:
        part, offset, size = place_of(self.build.table, step.where)
        keep = SECTOR_SIZE // 2 if step.kind == "erase" else ENTRY // 2
        cut = Cut(offset, offset + size, step.kind, step.nth, step.phase, keep)
        with self._cutter.at(cut, f"the {step.kind} number {step.nth} in {part.label}"):
            self._begin(step.during)
        self._runs = False
        return NOTHING

    @_do.register
    def _cut_at_line(self, step: steps.CutAtLine) -> Done:
        with self._cutter.after(OnLine(re.compile(step.line.encode())), 0.0):
            self._begin(step.during)
        self._runs = False
        return NOTHING

    @_do.register
    def _corrupt(self, step: steps.Corrupt) -> Done:
        _, offset, size = place_of(self.build.table, step.where)
        self._stop()
        data = self.board.flash.read(offset, size)
        self.board.flash.restore({offset: corrupted(data, step.bits, random.Random(step.seed))})
        return NOTHING

    @_do.register
    def _erase(self, step: steps.Erase) -> Done:
        self._stop()
        self.board.flash.restore(erased_regions(self.build.table, step.where))
        return NOTHING

    @_do.register
    def _cable(self, step: steps.Cable) -> Done:
        part = slot_of(self.build.table, step.slot)
        self._stop()
        data = image_bytes(self._shelf, self._variant, step.image)
        self.board.flash.restore({part.offset: data.ljust(part.size, b"\xff")})
        return NOTHING

    @_do.register
    def _write_otadata(self, step: steps.WriteOtadata) -> Done:
        self._stop()
        content = b"".join(entry_bytes(words).ljust(SECTOR_SIZE, b"\xff") for words in step.entries)
        self.board.flash.restore({self.build.otadata_offset: content})
        return NOTHING

    @_do.register
    def _wait(self, step: steps.Wait) -> Done:
        deadline = time.monotonic() + step.seconds
        if step.until is None:
            time.sleep(step.seconds / self.board.clock_rate)
        while step.until is not None and time.monotonic() < deadline:
            if self._slot is not None and self._agent.get_state(self._slot) == "VALID":
                break
            time.sleep(0.1)
        return Done(None, (), "runs" if self._runs else None)

    # --- underneath ------------------------------------------------------------------------------------------------

    @property
    def _variant(self) -> str:
        assert self._scenario is not None
        return self._scenario.firmware.variant

    def _demand_app(self) -> None:
        if not self._runs:
            raise UserError("this step needs a running app, and none runs now", hint="rig scenario check finds this")

    def _call(self, work: Callable[[], object]) -> Done:
        self._demand_app()
        try:
            work()
        except AgentError as error:
            return Done(error.error, (), "runs")
        return Done(OK, (), "runs")

    def _begin(self, step: steps.Step) -> None:
        """What is done while power is cut: begun, and not waited for."""
        if isinstance(step, steps.Restart):
            self._demand_app()
            self._agent.reboot()
        elif isinstance(step, steps.Reject):
            self._call(self._agent.reject)
        elif isinstance(step, steps.Boot | steps.Reset):
            self._handling.start_from_flash()
        else:
            self._do(step)

    def _stop(self) -> None:
        self._runs = False
        self._handling.hold_in_reset()

    def _watched(self) -> Done:
        """Wait for what comes up."""
        boots = watch(self.board, self.build.table, PATIENCE_S)
        end: End = boots[-1].end
        self._runs, self._slot = end == "runs", boots[-1].slot
        return Done(None, tuple(map(_seen, boots)), end)


def _seen(boot: BootSeen) -> SeenBoot:
    return SeenBoot(boot.slot, boot.version, boot.state)
