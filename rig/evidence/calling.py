"""The app's `esp_ota_*` calls, each with otadata asked for before and after it, so that the judge can follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rig.errors import FirmwareFault
from rig.evidence.app_calls import AppCall, Call
from rig.evidence.running_app import RunningApp
from rig.evidence.witnesses import Witnesses
from rig.idf.ota_ops import RESTART
from rig.idf.partitions import Partition
from rig.updates.agent import Agent, AgentError
from rig.updates.uart import UartFaults, abort_transfer, install_image, transfer_image

Done = TypeVar("Done")

_TOO_OLD = "ESP_ERR_OTA_SMALL_SEC_VER"


class Calls:
    """Lets the app make calls, by the agent that `agent` gives, and notes each in `witnesses`.

    `burns` says whether the app looks at the anti-rollback eFuse, which is then asked for, too.
    `sent`: bytes that the last call sent for an update; how much of them came to be in the slot may not be known.
    """

    def __init__(
        self, app: RunningApp, witnesses: Witnesses, agent: Callable[[], Agent], burns: Callable[[], bool]
    ) -> None:
        self._app = app
        self._witnesses = witnesses
        self._agent = agent
        self._burns = burns
        self.sent = 0

    def make(
        self,
        name: Call,
        work: Callable[[], object],
        target: Partition | None = None,
        data: bytes = b"",
        version: int = 0,
    ) -> None:
        """Let the app make one call, by `work`. Raises AgentError when it returns an error."""
        self.ask_otadata()
        slot = target.slot if target else None
        call = AppCall(name, self._witnesses.position, self._app.slot, slot, data, version=version)
        self._witnesses.calls.append(call)
        self.sent = len(data)
        try:
            work()
        except AgentError as error:
            call.error, call.came = error.error, error.offset
            self.ask_otadata()
            raise
        call.error = "ESP_OK" if self._app.runs else RESTART
        if self._app.runs:
            self.ask_otadata()

    def ask_otadata(self) -> None:
        """Let the app report otadata, and the eFuse; the answers stay in the log, where the trace finds them."""
        self._agent().otadata()
        if self._burns():
            self._agent().secure_version()

    def next_slot(self) -> str:
        """The slot that the app would update next; FirmwareFault if it sees none."""
        name = self._agent().slots().next
        if name is None:
            raise FirmwareFault("the app sees no slot to update", board=self._app.board.name)
        return name

    def update(self, image: bytes, target: Partition, faults: UartFaults) -> None:
        """Update `target` and choose it for the next boot."""
        self.forget(target)
        slot = target.slot or target.label
        self.make(
            "update", lambda: install_image(self._agent(), image, target.slot or slot, faults=faults), target, image
        )
        self._witnesses.know(self._witnesses.known.with_update(target.offset, image, target.size))

    def update_error(self, image: bytes, target: Partition, faults: UartFaults) -> str:
        """Try an update with faults; the name of ESP-IDF's error, or ESP_OK."""
        self.forget(target)
        arrives = faults.apply_to(image)
        error = self.error_of("update", lambda: install_image(self._agent(), image, faults=faults), target, arrives)
        if error == _TOO_OLD:
            self._erased(target)
        return error

    def download(self, image: bytes, target: Partition, work: Callable[[], Done]) -> Done:
        """Let the app download by `work`; `image` is what the slot holds afterwards. AgentError when it fails."""
        done: list[Done] = []
        try:
            self.make("download", lambda: done.append(work()), target, image)
        except AgentError as error:
            # One that says it has not touched the slot is taken at its word: the next boots show whether that is so.
            if error.offset is not None:
                self.forget(target)
            if error.offset and error.error == _TOO_OLD:
                self._erased(target)
            raise
        except BaseException:
            self.forget(target)
            raise
        self._witnesses.know(self._witnesses.known.with_update(target.offset, image, target.size))
        return done[0]

    def abandon_update(self, image: bytes, target: Partition, after: float) -> None:
        """Stop sending for good after that share of the image."""
        self.forget(target)
        faults = UartFaults(stop_after=int(len(image) * after))

        def stop() -> None:
            transfer = transfer_image(self._agent(), image, faults=faults)
            abort_transfer(self._agent(), transfer.request_id)

        self.make("begin", stop, target)

    def error_of(
        self,
        name: Call,
        work: Callable[[], object],
        target: Partition | None = None,
        data: bytes = b"",
        version: int = 0,
    ) -> str:
        """Let the app make a call that may fail; the name of ESP-IDF's error, or ESP_OK."""
        try:
            self.make(name, work, target, data, version)
        except AgentError as error:
            return error.error
        return "ESP_OK"

    def reject(self, timeout: float) -> None:
        """esp_ota_mark_app_invalid_rollback_and_reboot; `timeout`: seconds until the app has announced its restart."""

        def work() -> None:
            self._agent().reject()
            self._app.wait_shutdown(timeout)

        self.make("reject", work)

    def _erased(self, slot: Partition) -> None:
        """esp_ota_set_boot_partition erases what it refuses for its secure version."""
        self._witnesses.know(self._witnesses.known.with_update(slot.offset, b"", slot.size))

    def forget(self, slot: Partition) -> None:
        """What the slot holds is not known any more."""
        self._witnesses.know(self._witnesses.known.with_unknown(slot.offset, slot.end))
