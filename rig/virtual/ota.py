"""The `esp_ota_*` calls of the running app: `rig.idf.ota_ops` performed on the chip, results as ESP-IDF error names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from rig.idf import ota_ops
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Steps
from rig.idf.image import AppDesc, check_image
from rig.idf.ota_resume import esp_ota_resume
from rig.idf.otadata import ENTRY_SIZE, state_name
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.secure_version import update_secure_version
from rig.idf.signature import verify_signature
from rig.idf.signature_block import signature_offset
from rig.virtual.console_log import ConsoleLog
from rig.virtual.cpu import Cpu
from rig.virtual.encrypted_flash import encryption_of
from rig.virtual.on_chip import ChipMemory, perform

OK = "ESP_OK"
_MODES = {"unknown": ota_ops.OTA_SIZE_UNKNOWN, "seq": ota_ops.OTA_WITH_SEQUENTIAL_WRITES}
_HASH_SIZE = 32
_DESC_AT, _DESC_SIZE = 32, 256

T = TypeVar("T")


class RunningImage(NamedTuple):
    """The app that runs: its slot, its descriptor, and how it was built."""

    slot: str
    partition: Partition
    desc: AppDesc
    config: BootConfig


class SlotImage(NamedTuple):
    """An intact image in a slot; `length` in bytes, signature included if the app demands one, `sha256` as
    esp_partition_get_sha256 gives it, in hex.
    """

    desc: AppDesc
    length: int
    sha256: str


@dataclass
class Ota:
    """One session of `esp_ota_ops`, from the app's start to the next reset. Slots by name (`ota_0`)."""

    cpu: Cpu
    log: ConsoleLog
    table: PartitionTable
    image: RunningImage

    def __post_init__(self) -> None:
        self.memory = ChipMemory(self.cpu)
        encrypted = encryption_of(self.cpu) is not None
        self.context = ota_ops.AppContext(
            self.memory, self.table, self.image.config, self.image.slot, encrypted=encrypted
        )
        self._handle: int | None = None

    def run(self, steps: Steps[T]) -> T:
        return perform(steps, self.cpu, self.log)

    # --- queries ---

    def state(self, slot: str) -> tuple[str, str]:
        """Error and state name of esp_ota_get_state_partition; the name is empty unless ESP_OK."""
        error, state = self.run(ota_ops.esp_ota_get_state_partition(self.context, slot))
        return error, "" if state is None else state_name(state)

    def state_text(self, slot: str) -> str:
        """The state, or the error's name in its place."""
        error, state = self.state(slot)
        return state or error

    def boot_slot(self) -> str | None:
        return self.run(ota_ops.esp_ota_get_boot_partition(self.context))

    def next_slot(self) -> str | None:
        return ota_ops.esp_ota_get_next_update_partition(self.context)

    def last_invalid(self) -> str | None:
        return self.run(ota_ops.esp_ota_get_last_invalid_partition(self.context))

    def rollback_possible(self) -> bool:
        return self.run(ota_ops.esp_ota_check_rollback_is_possible(self.context))

    def otadata(self) -> tuple[int, bytes, bytes] | None:
        """Offset of the partition and the two raw entries; None without one."""
        part = self.table.otadata_for_app
        if part is None:
            return None
        return part.offset, *(self.memory.read(part.offset + n * SECTOR_SIZE, ENTRY_SIZE) for n in (0, 1))  # type: ignore[return-value]

    def slot_image(self, part: Partition) -> SlotImage | None:
        """The image in a partition, if it verifies; nothing is printed but about its signature."""
        check = check_image(self.memory, part.offset, part.size, self.image.config)
        intact, length = check.ok, check.length
        if intact and (scheme := self.image.config.signed_updates) is not None:
            running, config = self.image.partition.offset, self.image.config
            intact = self.run(verify_signature(self.memory, part.offset, running, scheme, config))
            length = signature_offset(check.length) + SECTOR_SIZE
        desc = AppDesc.find(self.memory.read(part.offset + _DESC_AT, _DESC_SIZE)) if intact else None
        if desc is None:
            return None
        digest = self.memory.read(part.offset + check.length - _HASH_SIZE, _HASH_SIZE)
        return SlotImage(desc, length, digest.hex())

    def is_blank(self, part: Partition) -> bool:
        """Whether the slot's first sector is erased, as after esp_ota_begin."""
        return self.memory.read(part.offset, SECTOR_SIZE).count(0xFF) == SECTOR_SIZE

    # --- otadata ---

    def confirm(self) -> str:
        return self.run(ota_ops.esp_ota_mark_app_valid_cancel_rollback(self.context))

    def reject(self) -> str:
        """esp_ota_mark_app_invalid_rollback_and_reboot: `esp_restart` where the real call restarts, else its error."""
        return self.run(ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(self.context))

    def set_boot(self, slot: str) -> str:
        return self.run(ota_ops.esp_ota_set_boot_partition(self.context, slot))

    def erase_previous(self) -> str:
        return self.run(ota_ops.esp_ota_erase_last_boot_app_partition(self.context))

    def invalidate_inactive(self) -> str:
        if self.image.config.idf < (5, 5):
            return "ESP_ERR_NOT_SUPPORTED"
        return self.run(ota_ops.esp_ota_invalidate_inactive_ota_data_slot(self.context))

    def burn(self, version: int) -> str:
        return self.run(update_secure_version(self.memory, self.image.config, version))

    # --- update ---

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def begin(self, slot: str, size: int, mode: str) -> str:
        """esp_ota_begin; an update that was open is dropped if it succeeds."""
        older = self._handle
        error, handle = self.run(ota_ops.esp_ota_begin(self.context, slot, _MODES.get(mode, size)))
        if error == OK:
            if older is not None:
                ota_ops.esp_ota_abort(self.context, older)
            self._handle = handle
        return error

    def resume(self, slot: str, offset: int) -> str:
        """esp_ota_resume behind the `offset` bytes that are in the slot; ESP-IDF v5.5 and later."""
        error, handle = self.run(esp_ota_resume(self.context, slot, offset))
        if error == OK:
            self._handle = handle
        return error

    def write(self, data: bytes) -> str:
        if self._handle is None:
            return "ESP_ERR_INVALID_STATE"
        return self.run(ota_ops.esp_ota_write(self.context, self._handle, data))

    def end(self) -> str:
        handle, self._handle = self._handle, None
        return "ESP_ERR_INVALID_STATE" if handle is None else self.run(ota_ops.esp_ota_end(self.context, handle))

    def abort(self) -> str:
        handle, self._handle = self._handle, None
        return "ESP_ERR_INVALID_STATE" if handle is None else ota_ops.esp_ota_abort(self.context, handle)
