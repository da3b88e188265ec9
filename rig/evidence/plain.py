"""Lines without a log header: the ROM's, the panic handler's, the agent's, and what apps say in their own words."""

from __future__ import annotations

import re
from collections.abc import Callable

from rig.evidence.events import (
    AgentLine,
    Brownout,
    CallFailed,
    DownloadMode,
    Event,
    Hint,
    HintKind,
    Line,
    OtaCall,
    OtadataReport,
    OtaLine,
    Panic,
    Rebooting,
    RomBanner,
    RomEntry,
    RomFault,
    SlotReport,
)
from rig.evidence.patterns import Make, Match

MakePlain = Callable[[Line, Match], Event | None]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace").strip()


def _panic(kind: str) -> Make:
    return lambda at, match: Panic(at, kind, _text(match[1]) if match.re.groups else kind)


def _otadata(at: Line, match: Match) -> Event | None:
    """Only if the bytes agree with the numbers printed behind them; a torn line does not."""
    data = bytes.fromhex(match[2].decode())
    said = (int(match[3]), int(match[4], 16))
    seen = (int.from_bytes(data[:4], "little"), int.from_bytes(data[28:], "little"))
    return OtadataReport(at, int(match[1]), data) if said == seen else None


_PATTERNS = (
    (b"ets", rb"ets [A-Z][a-z]{2} +\d{1,2} \d{4} \d\d:\d\d:\d\d", lambda at, m: RomBanner(at, "esp32")),
    (b"ent", rb"entry 0x([0-9a-f]{1,8})", lambda at, m: RomEntry(at, int(m[1], 16))),
    (b"fla", rb"flash read err, \d+", lambda at, m: RomFault(at)),
    (b"csu", rb"csum err:0x[0-9a-f]{1,8}!=0x[0-9a-f]{1,8}", lambda at, m: RomFault(at)),
    (b"inv", rb"invalid header: 0x[0-9a-f]{1,8}", lambda at, m: RomFault(at)),
    (b"Inv", rb"Invalid image block, can't boot\.", lambda at, m: RomFault(at)),
    (b"wai", rb"waiting for download", lambda at, m: DownloadMode(at)),
    (b"Gur", rb"Guru Meditation Error: Core +\d+ panic'ed \((.*?)\)\..*", _panic("exception")),
    (b"Gur", rb"Guru Meditation Error of type (\w+) occurred on core +\d.*", _panic("exception")),
    (b"***", rb"\*\*\*ERROR\*\*\* A stack overflow in task (\S+) has been detected\.?", _panic("stack overflow")),
    (b"abo", rb"abort\(\) was called(?: at PC 0x[0-9a-f]{8} on core \d)?", _panic("abort")),
    (b"ass", rb"(assert failed: .+)", _panic("assert")),
    (b"ass", rb"(assertion \".*\" failed: .*)", _panic("assert")),
    (b"Reb", rb"Rebooting\.\.\.", lambda at, m: Rebooting(at)),
    (b"Pan", rb"Panic handler .*Abort panic handling\. Rebooting \.\.\.", lambda at, m: Rebooting(at)),
    (b"Bro", rb"Brownout detector was triggered", lambda at, m: Brownout(at)),
    # without its log header in posters' excerpts
    (
        b"Run",
        rb"Running app has not confirmed state \(ESP_OTA_IMG_PENDING_VERIFY\)",
        lambda at, m: OtaLine(at, OtaCall.UNCONFIRMED),
    ),
    # Arduino's Update: esp_ota_set_boot_partition() refused
    (b"Cou", rb"Could Not Activate The Firmware", lambda at, m: CallFailed(at, "esp_ota_set_boot_partition", "")),
    (b"@ri", rb"@rig .+", lambda at, m: AgentLine(at)),
    (
        b"ota",
        rb"otadata\[([01])\]: ((?:[0-9a-f]{2} ){31}[0-9a-f]{2}) seq=(\d+) state=\w+ crc=0x([0-9a-f]{8})",
        _otadata,
    ),
)


def _by_start() -> dict[bytes, tuple[tuple[Callable[[bytes], Match | None], MakePlain], ...]]:
    table: dict[bytes, tuple[tuple[Callable[[bytes], Match | None], MakePlain], ...]] = {}
    for start, pattern, make in _PATTERNS:
        table[start] = (*table.get(start, ()), (re.compile(pattern).fullmatch, make))
    return table


PLAIN = _by_start()
"""First three bytes of a line that has no log header, to what it may be."""

