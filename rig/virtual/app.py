"""The test app: a careful product app that starts, judges itself when it is on probation, and serves the bench.

What it does is the contract of firmware_under_test/PROTOCOL.md, sections 3 to 5; its flash writes are ESP-IDF's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from rig.idf.ota_ops import RESTART, AppAssert, AppHang
from rig.idf.partitions import Partition, PartitionTable
from rig.protocol import PROTOCOL_VERSION
from rig.virtual.agent import Actions, DeviceAgent
from rig.virtual.console_log import ConsoleLog
from rig.virtual.cpu import Cpu, ResetReason
from rig.virtual.crash_output import print_panic, print_task_watchdog
from rig.virtual.cut_line import line_of
from rig.virtual.diagnostics import Diagnostics
from rig.virtual.features import Features
from rig.virtual.nvs import Nvs
from rig.virtual.ota import OK, Ota, RunningImage

TAG = "rig_app"
DIAGNOSTICS_SECONDS = 0.2
WATCHDOG_SECONDS = 5.0
_DATA, _NVS = 0x01, 0x02

RESET_NAMES = {
    ResetReason.POWERON: "POWERON",
    ResetReason.EN_PIN: "POWERON",
    ResetReason.SOFTWARE: "SW",
    ResetReason.BOOTLOADER: "SW",
    ResetReason.WATCHDOG: "WDT",
    ResetReason.BROWNOUT: "BROWNOUT",
}
"""esp_reset_reason() by cause; the RTC memory that would tell a panic from esp_restart() is not modelled."""


class Hang(Exception):
    """The app stops for ever; only reset or power ends it."""


class TestApp:
    """One start of the app, from `app_main` to the next reset."""

    __test__ = False

    def __init__(
        self, cpu: Cpu, log: ConsoleLog, table: PartitionTable, image: RunningImage, features: Features
    ) -> None:
        self._cpu = cpu
        self._log = log
        self._image = image
        self._features = features
        self._ota = Ota(cpu, log, table, image)
        self._nvs = _find_nvs(cpu, table)
        self._diagnostics = Diagnostics(self._nvs)

    def main(self) -> NoReturn:
        """app_main. Raises ChipHalted at the next reset and Hang when nothing will happen any more."""
        try:
            self._main()
        except AppAssert as failed:
            self._log.raw(f"\n{failed}\n")
            self._panic()
        except AppHang:
            self._starve_watchdog()
        raise Hang

    def _main(self) -> None:
        image, log = self._image, self._log
        if (line := line_of(self._cpu)) is not None:
            # What the bootloader had no use for must not wait for a later start.
            line.disarm()
        boot = self._count_boot()
        error, state = self._ota.state(image.slot)
        reset = RESET_NAMES[self._cpu.reset_reason]
        log.info(TAG, f"Test app {image.desc.version}, boot {boot}, reset reason {reset}")
        log.info(
            TAG, f"Running partition {image.partition.label} ({image.slot}) at offset 0x{image.partition.offset:08x}"
        )
        log.info(TAG, f"OTA state of running partition {image.slot}: {state or error}")
        facts = {"reset": reset, "boot": str(boot)}
        agent = DeviceAgent(self._cpu, self._ota, self._diagnostics, self._actions(), self._features, facts)
        self._agent = agent
        agent.event(
            "start",
            {
                "protocol": str(PROTOCOL_VERSION),
                "project": image.desc.project,
                "version": image.desc.version,
                "running": image.slot,
                "state": state or error,
                "reset": reset,
                "boot": str(boot),
                "diag": self._diagnostics.outcome or "none",
            }
            | self._entries(),
        )
        delay = None
        if state == "PENDING_VERIFY":
            delay = self._diagnose()
        elif state == "NEW" and self._ota.context.rollback:
            log.line(
                "W", TAG, "State is NEW: the bootloader was built without app rollback, this image is not confirmed"
            )
        agent.event(
            "ready",
            {
                "protocol": str(PROTOCOL_VERSION),
                "version": image.desc.version,
                "running": image.slot,
                "state": self._ota.state_text(image.slot),
                "boot": str(boot),
            },
        )
        if delay is not None:
            agent.serve(until=self._cpu.now() + delay)
            # A request may have confirmed meanwhile.
            if self._ota.state(image.slot)[1] == "PENDING_VERIFY":
                self._confirm("delay")
        agent.serve()

    def _count_boot(self) -> int:
        if self._nvs is None:
            self._log.line("W", TAG, "No nvs partition: boots are not counted, diagnostics outcomes are not kept")
            return 0
        text = self._nvs.get("boots") or "0"
        boot = int(text) + 1 if text.isdigit() else 1
        self._nvs.set("boots", str(boot))
        return boot

    # --- diagnostics ---------------------------------------------------------------------------------------------

    def _diagnose(self) -> int | None:
        """Run the diagnostics; seconds after which to confirm, if that is their outcome."""
        outcome = self._diagnostics.outcome or "pass"
        self._log.info(TAG, "Diagnostics ...")
        self._cpu.sleep(DIAGNOSTICS_SECONDS)
        match outcome:
            case "pass":
                self._confirm(outcome)
            case "fail":
                self._fail()
            case "manual":
                self._log.info(TAG, "Diagnostics: waiting for a command")
                self._report(outcome, "waiting")
            case "delay":
                seconds = self._diagnostics.seconds
                self._log.info(TAG, f"Diagnostics: confirming in {seconds} s")
                return seconds
            case "reboot":
                self._report(outcome, "rebooting")
                self._restart("diag")
            case _:
                self._crashes()[outcome]()
        return None

    def _confirm(self, outcome: str) -> None:
        self._log.info(TAG, "Diagnostics completed successfully! Continuing execution ...")
        error = self._ota.confirm()
        if error == OK:
            self._diagnostics.clear()
            self._report(outcome, "confirmed")
        else:
            self._log.line("E", TAG, f"esp_ota_mark_app_valid_cancel_rollback failed ({error})")
            self._report(outcome, "error", error)

    def _fail(self) -> None:
        self._log.line("E", TAG, "Diagnostics failed! Start rollback to the previous version ...")
        # Before the call that does not return.
        self._diagnostics.clear()
        if self._ota.rollback_possible():
            self._report("fail", "rejecting")
            error = self._reject("diag")
        else:
            error = self._ota.reject()
        self._log.line("E", TAG, f"esp_ota_mark_app_invalid_rollback_and_reboot failed ({error})")
        self._report("fail", "error", error)

    def _report(self, outcome: str, result: str, error: str | None = None) -> None:
        self._agent.event("diag", {"outcome": outcome, "result": result} | ({"error": error} if error else {}))

    # --- ends ----------------------------------------------------------------------------------------------------

    def _actions(self) -> Actions:
        return Actions(restart=self._restart, reject=self._reject, crash=self._crashes())

    def _crashes(self) -> dict[str, Callable[[], None]]:
        return {"panic": self._panic, "watchdog": self._starve_watchdog, "hang": self._hang}

    def _restart(self, cause: str) -> NoReturn:
        self._agent.event("restart", {"cause": cause})
        self._log.info("rig_agent", "Prepare to restart system!")
        self._esp_restart()

    def _reject(self, cause: str) -> str:
        self._agent.event("restart", {"cause": cause})
        error = self._ota.reject()
        if error == RESTART:
            self._esp_restart()
        return error

    def _esp_restart(self) -> NoReturn:
        # A panic does not come this way: it runs no shutdown handlers.
        self._agent.event("shutdown", self._entries())
        self._cpu.restart(ResetReason.SOFTWARE)

    def _entries(self) -> dict[str, str]:
        found = self._ota.otadata()
        return {} if found is None else {"entry0": found[1].hex(), "entry1": found[2].hex()}

    def _panic(self) -> NoReturn:
        desc = self._image.desc
        print_panic(self._log, self._image.config.chip, desc.elf_sha.hex(), desc.idf_ver)
        self._cpu.restart(ResetReason.SOFTWARE)

    def _starve_watchdog(self) -> NoReturn:
        self._cpu.sleep(WATCHDOG_SECONDS)
        desc = self._image.desc
        print_task_watchdog(self._log, self._image.config.chip, desc.elf_sha.hex(), desc.idf_ver)
        self._cpu.restart(ResetReason.SOFTWARE)

    def _hang(self) -> NoReturn:
        raise Hang


def _find_nvs(cpu: Cpu, table: PartitionTable) -> Nvs | None:
    part: Partition | None = next((p for p in table.entries if (p.type, p.subtype) == (_DATA, _NVS)), None)
    return None if part is None or part.size < 0x2000 else Nvs(cpu.flash, part.offset, part.size)
