"""The steps of a scenario done to something that runs the test app, through the agent in it and a pair of hands."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import singledispatchmethod

from rig.boards.board import Cut
from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import BootSeen, End
from rig.boards.install import slot_of
from rig.boards.shelf import FirmwareShelf
from rig.errors import NotApplicable, UserError
from rig.evidence.witnesses import ENTRY
from rig.fieldkit import steps
from rig.fieldkit.beginning import Beginning, beginning
from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.firmware import image_bytes
from rig.fieldkit.hands import Hands
from rig.fieldkit.places import corrupted, erased_regions, place_of
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.subject import OK, Done, Left, NoApp, SeenBoot
from rig.idf.effects import SECTOR_SIZE
from rig.updates.agent import AgentError
from rig.updates.uart import UartFaults, abort_transfer, install_image, transfer_image

NOTHING = Done(None, (), None)
DELAY_S = 5
POLL_S = 1.0
"""Between two looks at the state of an app that is to be confirmed; the chip's seconds."""


class SteppedSubject:
    """Implements `Subject` with `hands`. What boots while power is cut is not counted."""

    def __init__(self, hands: Hands, shelf: FirmwareShelf) -> None:
        self.hands = hands
        self._shelf = shelf
        self._agent = hands.agent
        self._scenario: Scenario | None = None
        self._build: FirmwareBuild | None = None
        self._runs = False
        self._slot: str | None = None

    # --- Subject ---------------------------------------------------------------------------------------------------

    def install(self, scenario: Scenario, idf_version: str) -> None:
        """NotApplicable for a build that there is not, or that may burn eFuses which are to stay."""
        begin = beginning(scenario, self._shelf)
        if begin.build.sdkconfig.get("SECURE_FLASH_ENC_ENABLED") is True:
            raise NotApplicable(f"variant {scenario.firmware.variant} encrypts flash, and scenarios know no keys")
        self._scenario, self._build = scenario, begin.build
        outcome = scenario.start.diagnostics
        if outcome is None:
            self.hands.install(begin)
        else:
            self._install_with(outcome, begin, scenario)
        self._runs = False

    def _install_with(self, outcome: steps.Diagnosis, begin: Beginning, scenario: Scenario) -> None:
        """The app itself has to set the outcome, so it starts once beforehand; what it keeps in NVS stays."""
        kept = begin.build.table.by_label("nvs")
        if kept is None:
            raise NotApplicable("without an nvs partition an outcome of diagnostics cannot be set beforehand")
        start = scenario.start.model_copy(update={"otadata": ("erased", "erased"), "slots": {}})
        self.hands.install(beginning(scenario.model_copy(update={"start": start}), self._shelf))
        self.hands.start()
        self._watched()
        self._diagnose(steps.Diagnose(outcome=outcome, seconds=DELAY_S if outcome == "delay" else None))
        self.hands.install_but(begin, kept)

    def do(self, step: steps.Step) -> Done:
        return self._do(step)

    def left(self) -> Left:
        """As the running app reads it, else from flash, which stops what runs."""
        burns = self.build.boot_config.anti_rollback
        if self._runs:
            first, second = self._agent.otadata().entries
            return Left((first, second), self._agent.secure_version().efuse if burns else None)
        data = self.hands.read(self.build.otadata_offset, 2 * SECTOR_SIZE)
        entries = (data[:ENTRY], data[SECTOR_SIZE : SECTOR_SIZE + ENTRY])
        return Left(entries, self.hands.secure_version() if burns else None)

    def console(self) -> bytes:
        return self.hands.console()

    def close(self) -> None:
        self._stop()

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
        self.hands.start()
        return self._watched()

    @_do.register
    def _update(self, step: steps.Update) -> Done:
        self._demand_app()
        data = image_bytes(self._shelf, self._variant, step.image)
        self.hands.demand_harmless(data)
        if step.stop_after is not None:
            limit = int(len(data) * step.stop_after)
            return self._call(lambda: self._give_up_after(data, limit))
        slot = self._agent.slots().next if step.slot == "next" else step.slot
        return self._call(lambda: install_image(self._agent, data, slot or ""))

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
            self.hands.pulse()
        else:
            self.hands.power_cycle()
        return self._watched()

    @_do.register
    def _crash(self, step: steps.Crash) -> Done:
        self._demand_app()
        self._agent.crash(step.how)
        if step.how == "hang":
            self._runs = False
            return Done(None, (), "hangs")
        return self._watched()

    @_do.register
    def _cut(self, step: steps.Cut) -> Done:
        part, offset, size = place_of(self.build.table, step.where)
        keep = SECTOR_SIZE // 2 if step.kind == "erase" else ENTRY // 2
        cut = Cut(offset, offset + size, step.kind, step.nth, step.phase, keep)
        with self.hands.cut(cut, f"the {step.kind} number {step.nth} in {part.label}"):
            self._begin(step.during)
        self._runs = False
        return NOTHING

    @_do.register
    def _cut_at_line(self, step: steps.CutAtLine) -> Done:
        with self.hands.cut_at_line(re.compile(step.line.encode())):
            self._begin(step.during)
        self._runs = False
        return NOTHING

    @_do.register
    def _corrupt(self, step: steps.Corrupt) -> Done:
        _, offset, size = place_of(self.build.table, step.where)
        self._stop()
        data = self.hands.read(offset, size)
        self.hands.write({offset: corrupted(data, step.bits, random.Random(step.seed))})
        return NOTHING

    @_do.register
    def _erase(self, step: steps.Erase) -> Done:
        self._stop()
        self.hands.write(erased_regions(self.build.table, step.where))
        return NOTHING

    @_do.register
    def _cable(self, step: steps.Cable) -> Done:
        part = slot_of(self.build.table, step.slot)
        self._stop()
        data = image_bytes(self._shelf, self._variant, step.image)
        self.hands.write({part.offset: data.ljust(part.size, b"\xff")})
        return NOTHING

    @_do.register
    def _write_otadata(self, step: steps.WriteOtadata) -> Done:
        self._stop()
        content = b"".join(entry_bytes(words).ljust(SECTOR_SIZE, b"\xff") for words in step.entries)
        self.hands.write({self.build.otadata_offset: content})
        return NOTHING

    @_do.register
    def _wait(self, step: steps.Wait) -> Done:
        left = step.seconds
        while left > 0 and not (step.until == "confirmed" and self._confirmed()):
            pause = left if step.until is None else min(POLL_S, left)
            self.hands.wait(pause)
            left -= pause
        return Done(None, (), "runs" if self._runs else None)

    # --- underneath ------------------------------------------------------------------------------------------------

    @property
    def _variant(self) -> str:
        assert self._scenario is not None
        return self._scenario.firmware.variant

    def _confirmed(self) -> bool:
        return self._runs and self._slot is not None and self._agent.get_state(self._slot) == "VALID"

    def _demand_app(self) -> None:
        if not self._runs:
            raise NoApp

    def _give_up_after(self, data: bytes, limit: int) -> None:
        transfer = transfer_image(self._agent, data, faults=UartFaults(stop_after=limit))
        abort_transfer(self._agent, transfer.request_id)

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
            self.hands.start()
        else:
            self._do(step)

    def _stop(self) -> None:
        self._runs = False
        self.hands.stop()

    def _watched(self) -> Done:
        """Wait for what comes up."""
        boots = self.hands.watch(self.build.table)
        end: End = boots[-1].end
        self._runs, self._slot = end == "runs", boots[-1].slot
        return Done(None, tuple(map(_seen, boots)), end)


def _seen(boot: BootSeen) -> SeenBoot:
    return SeenBoot(boot.slot, boot.version, boot.state)
