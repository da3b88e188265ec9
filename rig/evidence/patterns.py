"""The wording of tagged log lines: which text of which tag makes which event. Sources: see events.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rig.evidence.events import (
    ActiveEntry,
    AppInfo,
    AppLoaded,
    BootDecision,
    BootloaderStart,
    Brownout,
    Decision,
    EfuseChange,
    Event,
    FlashEncryption,
    Hint,
    HintKind,
    ImageFault,
    ImageSegment,
    Line,
    NotSigned,
    OtaCall,
    OtadataLine,
    OtadataMarked,
    OtadataSequence,
    OtaLine,
    PartitionRow,
    Reset,
    ResetReason,
    RomBanner,
    RomFault,
    SequenceChoice,
    SequencePair,
    SlotMapped,
    SlotRejected,
    SlotReport,
    TryingPartition,
    Watchdog,
)

Match = re.Match[bytes]
Make = Callable[[Line, Match], Event]

_HEX = r"0x([0-9a-f]{1,8})"
_DEC = r"(\d{1,10})"


class Rule(NamedTuple):
    """`open_end`: the text ends in a number or name that a torn line could have shortened."""

    match: Callable[[bytes], Match | None]
    make: Make
    open_end: bool


def _hex(value: bytes) -> int:
    return int(value, 16)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace").strip()


def _decision(kind: Decision) -> Make:
    def make(at: Line, match: Match) -> Event:
        groups = match.groups()
        return BootDecision(at, kind, int(groups[0]) if groups else None)

    return make


def _ota(kind: OtaCall) -> Make:
    def make(at: Line, match: Match) -> Event:
        groups = match.groups()
        return OtaLine(at, kind, int(groups[0], 16) if groups else None)

    return make


def _fault(reason: str, offset_first: bool = False) -> Make:
    """Every number of the line becomes a value; the first one may be the image's flash offset."""

    def make(at: Line, match: Match) -> Event:
        values = tuple(int(group, 16 if b"0x" + group in match[0] else 10) for group in match.groups())
        return ImageFault(at, reason, values[0] if offset_first else None, values)

    return make


def _info(field: str) -> Make:
    return lambda at, match: AppInfo(at, field, _text(match[1]))


def _slot_report(role: str) -> Make:
    def make(at: Line, match: Match) -> Event:
        state, version = match[3], match[4]
        return SlotReport(at, role, _text(match[1]), _hex(match[2]), _text(state), _text(version) if version else None)

    return make


