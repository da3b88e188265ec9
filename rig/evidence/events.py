"""What one line of a serial log says, as typed values.

Events are plain tuples; their first field `at` is the line that witnesses them. Wording is that of ESP-IDF v4.4 to
v6.1: components/bootloader_support/src/{bootloader_utility,bootloader_init,bootloader_common,esp_image_format}.c,
components/bootloader/subproject/main/bootloader_start.c, components/app_update/esp_ota_ops.c,
components/efuse/src/esp_efuse_fields.c, components/esp_system/{panic,startup}.c and
components/esp_app_format/esp_app_desc.c.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

_COLOUR = re.compile(r"\x1b(?:\[[\d;]*m?)?")


class Line(NamedTuple):
    """One line of the log, or a part where lines run together. `torn`: its end may be missing.

    `number`: 1 plus the line feeds before; `offset`: first byte in the raw log; `time`: when its first chunk came (s).
    """

    number: int
    offset: int
    time: float | None
    raw: bytes
    level: str | None
    tag: str | None
    text: str
    torn: bool = False

    def __str__(self) -> str:
        return _COLOUR.sub("", self.raw.decode("utf-8", "backslashreplace")).strip()


class RomBanner(NamedTuple):
    """First line after a reset: `ESP-ROM:esp32c3-…` or, on esp32, `ets Jun  8 2016 …`; `chip` as far as it says."""

    at: Line
    chip: str


class Reset(NamedTuple):
    """`rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)`."""

    at: Line
    number: int
    name: str
    boot_mode: int
    boot_name: str

    @property
    def reason(self) -> str:
        return f"{self.number:#x} ({self.name})"


class RomEntry(NamedTuple):
    """`entry 0x403cc710`: the ROM starts the second-stage bootloader."""

    at: Line
    address: int


class RomFault(NamedTuple):
    """The ROM could not read or accept the bootloader: `flash read err`, `invalid header`."""

    at: Line


class DownloadMode(NamedTuple):
    """`waiting for download`: the strapping pins asked for the serial loader."""

    at: Line


class BootloaderStart(NamedTuple):
    """`ESP-IDF v5.1.6 2nd stage bootloader`."""

    at: Line
    version: str


class PartitionRow(NamedTuple):
    """One row of the bootloader's partition listing; `offset` and `size` in bytes of flash."""

    at: Line
    number: int
    label: str
    usage: str
    type: int
    subtype: int
    offset: int
    size: int


class Decision(StrEnum):
    """Bootloader lines that name a decision and hold no more than one number."""

    TO_FACTORY = "defaulting to factory"
    NO_FACTORY = "no factory, trying ota_0"
    OTADATA_BAD_FACTORY = "otadata invalid, falling back to factory"
    OTADATA_BAD_TRY_ALL = "otadata invalid and no factory, trying all"
    OTADATA_BAD_STOP = "otadata invalid and no factory, giving up"
    OTADATA_INITIAL = "otadata in initial state"
    OTADATA_EMPTY = "both sequence numbers empty"
    OTADATA_SMALL = "otadata partition too small"
    OTADATA_WRITE_FAILED = "otadata could not be written"
    SEQ_SET = "otadata[0] written with the actual sequence number"
    ANTI_ROLLBACK = "anti-rollback is on"
    SECURE_VERSION = "secure version in eFuse"
    NO_DESCRIPTION = "no application description"
    SLOT_TOO_OLD = "slot older than the eFuse"
    TABLE_END = "end of the partition listing"
    TABLE_UNREADABLE = "partition table not verified"
    TABLE_ERROR = "partition table not loaded"
    FACTORY_RESET = "factory reset asked for by pin"
    FACTORY_RESET_ERASES = "partitions that the factory reset erases"
    TEST_PIN = "test app asked for by pin"
    TEST_MISSING = "no test app in the table"
    TEST_NOT_BOOTABLE = "test app not bootable"
    TEST_FALLBACK = "test app as last resort"
    FAST_BOOT_FAILED = "fast boot failed"
    FAST_BOOT_FALLBACK = "fast boot given up, loading as usual"
    NOTHING_BOOTABLE = "no bootable app partition"


class BootDecision(NamedTuple):
    at: Line
    kind: Decision
    value: int | None = None


class OtadataSequence(NamedTuple):
    """DEBUG: `otadata[1]: sequence values 0x00000002`."""

    at: Line
    entry: int
    seq: int


class OtadataMarked(NamedTuple):
    """DEBUG: the bootloader rewrites an entry's state to PENDING_VERIFY or ABORTED."""

    at: Line
    entry: int
    state: str


class ActiveEntry(NamedTuple):
    """DEBUG: `Active otadata[1]`."""

    at: Line
    entry: int


class SlotMapped(NamedTuple):
    """DEBUG: `Mapping seq 1 -> OTA slot 1`; the number printed is ota_seq - 1."""

    at: Line
    seq: int
    slot: str


class TryingPartition(NamedTuple):
    """DEBUG: `Trying partition index 1 offs 0x110000 size 0x100000`; -1 is factory."""

    at: Line
    number: int
    offset: int
    size: int


class OtadataLine(NamedTuple):
    """Bootloaders of other projects: `OTA data 0: seq 0x00000001, st 0x11, CRC 0x4743989a, valid? 0`."""

    at: Line
    entry: int
    seq: int
    state: int
    crc: int
    valid: bool


class SequencePair(NamedTuple):
    """ESP-IDF of 2017: `OTA sequence values A 0x00000001 B 0x00000002`."""

    at: Line
    seqs: tuple[int, int]


class SequenceChoice(NamedTuple):
    """ESP-IDF of 2017: `Both OTA sequence valid, using OTA slot 1`."""

    at: Line
    slot: int