_SLOT = rb"(ota_\d{1,2}|factory)"
_STATE = rb"(NEW|PENDING_VERIFY|VALID|INVALID|ABORTED|UNDEFINED)\b"
_HINTS = (
    (rb"OTA state of running partition (\S+): ([A-Z_]+)", None),
    (rb"\brunning=" + _SLOT + rb"\b", HintKind.RUNNING),
    (rb"\b[Rr]unning partition: " + _SLOT + rb"\b", HintKind.RUNNING),
    (rb"\bconfirming on " + _SLOT + rb"\b", HintKind.RUNNING),
    (rb"\breturned to " + _SLOT + rb"\b", HintKind.RETURNED_TO),
    (rb"\bfw=(\d[\w.\-]*)", HintKind.VERSION),
    (rb"\b(marking (?:app |image |this image |itself )?(?:as )?valid)\b", HintKind.CONFIRMED),
    (rb"\b(marking (?:app |image |this image |itself )?(?:as )?invalid)\b", HintKind.REJECTED),
    (rb"\b([Mm]ark current OTA partition valid)\b", HintKind.SAYS_GOOD),
    (rb"(?<!not )(?<!never )\b([Mm]arked (?:as )?valid)\b", HintKind.SAYS_GOOD),
    (rb"\b(\w*mark_(?:app_)?valid\w*(?:\(\))?(?: ?[:=]| returned| ->) ?ESP_OK)\b", HintKind.SAYS_GOOD),
    (rb"\b([Rr]ollback cancell?ed)\b", HintKind.SAYS_GOOD),
    (rb"\b([Ss]et image as valid)\b", HintKind.SAYS_GOOD),
    # ESP-IDF's own examples: native_ota_example, advanced_https_ota
    (rb"(Diagnostics completed successfully! Continuing execution)", HintKind.SAYS_GOOD),
    (rb"(Diagnostics failed! Start rollback)", HintKind.REJECTED),
    (rb"\b([Rr]olling back(?: to)?)\b", HintKind.REJECTED),
    (rb"\bESP_OTA_IMG_" + _STATE, HintKind.STATE),
    (rb"(?i)\b(?:ota|app|image|partition)[ _](?:img[ _])?(?:state|is)\b[ :=]{0,3}" + _STATE, HintKind.STATE),
    (rb"\bota_state ?[:=] ?(\d{1,10}|0x[0-9a-f]{1,8})\b", HintKind.STATE),
    (rb"(?i)\b((?:restarting|rebooting)(?: in \d+ sec\w*)?)\b(?!\.\.\.$)", HintKind.RESTARTS),
    (rb"\b(esp_restart\(\))", HintKind.RESTARTS),
    (rb"\b([Ss]ystem restart is activated by \w[\w ]*)", HintKind.RESTARTS),
    (rb"(?i)\blast reset was due to (\w[\w ]*)", HintKind.RESET_CAUSE),
    (rb"(?i)\breset reason[:=] ?(\w[\w /]*)", HintKind.RESET_CAUSE),
    (rb"\besp_ota_set_boot_partition\(" + _SLOT + rb"\): ESP_OK\b", HintKind.CHOSEN),
    (rb"\botadata\[([01]\]\.ota_seq ?= ?\d{1,10})\b", HintKind.SEQUENCE),
    (rb"\baflags/seq:(0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8})", HintKind.FLAGS),
    (rb"\brejected: (0x[0-9a-f]{8})", HintKind.JOB_REJECTED),
)
_COMPILED = tuple((re.compile(pattern).search, kind) for pattern, kind in _HINTS)
_CALL = re.compile(rb"\b(esp_(?:https_)?ota_\w+) failed\b(?:.*?(0x[0-9a-f]{1,8}|ESP_ERR_\w+)\b)?")
_ERROR = re.compile(rb"\b(ESP_ERR_(?:OTA|IMAGE)_\w+)\b")

HINT_WORDS = (
    b"running=",
    b"unning partition: ",
    b"OTA state of running",
    b" confirming on ",
    b"returned to ",
    b"fw=",
    b"marking ",
    b"arked ",
    b"mark_",
    b"ollback cancel",
    b"mage as valid",
    b"Diagnostics ",
    b" failed",
    b"urrent OTA partition valid",
    b"olling back",
    b"ESP_OTA_IMG_",
    b"ENDING_VERIFY",
    b"ending_verify",
    b"ota_state",
    b"TA state",
    b"estarting",
    b"restart is activated",
    b"esp_restart()",
    b"ebooting",
    b"ast reset was due",
    b"eset reason",
    b"eset Reason",
    b"set_boot_partition(",
    b"].ota_seq",
    b"aflags/seq:",
    b"rejected: 0x",
    b"ESP_ERR_OTA_",
    b"ESP_ERR_IMAGE_",
    b"Could Not Activate",
)
"""A line that holds none of these has no hint."""


def hints(at: Line) -> list[Event]:
    """What the text of any line says in an app's own words."""
    text = at.text.encode()
    found: list[Event] = []
    for search, kind in _COMPILED:
        if match := search(text):
            if kind is None:
                found.append(SlotReport(at, "running", _text(match[1]), None, _text(match[2]), None))
            else:
                found.append(Hint(at, kind, _text(match[1]).upper() if kind is HintKind.STATE else _text(match[1])))
    if b"Could Not Activate" in text:
        found.append(CallFailed(at, "esp_ota_set_boot_partition", ""))
    if call := _CALL.search(text):
        found.append(CallFailed(at, _text(call[1]), _text(call[2] or b"")))
    elif error := _ERROR.search(text):
        found.append(CallFailed(at, "", _text(error[1])))
    return found