_APP_INFO = (
    (r"Project name: +(\S.*)", _info("project")),
    (r"App version: +(\S.*)", _info("version")),
    (r"Secure version: +(\d+)", _info("secure_version")),
    (r"Compile time: +(\S.*)", _info("compile_time")),
    (r"ELF file SHA256: +([0-9a-f]+)\.\.\.", _info("elf_sha")),
    (r"ESP-IDF: +(\S+)", _info("idf")),
)
_REPORT = r"label=(\S+) offset=" + _HEX + r" size=0x[0-9a-f]+ state=(\w+) version=(\S+)(?: .*)?"
_BOOT = (
    (r"ESP-IDF (\S+) 2nd stage bootloader", lambda at, m: BootloaderStart(at, _text(m[1]))),
    (r"Loaded app from partition at offset " + _HEX, lambda at, m: AppLoaded(at, _hex(m[1]))),
    (r"Fast booting app from partition at offset " + _HEX, lambda at, m: AppLoaded(at, _hex(m[1]), False)),
    (r"Fast booting is not successful", _decision(Decision.FAST_BOOT_FAILED)),
    (r"Try to load an app as usual with all validations", _decision(Decision.FAST_BOOT_FALLBACK)),
    (r"Defaulting to factory image", _decision(Decision.TO_FACTORY)),
    (r"No factory image, trying OTA 0", _decision(Decision.NO_FACTORY)),
    (r"No bootable app partitions in the partition table", _decision(Decision.NOTHING_BOOTABLE)),
    # before v3.0 no other app was tried
    (r"Failed to verify app image @ 0x[0-9a-f]+ \(\d+\)", lambda at, m: BootDecision(at, Decision.NOTHING_BOOTABLE)),
    (r"No bootable test partition in the partition table", _decision(Decision.TEST_NOT_BOOTABLE)),
    (r"ota data partition invalid, falling back to factory", _decision(Decision.OTADATA_BAD_FACTORY)),
    (
        r"ota data partition invalid and no factory, will try all partitions",
        _decision(Decision.OTADATA_BAD_TRY_ALL),
    ),
    # before v3.0 nothing else was tried
    (r"ota data partition invalid and no factory, can't boot", _decision(Decision.OTADATA_BAD_STOP)),
    (
        r"OTA data ([01]): seq " + _HEX + ", st " + _HEX + ", CRC " + _HEX + r", valid\? ([01])",
        lambda at, m: OtadataLine(at, int(m[1]), _hex(m[2]), _hex(m[3]), _hex(m[4]), m[5] == b"1"),
    ),
    (r"otadata\[0\.\.1\] in initial state", _decision(Decision.OTADATA_INITIAL)),
    (
        r"OTA sequence numbers both empty \(all-0xFF\)(?: or partition table does not have bootable ota_apps"
        r" \(app_count=" + _DEC + r"\))?",
        lambda at, m: BootDecision(at, Decision.OTADATA_EMPTY, int(m[1]) if m[1] else None),
    ),
    (
        r"ota_info partition size " + _DEC + r" is too small \(minimum \d+ bytes\)",
        _decision(Decision.OTADATA_SMALL),
    ),
    (
        r"Error in write_otadata operation\. err = " + _HEX,
        lambda at, m: BootDecision(at, Decision.OTADATA_WRITE_FAILED, _hex(m[1])),
    ),
    (r"Set actual ota_seq=" + _DEC + r" in otadata\[0\]", _decision(Decision.SEQ_SET)),
    (r"Enabled a check secure version of app for anti rollback", _decision(Decision.ANTI_ROLLBACK)),
    (r"Secure version \(from eFuse\) = " + _DEC, _decision(Decision.SECURE_VERSION)),
    (r"Failed to get partition description " + _DEC, _decision(Decision.NO_DESCRIPTION)),
    (r"End of partition table", _decision(Decision.TABLE_END)),
    (r"Failed to verify partition table", _decision(Decision.TABLE_UNREADABLE)),
    (r"load partition table error!", _decision(Decision.TABLE_ERROR)),
    (r"Detect a condition of the factory reset", _decision(Decision.FACTORY_RESET)),
    (
        r"Data partitions to erase: (.*)",
        lambda at, m: BootDecision(at, Decision.FACTORY_RESET_ERASES),
    ),
    (r"Detect a boot condition of the test firmware", _decision(Decision.TEST_PIN)),
    (r"Test firmware is not found in partition table", _decision(Decision.TEST_MISSING)),
    (r"Falling back to test app as only bootable partition", _decision(Decision.TEST_FALLBACK)),
    (r"OTA app partition slot " + _DEC + r" is not bootable", lambda at, m: SlotRejected(at, f"ota_{int(m[1])}")),
    (r"Factory app partition is not bootable", lambda at, m: SlotRejected(at, "factory")),
    (r"Factory test app partition is not bootable", lambda at, m: SlotRejected(at, "test")),
    (
        r"OTA slot " + _DEC + r" has an app with secure_version, this version is smaller than in the device\."
        r" This OTA slot will not be selected\.",
        _decision(Decision.SLOT_TOO_OLD),
    ),
    (
        r"otadata\[([01])\] is selected as new and marked PENDING_VERIFY state",
        lambda at, m: OtadataMarked(at, int(m[1]), "PENDING_VERIFY"),
    ),
    (r"otadata\[([01])\] is marking as ABORTED", lambda at, m: OtadataMarked(at, int(m[1]), "ABORTED")),
    (
        r"otadata\[([01])\]: sequence values 0x([0-9a-f]{8})",
        lambda at, m: OtadataSequence(at, int(m[1]), _hex(m[2])),
    ),
    (r"Active otadata\[([01])\]", lambda at, m: ActiveEntry(at, int(m[1]))),
    (
        r"Mapping seq " + _DEC + r" -> OTA slot " + _DEC,
        lambda at, m: SlotMapped(at, int(m[1]), f"ota_{int(m[2])}"),
    ),
    (
        r"Trying partition index (-?\d{1,3}) offs " + _HEX + r" size " + _HEX,
        lambda at, m: TryingPartition(at, int(m[1]), _hex(m[2]), _hex(m[3])),
    ),
    (
        r"OTA sequence values A 0x([0-9a-f]{8}) B 0x([0-9a-f]{8})",
        lambda at, m: SequencePair(at, (_hex(m[1]), _hex(m[2]))),
    ),
    (
        # posters write comments behind this line
        r"(?:Both|Only) OTA sequence (?:[AB] is )?valid, using OTA slot " + _DEC + r"(?: *#.*)?",
        lambda at, m: SequenceChoice(at, int(m[1])),
    ),
    (r"(?:PRO|APP) CPU has been reset by WDT\.?", lambda at, m: Watchdog(at, "bootloader note")),
    (_REPORT, _slot_report("boot")),
)
_IMAGE = (
    (
        r"segment 0: paddr=(?:0x)?([0-9a-f]{8}) vaddr=.*",
        lambda at, m: ImageSegment(at, _hex(m[1])),
    ),
    (r"image at " + _HEX + r" has invalid magic byte(?: \(nothing flashed here\?\))?", _fault("magic", True)),
    (r"image at " + _HEX + r" segment count " + _DEC + r" exceeds max \d+", _fault("segment count", True)),
    (r"invalid segment length " + _HEX, _fault("segment length")),
    (r"unaligned segment length " + _HEX, _fault("segment length")),
    (r"Segment " + _DEC + " load address " + _HEX + r", doesn't match data " + _HEX, _fault("load address")),
    (
        r"Segment " + _DEC + " " + _HEX + "-" + _HEX + r" invalid: .+",
        lambda at, m: ImageFault(at, at.text.split("invalid: ")[1], None, (int(m[1]), _hex(m[2]), _hex(m[3]))),
    ),
    (r"Checksum failed\. Calculated " + _HEX + " read " + _HEX, _fault("checksum")),
    (r"Image hash failed - image is corrupt", _fault("hash")),
    (r"image corrupted on flash", _fault("hash")),
    (r"image valid, signature bad", _fault("signature")),
    (r"Image length " + _DEC + r" doesn't fit in partition length " + _DEC, _fault("image length")),
    (r"image offset has wrapped", _fault("offset wrapped")),
    (r"partition size " + _HEX + r" invalid, larger than 16MB", _fault("partition size")),
    (r"bootloader_flash_read failed at " + _HEX, _fault("flash read")),
    (r"Secure boot signature verification failed", _fault("signature")),
)
_COMM = (
    (r"mismatch chip ID, expected " + _DEC + r", found " + _DEC, _fault("chip id")),
    (r"image has invalid chip ID, expected at least " + _DEC + ", found " + _DEC, _fault("chip id")),
    (r"image has invalid chip revision, expected at least " + _DEC + ", found " + _DEC, _fault("chip revision")),
    (
        r"chip revision check failed\. Required [<>]= v(\d+)\.(\d+), found v(\d+)\.(\d+)\.",
        _fault("chip revision"),
    ),
    (
        r"Image requires chip rev [<>]= v(\d+)\.(\d+), but chip is v(\d+)\.(\d+)",
        _fault("chip revision"),
    ),
    (r"Image requires efuse blk rev [<>]= v(\d+)\.(\d+), but chip is v(\d+)\.(\d+)", _fault("efuse revision")),
    (r"efuse blk rev = v(\d+)\.(\d+) [<>] (?:min|max) rev v(\d+)\.(\d+)", _fault("efuse revision")),
)
_OTA_OPS = (
    (
        r"Running app has not confirmed state \(ESP_OTA_IMG_PENDING_VERIFY\)",
        _ota(OtaCall.UNCONFIRMED),
    ),
    (r"OTA image has invalid magic byte \(expected 0xE9, saw 0x([0-9a-f]{2})\)", _ota(OtaCall.BAD_MAGIC)),
    (r"New image failed verification", _ota(OtaCall.NEW_IMAGE_FAILED)),
    (
        r"This a new partition can not be booted due to a secure version is lower than stored in efuse\."
        r" Partition will be erased\.",
        _ota(OtaCall.SECURE_VERSION_LOW),
    ),
    (r"Running firmware is factory", _ota(OtaCall.RUNNING_IS_FACTORY)),
    (
        r"Rollback is not possible, do not have any suitable apps in slots",
        _ota(OtaCall.ROLLBACK_IMPOSSIBLE),
    ),
    (r"Rollback to previously worked partition\.(?: Restart\.)?", _ota(OtaCall.ROLLBACK)),
    (r"not found ota ?data", _ota(OtaCall.NO_OTADATA)),
    (r"ota data invalid, no current app\. Assuming factory", _ota(OtaCall.OTADATA_INVALID)),
    (r"OTA operation already in progress on partition \S+", _ota(OtaCall.IN_PROGRESS)),
    (r"OTA\[current\] partition is marked as VALID", _ota(OtaCall.MARKED_VALID)),
    (r"OTA\[current\] partition is marked as INVALID", _ota(OtaCall.MARKED_INVALID)),
    (r"Monitoring the first boot of the app is enabled\.", _ota(OtaCall.FIRST_BOOT_WATCHED)),
)
_EFUSE = (
    (
        r"Anti-rollback is set\. eFuse field is updated\(" + _DEC + r"\)\.",
        lambda at, m: EfuseChange(at, True, int(m[1])),
    ),
    (
        r"Anti-rollback is not set\. secure_version of app is lower that eFuse field\(" + _DEC + r"\)\.",
        lambda at, m: EfuseChange(at, False, int(m[1])),
    ),
    (
        r"Max secure version is \d+\. Given " + _DEC + r" version can not be written\.",
        lambda at, m: EfuseChange(at, False, int(m[1])),
    ),
)
_PARTS = (
    (r"partition \d+ invalid magic number " + _HEX, _fault("partition table magic")),
    (r"partition \d+ invalid - offset .*", _fault("partition table")),
    (r"partition table has no terminating entry, not valid", _fault("partition table")),
    (r"invalid partition table, no app partitions", _fault("partition table")),
    (r"Incorrect MD5 checksum", _fault("partition table MD5")),
)
_BROWNOUT = ((r"Brownout detector was triggered", lambda at, m: Brownout(at)),)
_SAFE_MODE = (
    (
        r"OTA rollback detected! Rolled back from partition '([^']+)'",
        lambda at, m: Hint(at, HintKind.ROLLED_BACK_FROM, _text(m[1])),
    ),
    (
        r"Boot seems successful; resetting boot loop counter",
        lambda at, m: Hint(at, HintKind.CONFIRMED, "boot seems successful"),
    ),
    (r"Successful after: (\d+)s", lambda at, m: Hint(at, HintKind.CONFIRM_AFTER, _text(m[1]))),
)