class ImageSegment(NamedTuple):
    """`segment 0: paddr=00110020 …`: first segment of the image that is being looked at."""

    at: Line
    paddr: int


class ImageFault(NamedTuple):
    """Why an image was refused (tags esp_image, boot_comm, secure_boot…). `offset` where the line names it."""

    at: Line
    reason: str
    offset: int | None = None
    values: tuple[int, ...] = ()


class SlotRejected(NamedTuple):
    """`OTA app partition slot 1 is not bootable`, or the factory or test app's line."""

    at: Line
    slot: str


class AppLoaded(NamedTuple):
    """`Loaded app from partition at offset 0x110000`; `checked` is False for the fast boot out of deep sleep."""

    at: Line
    offset: int
    checked: bool = True


class EfuseChange(NamedTuple):
    """Anti-rollback eFuse field updated to `version`, or (`updated` False) refused."""

    at: Line
    updated: bool
    version: int


class FlashEncryption(NamedTuple):
    at: Line
    mode: str


class NotSigned(NamedTuple):
    """The app demands signatures of updates and has none itself: it aborts before app_main (secure_boot.c)."""

    at: Line


class AppInfo(NamedTuple):
    """One field of the running app's description, printed at start-up (cpu_start, app_init)."""

    at: Line
    field: str
    value: str


class OtaCall(StrEnum):
    """Lines of esp_ota_ops."""

    UNCONFIRMED = "running app has not confirmed itself"
    BAD_MAGIC = "data does not start with the image magic"
    NEW_IMAGE_FAILED = "new image failed verification"
    SECURE_VERSION_LOW = "new image is older than the eFuse, slot erased"
    RUNNING_IS_FACTORY = "running firmware is factory"
    ROLLBACK_IMPOSSIBLE = "no slot to roll back to"
    ROLLBACK = "app rejects itself and rolls back"
    NO_OTADATA = "no otadata partition"
    OTADATA_INVALID = "otadata invalid"
    IN_PROGRESS = "another update is open"
    MARKED_VALID = "marked VALID"
    MARKED_INVALID = "marked INVALID"
    FIRST_BOOT_WATCHED = "first boot of the new app will be watched"


class OtaLine(NamedTuple):
    at: Line
    kind: OtaCall
    value: int | None = None


class CallFailed(NamedTuple):
    """Any app's line that says an esp_ota_… call failed, with the error's name or number as printed.

    `call` or `error` is empty where the line does not name it.
    """

    at: Line
    call: str
    error: str


class Panic(NamedTuple):
    """`kind`: exception, abort, assert, stack overflow; `cause` as printed."""

    at: Line
    kind: str
    cause: str


class Watchdog(NamedTuple):
    """`kind`: task (prints, and resets only if configured to), interrupt, bootloader note of a watchdog reset."""

    at: Line
    kind: str


class Brownout(NamedTuple):
    at: Line


class Rebooting(NamedTuple):
    """The panic handler's last line, or its note that it was entered twice."""

    at: Line


class AgentLine(NamedTuple):
    """A line of the test app's agent from `@rig ` on, not yet checked (see rig.protocol)."""

    at: Line


class SlotReport(NamedTuple):
    """What an app says about a slot. `role`: running, boot, next_update, last_invalid. `state` as printed."""

    at: Line
    role: str
    slot: str
    offset: int | None
    state: str | None
    version: str | None


class OtadataReport(NamedTuple):
    """The 32 bytes of one otadata entry as an app printed them."""

    at: Line
    entry: int
    data: bytes


class ResetReason(NamedTuple):
    """esp_reset_reason() as an app printed it; after a panic it may say SW."""

    at: Line
    name: str


class HintKind(StrEnum):
    """Things that frameworks and apps say in their own words."""

    ROLLED_BACK_FROM = "rolled back from"
    RETURNED_TO = "returned to"
    CONFIRMED = "confirms itself"
    SAYS_GOOD = "says that it is good"
    CONFIRM_AFTER = "confirms after (seconds)"
    REJECTED = "rejects itself"
    RUNNING = "running slot"
    VERSION = "version"
    STATE = "image state"
    RESTARTS = "restarts itself"
    RESET_CAUSE = "last reset was due to"
    CHOSEN = "chooses the slot of the next boot"
    SEQUENCE = "sequence number of an otadata entry"
    FLAGS = "state and sequence number of the active otadata entry"
    JOB_REJECTED = "update job rejected"


class Hint(NamedTuple):
    """Weaker than a witness: only for explaining logs of foreign apps. An app may say that it is good, and then lose
    power before it confirms itself: no judge goes by SAYS_GOOD.
    """

    at: Line
    kind: HintKind
    value: str


class Torn(NamedTuple):
    """A line that was recognised but whose number cannot be trusted; `what` names it."""

    at: Line
    what: str


class Garbled(NamedTuple):
    """`bad` bytes of the line are neither text nor terminal control: noise, wrong baud rate, power edge."""

    at: Line
    bad: int


Event = (
    RomBanner
    | Reset
    | RomEntry
    | RomFault
    | DownloadMode
    | BootloaderStart
    | PartitionRow
    | BootDecision
    | OtadataSequence
    | OtadataMarked
    | ActiveEntry
    | SlotMapped
    | TryingPartition
    | OtadataLine
    | SequencePair
    | SequenceChoice
    | ImageSegment
    | ImageFault
    | SlotRejected
    | AppLoaded
    | EfuseChange
    | FlashEncryption
    | NotSigned
    | AppInfo
    | OtaLine
    | CallFailed
    | Panic
    | Watchdog
    | Brownout
    | Rebooting
    | AgentLine
    | SlotReport
    | OtadataReport
    | ResetReason
    | Hint
    | Torn
    | Garbled
)
