"""One test's steps on one board. Every step leaves its witnesses: console, otadata read back, marks of the bench."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig.boards.board import Board, EfuseState
from rig.boards.firmware import FirmwareBuild
from rig.boards.install import flash_content, slot_of, with_table_of
from rig.boards.shelf import FirmwareShelf
from rig.errors import FirmwareFault, Inconclusive, UserError
from rig.evidence.burning import Burning
from rig.evidence.by_cable import ByCable
from rig.evidence.calling import Calls
from rig.evidence.conclusion import Conclusion, conclude
from rig.evidence.cutting import Cutter
from rig.evidence.encryption import key_for
from rig.evidence.firmware_facts import bootloader_of as named_bootloader
from rig.evidence.firmware_facts import firmware_of, last_bootloader
from rig.evidence.handling import Handling
from rig.evidence.judge import Judgement
from rig.evidence.kept import Kept
from rig.evidence.losing_power import LosingPower
from rig.evidence.network_updates import NetworkUpdates
from rig.evidence.records import Verdict
from rig.evidence.running_app import RunningApp
from rig.evidence.starting import Start
from rig.evidence.taken import Origin, Taken, noting
from rig.evidence.witnesses import Entries, Witnesses
from rig.idf.partitions import Partition
from rig.updates.agent import Agent, AgentTimeout, DeviceRestarted
from rig.updates.uart import NO_FAULTS, UartFaults

START_TIMEOUT_S = 30.0
POLL_S = 0.1


@noting(
    *("install", "boot", "boot_without_app", "wait_given_up", "reset", "power_cycle", "power_on", "power_up"),
    *("restart", "start_restart", "wait_start", "diagnostics", "update", "update_error", "abandon_update", "confirm"),
    *("confirm_error", "reject", "reject_error", "wait_confirmed", "set_boot", "erase_previous", "crash", "burn"),
    *("power_lost_at", "power_lost_after", "power_lost_on_line", "power_lost_by_line"),
)
class Trial(LosingPower, Burning):
    """Drives one board through one test and keeps what it takes to judge it."""

    def __init__(self, board: Board, firmware: FirmwareShelf, folder: Path) -> None:
        self.board = board
        self.firmware = firmware
        self.folder = folder
        self.started = datetime.now(UTC)
        self.witnesses = Witnesses(board.console, board.restarts)
        self.taken = Taken(lambda: self.witnesses.position)
        self._cutter = Cutter(board, self.witnesses)
        self._app = RunningApp(board, self._cutter.has_cut)
        self._calls = Calls(self._app, self.witnesses, lambda: self.agent, lambda: self.build.boot_config.anti_rollback)
        self._handling = Handling(replace(board, power=self._cutter.power), self.witnesses)
        self.cable = ByCable(self._handling, self._partition, self._app, self._ask_before_interrupting, self.taken)
        self.network = NetworkUpdates(board, self._calls, lambda: self.agent, self._image, self._slot, self.taken)
        self.kept = Kept()
        self._said_before = len(board.flash.transcript)
        self._spent_before = 0 if board.efuse is None else len(board.efuse.spent)
        self._variant = ""
        self._bootloaders: list[str] = []
        self._build: FirmwareBuild | None = None
        self._conclusion: Conclusion | None = None

    # --- bringing the board into a known state ---------------------------------------------------------------------

    def install(
        self,
        variant: str,
        *,
        version: str = "1.0.0",
        otadata: tuple[bytes, bytes] = (b"", b""),
        slots: Mapping[str, str | bytes] | None = None,
        bootloader_of: str | None = None,
        table_of: str | None = None,
        diagnostics: str | None = None,
        secure_version: int = 0,
    ) -> None:
        """Put a firmware variant on the board, with these select entries and further slots (version or raw bytes).

        `bootloader_of` takes the bootloader of another variant, as in a fleet whose bootloader is older than its app;
        `table_of` another one's partition table. `diagnostics` sets the outcome of the next diagnostics beforehand, by
        the app itself. `secure_version` is what the eFuse is to hold. NotApplicable for a build with anti-rollback on a
        board whose eFuses are not to be burnt.
        """
        build = self._build_for(variant, version, table_of)
        burns = build.boot_config.anti_rollback
        key = key_for(build, self.board)
        efuses = EfuseState(secure_version if burns else None, key)
        self._variant = variant
        bootloader = self._harmless(self.firmware.build(bootloader_of or variant, version))
        self._bootloaders.append(named_bootloader(bootloader_of or variant, bootloader))
        images = {
            name: self.firmware.app(variant, what) if isinstance(what, str) else what
            for name, what in (slots or {}).items()
        }
        if diagnostics is None:
            self._restore(build, flash_content(build, bootloader, otadata, images), None, efuses)
            return
        # This app has to start once, whatever is to be burnt afterwards.
        starts_with = EfuseState(min(secure_version, build.secure_version) if burns else None, key)
        self._restore(build, flash_content(build, build, (b"", b""), {}), None, starts_with)
        self.taken.before = self.boot()
        self.diagnostics(diagnostics)
        nvs = next(entry for entry in build.table.entries if entry.label == "nvs")
        self._restore(build, flash_content(build, bootloader, otadata, images), nvs, efuses)

    def corrupt_image(self, version: str) -> bytes:
        """An app of that version with one byte of its code inverted: checksum and hash are wrong."""
        image = bytearray(self.firmware.app("rollback", version))
        middle = len(image) // 2
        image[middle] ^= 0xFF
        return self.taken.made(bytes(image), Origin("rollback", version, flip=(middle,)))

    def image_of(self, variant: str, version: str) -> bytes:
        """A good app of another variant. NotApplicable for one that may burn eFuses which are to stay as they are."""
        self._harmless(self.firmware.build(variant, version))
        return self.taken.made(self.firmware.app(variant, version), Origin(variant, version))

    def image_for_another_chip(self, version: str) -> bytes:
        """A good app, but for a chip that this board is not."""
        image = self.firmware.app_for_another_chip(version)
        return self.taken.made(image, Origin("rollback", version, other_chip=True))

    # --- starting --------------------------------------------------------------------------------------------------

    def boot(self) -> Start:
        """Start from flash, by power-on where the board can, else by its reset line; wait for the app."""
        self._handling.start_from_flash()
        return self.wait_start()

    def boot_without_app(self, resets: int = 3) -> None:
        """Start from flash and wait until the chip has reset `resets` times without an app coming up."""
        self._handling.start_from_flash()
        self.wait_given_up(resets)

    def wait_given_up(self, resets: int = 3) -> None:
        """Wait until the bootloader has found nothing to boot `resets` times."""
        self._app.gone()
        gave_up = re.compile(rb"No bootable app partitions")
        if not all(self.board.console.expect(gave_up, START_TIMEOUT_S) for _ in range(resets)):
            raise Inconclusive("the bootloader did not give up", board=self.board.name, hint="see console.log")

    def reset(self) -> Start:
        """Pulse the reset line and wait for the app."""
        self._ask_before_interrupting()
        self._handling.reset_line()
        return self.wait_start()

    def power_cycle(self) -> Start:
        """Power off, on, and wait for the app."""
        self._ask_before_interrupting()
        self._handling.power_cycle()
        return self.wait_start()

    def power_on(self) -> Start:
        """After a cut: read otadata back with the chip held in its loader, then power on and wait for the app."""
        self.power_up()
        return self.wait_start()

    def power_up(self) -> None:
        """Read otadata back, as `power_on` does, and power on; whatever comes up is not waited for."""
        self.read_back()
        if self._calls.sent:
            self._handling.learn_sent(self._calls.sent)
            self._calls.sent = 0
        self._handling.start_from_flash()

    def read_back(self) -> Entries:
        """Both select entries, read with the chip held in its loader, where it stays."""
        marks = self.witnesses.marks
        # After a reading the chip stays in its loader: nothing can have changed since.
        if not marks or marks[-1].what != "flash read":
            self._handling.read_back(self.build)
            if self.build.boot_config.anti_rollback:
                self._handling.read_efuse()
        self._app.gone()
        return self.witnesses.samples[-1].entries

    def restart(self) -> Start:
        """Let the app restart itself and wait for the app that comes up then."""
        self.start_restart()
        return self.wait_start()

    def start_restart(self) -> None:
        """Let the app restart itself."""
        self.agent.reboot()
        self._app.gone()

    def wait_start(self) -> Start:
        """Wait for the next app start, whoever caused it."""
        return self._app.wait_start(self.build, START_TIMEOUT_S)

    # --- what the app does -----------------------------------------------------------------------------------------

    @property
    def agent(self) -> Agent:
        """The agent in the running app, ready for requests; NotApplicable if the app has none."""
        return self._app.agent(self.build, START_TIMEOUT_S)

    def diagnostics(self, outcome: str, seconds: int | None = None) -> None:
        """Set how the diagnostics of the next app on probation end."""
        self.agent.set_diagnostics(outcome, seconds)

    def update(self, image: str | bytes, *, slot: str = "next", faults: UartFaults = NO_FAULTS) -> None:
        """Update to `image` (a version of the installed variant, or bytes) over UART; the next boot is to choose it."""
        data = self._image(image)
        self._calls.update(data, self._slot(self._calls.next_slot() if slot == "next" else slot), faults)

    def update_error(self, image: str | bytes, *, flip: int | None = None, keep: float = 1.0) -> str:
        """Try an update (a version, or raw bytes) that should be refused; the name of ESP-IDF's error, or ESP_OK.

        `flip` inverts the byte at that offset (negative: from the end), `keep` truncates to that share of the image.
        """
        data = self._image(image)
        faults = UartFaults(
            flip={} if flip is None else {flip % len(data): 0xFF},
            truncate=None if keep == 1.0 else int(len(data) * keep),
        )
        return self._calls.update_error(data, self._slot(self._calls.next_slot()), faults)

    def abandon_update(self, version: str, *, after: float) -> None:
        """Stop sending for good after that share of the image."""
        self._calls.abandon_update(self._image(version), self._slot(self._calls.next_slot()), after)

    def confirm(self) -> None:
        """esp_ota_mark_app_valid_cancel_rollback, whatever the app's state is."""
        self._calls.make("confirm", lambda: self.agent.confirm())

    def confirm_error(self) -> str:
        """Confirm although it cannot succeed; the name of ESP-IDF's error, or ESP_OK."""
        return self._calls.error_of("confirm", lambda: self.agent.confirm())

    def reject(self) -> None:
        """esp_ota_mark_app_invalid_rollback_and_reboot; returns when the app has announced its restart."""
        self._calls.reject(START_TIMEOUT_S)

    def reject_error(self) -> str:
        """Reject although it cannot succeed; the name of ESP-IDF's error."""
        return self._calls.error_of("reject", lambda: self.agent.reject())

    def wait_confirmed(self, timeout: float) -> None:
        """Wait until the running app's own diagnostics have confirmed it."""
        slot = self._app.slot
        deadline = time.monotonic() + timeout
        while self.state(slot) != "VALID":
            if time.monotonic() > deadline:
                raise FirmwareFault(f"{slot} was not confirmed within {timeout:g} s", board=self.board.name)
            time.sleep(POLL_S)
        self._calls.ask_otadata()

    def set_boot(self, slot: str) -> None:
        """esp_ota_set_boot_partition."""
        self._calls.make("set_boot", lambda: self.agent.set_boot(slot), self._slot(slot))

    def erase_previous(self) -> None:
        """esp_ota_erase_last_boot_app_partition."""
        running = self.agent.slots().running
        for slot in self.build.table.app_slots:
            if slot.slot not in (running, "factory", "test"):
                self._calls.forget(slot)
        self._calls.make("erase_previous", lambda: self.agent.erase_previous())

    def crash(self, kind: str = "panic") -> None:
        """Let the running app crash (`panic`, `watchdog`, `hang`)."""
        self._calls.ask_otadata()
        self.witnesses.mark("crash asked")
        self.agent.crash(kind)
        self._app.gone()

    def state(self, slot: str) -> str:
        """The image state that the running app reads for `slot`."""
        return self.agent.get_state(slot)

    def slot_image(self, slot: str) -> str:
        """What the running app finds in `slot`: `ok`, `empty` or `invalid`."""
        return self.agent.slot(slot).image

    def slot_hash(self, slot: str) -> str | None:
        """SHA-256 of the image in `slot`, as the running app reads it; None if there is no good image."""
        return self.agent.slot(slot).sha256

    def offset(self, where: str) -> int:
        """Flash offset of a slot, or of the partition of that label, in bytes."""
        return self._partition(where).offset

    def changed_below(self, end: int) -> set[str]:
        """What differs from what was installed below flash offset `end`: labels, or `bootloader and table`."""
        now = self.board.flash.read(0, end)
        self._app.gone()
        installed = self.witnesses.flash[0][1].raw(0, end)
        parts = [(entry.label, entry.offset, min(entry.end, end)) for entry in self.build.table.entries]
        first = min(offset for _, offset, _ in parts)
        parts.append(("bootloader and table", 0, first))
        return {label for label, start, stop in parts if now[start:stop] != installed[start:stop]}

    # --- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> Conclusion:
        """Read otadata back, judge every boot, and return the trace; raises what the judge found."""
        conclusion = self.judge()
        conclusion.demand_pass(self.board.name, self.folder)
        return conclusion

    def judge(self) -> Conclusion:
        """Like `finish`, for a test in which the judge is expected to find a fault."""
        silence = None
        try:
            self._ask_before_interrupting()
        except (AgentTimeout, DeviceRestarted) as error:
            silence = Judgement(Verdict.INCONCLUSIVE, str(error))
        self.read_back()
        self._conclusion = self._conclude().weighed_with(silence)
        return self._conclusion

    def so_far(self) -> Judgement:
        """What the witnesses say of a test that broke off."""
        return (self._conclusion or self._conclude()).judgement

    @property
    def judged(self) -> bool:
        """Whether the judge was asked."""
        return self._conclusion is not None

    def elapsed(self) -> float:
        """Seconds since the trial began."""
        return time.monotonic() - self.witnesses.began

    def describe(self) -> str:
        """Boots and transitions so far."""
        return (self._conclusion or self._conclude()).describe()

    def record(self) -> dict[str, Any]:
        """The trial's part of a `TestResult`, evidence written; without a conclusion, from what there is."""
        fields = (self._conclusion or self._conclude()).write(self.folder)
        said = "\n".join(self.board.flash.transcript[self._said_before :])
        (self.folder / "flashing.log").write_text(said, encoding="utf-8")
        if self.board.efuse is not None and (spent := self.board.efuse.spent[self._spent_before :]):
            fields["burnt"] = (spent[0], spent[-1])
        if self._build is not None:
            fields |= self._build.identity | last_bootloader(self._bootloaders)
            fields["firmware"] = firmware_of(self._build, self._bootloaders)
        for name in ("flashing.log", *self.kept.write(self.folder)):
            fields["evidence"][name] = f"{self.folder.parent.name}/{self.folder.name}/{name}"
        return fields

    def _conclude(self) -> Conclusion:
        return conclude(self.witnesses, self._build)

    # --- underneath ------------------------------------------------------------------------------------------------

    @property
    def installed(self) -> bool:
        """Whether the board was brought into a known state."""
        return self._build is not None

    @property
    def build(self) -> FirmwareBuild:
        """The firmware build on the board."""
        if self._build is None:
            raise UserError("nothing is installed yet", hint="call trial.install(...) first")
        return self._build

    def _image(self, image: str | bytes) -> bytes:
        _ = self.build  # without one there is no variant
        data = self.firmware.app(self._variant, image) if isinstance(image, str) else image
        self.board.demand_harmless(data)
        return data

    def _partition(self, name: str) -> Partition:
        for entry in self.build.table.entries:
            if name in (entry.slot, entry.label):
                return entry
        raise UserError(f"this partition table has no {name!r}")

    def _slot(self, name: str) -> Partition:
        return slot_of(self.build.table, name)

    def _ask_before_interrupting(self) -> None:
        """What the app wrote until now must be known, or the next boot cannot be judged. A deaf app writes nothing."""
        if self._app.runs and not self._app.deaf and self.build.speaks_protocol:
            self._calls.ask_otadata()

    def _build_for(self, variant: str, version: str, table_of: str | None) -> FirmwareBuild:
        build = self._harmless(self.firmware.build(variant, version))
        return build if table_of is None else with_table_of(build, self.firmware.build(table_of, version))

    def _restore(self, build: FirmwareBuild, content: bytes, keep: Partition | None, efuses: EfuseState) -> None:
        self._handling.restore(build, content, keep, efuses)
        self._build = build
        self._app.gone()