_ROW = re.compile(rb" ?(\d{1,2}) (.{16}) (.{16}) ([0-9a-f]{2}) ([0-9a-f]{2}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.DOTALL)
"""A row of the partition listing: columns of fixed width, so that a torn row never matches."""


def _row(at: Line, match: Match) -> PartitionRow:
    index, label, usage, kind, subtype, offset, size = match.groups()
    return PartitionRow(at, int(index), _text(label), _text(usage), _hex(kind), _hex(subtype), _hex(offset), _hex(size))


_TAGGED: dict[str, tuple[tuple[str, Make], ...]] = {
    "boot": _BOOT,
    "esp_image": _IMAGE,
    "boot_comm": _COMM,
    "esp_ota_ops": _OTA_OPS,
    "efuse": _EFUSE,
    "flash_parts": _PARTS,
    "cpu_start": _APP_INFO,
    "app_init": _APP_INFO,
    "secure_boot_v2": (
        (r"Public key digest in eFuse BLK\d+ and the signature block don't match\.", _fault("key digest")),
    ),
    "secure_boot": ((r"This app is not signed, but check signature on update .*", lambda at, m: NotSigned(at)),),
    "flash_encrypt": ((r"Flash encryption mode is (\w+).*", lambda at, m: FlashEncryption(at, _text(m[1]).lower())),),
    "task_wdt": ((r"Task watchdog got triggered\..*", lambda at, m: Watchdog(at, "task")),),
    "BOD": _BROWNOUT,
    "brownout": _BROWNOUT,
    "safe_mode": _SAFE_MODE,
    "reset_reason": ((r"([A-Z_0-9]+)", lambda at, m: ResetReason(at, _text(m[1]))),),
    "running": ((_REPORT, _slot_report("running")),),
    "next_update": ((_REPORT, _slot_report("next_update")),),
    "last_invalid": ((_REPORT, _slot_report("last_invalid")),),
    "ESP-ROM": ((r"(esp\w+)-.*", lambda at, m: RomBanner(at, _text(m[1]))),),
    "rst": (
        (
            r"0x([0-9a-f]{1,2}) \((\w+)\),boot:0x([0-9a-f]{1,4}) \((.*)\)",
            lambda at, m: Reset(at, _hex(m[1]), _text(m[2]), _hex(m[3]), _text(m[4])),
        ),
    ),
    # the ROM's reading of an erased bootloader
    "load": ((r"0xffffffff,len:-1", lambda at, m: RomFault(at)),),
    "csum": ((r".*", lambda at, m: RomFault(at)),),
}


def _compile() -> dict[bytes, dict[bytes, tuple[Rule, ...]]]:
    """Rules by tag and first word, so that most lines cost two look-ups and no regular expression."""
    table: dict[bytes, dict[bytes, tuple[Rule, ...]]] = {}
    for tag, patterns in _TAGGED.items():
        by_word: dict[bytes, tuple[Rule, ...]] = {}
        for pattern, make in patterns:
            rule = Rule(re.compile(pattern.encode()).fullmatch, make, _open_end(pattern))
            for word in _first_words(pattern):
                by_word[word] = (*by_word.get(word, ()), rule)
        table[tag.encode()] = by_word
    # `%2d` gives an empty first word up to 9
    for word in (b"", *(str(index).encode() for index in range(10, 100))):
        table[b"boot"][word] = (Rule(_ROW.fullmatch, _row, False), *table[b"boot"].get(word, ()))
    return table


def _first_words(pattern: str) -> tuple[bytes, ...]:
    """The literal first words a pattern can match, or the empty word for one that begins with a variable."""
    alternatives = re.match(r"\(\?:([A-Za-z|]+)\) ", pattern)
    if alternatives:
        return tuple(word.encode() for word in alternatives[1].split("|"))
    word = pattern.split(" ", 1)[0]
    if "([01])" in word:
        return tuple(first for entry in "01" for first in _first_words(pattern.replace("([01])", entry, 1)))
    if re.search(r"(?<!\\)[\[\](){}.*+?|]|\\[a-zA-Z]", word):
        return (b"",)
    return (re.sub(r"\\(.)", r"\1", word).encode(),)


def _open_end(pattern: str) -> bool:
    bare = re.sub(r"\\[^dwS]", "~", pattern).rstrip(")?+*:(")
    return bare.endswith((r"\d", r"\w", r"\S", ".", "]", "}")) and not bare.endswith("{8}")


RULES = _compile()
"""Tag, then first word of the text (`b""`: any, only in lines without a level letter), to the rules to try."""
