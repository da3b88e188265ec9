"""Rules about starting: the ROM, the bootloader's search for an app, and what it found instead."""

from __future__ import annotations

import re
from collections import defaultdict

from rig.evidence.events import (
    CallFailed,
    Decision,
    DownloadMode,
    Event,
    ImageFault,
    OtaLine,
    Panic,
    Reset,
    RomEntry,
    RomFault,
)
from rig.fieldkit.explained import Finding
from rig.fieldkit.log_verdict_facts import (
    OTADATA_BAD,
    OTADATA_EMPTY,
    Log,
    Refusal,
    Start,
    entries_reported,
    hex_or_none,
)
from rig.fieldkit.verdicts import FieldVerdict
from rig.idf.otadata import ERASED_SEQ, parse, slot_index

_HEADER = re.compile(r"invalid header: 0x([0-9a-f]{1,8})")
_ROM = (Reset, RomEntry, RomFault, DownloadMode)
_REACH = 0x1000000
"""Flash offset in bytes from which a bootloader with 24-bit addressing reads from the beginning again."""
_TORN = frozenset(("segment length", "segment count", "checksum", "hash", "load address", "magic"))
_TOO_BIG = frozenset(("image length",))
_WRONG_CHIP = frozenset(("chip id", "chip revision", "efuse revision"))
_BROKEN_TABLE = frozenset(("partition table magic", "partition table MD5"))
_WRAPPED = frozenset(("offset wrapped", "partition size"))


def rom_only(log: Log) -> Finding | None:
    """ROM lines to the end, and no bootloader: components/esp_rom prints `invalid header` and `flash read err`.

    One failed read says little: the RTC watchdog tries again, and the second try may boot
    (jomjol/AI-on-the-edge-device#653).
    """
    tail = _after_all_boots(log)
    faults = [event for event in tail if isinstance(event, RomFault)]
    if not faults or any(isinstance(event, RomEntry | DownloadMode) for event in tail):
        return None
    tries = _failed_tries(tail)
    headers = [match[1] for event in faults if (match := _HEADER.search(str(event.at)))]
    if tries < 2 and len(headers) < 2:
        return None
    reasons = [
        f"{len(faults)} complaints of the ROM after {max(tries, 1)} resets in a row, and no bootloader after them"
    ]
    if headers:
        reasons.append(_header_words(headers))
    else:
        reasons.append(f"the ROM says: {faults[-1].at}")
    return Finding(
        verdict=FieldVerdict.UNBOOTABLE_BEFORE_BOOTLOADER,
        reasons=reasons,
        evidence=[event.at.number for event in faults[:20]],
        unknown=["esptool read_flash of the first 0x8000 bytes, compared with the bootloader that was built"],
    )


def _after_all_boots(log: Log) -> list[Event]:
    """ROM lines that no bootloader followed; a power-on sets those before it aside."""
    earlier = log.starts[-1].boot.stray if log.starts else log.reading.before
    return [event for event in (*earlier, *log.reading.stray) if isinstance(event, _ROM)]


def _failed_tries(stray: list[Event]) -> int:
    """Resets in a row that ended in a complaint; 0 if nothing was said after the last one."""
    tries = 0
    failed = True
    for event in stray:
        if isinstance(event, Reset):
            tries, failed = (tries if failed else 0), False
        elif isinstance(event, RomFault):
            tries, failed = tries + (not failed), True
    return tries if failed else 0


def _header_words(headers: list[str]) -> str:
    kinds = sorted(set(headers))
    if len(kinds) > 1:
        return f"the header that it reads differs from one read to the next: {', '.join('0x' + k for k in kinds[:4])}"
    data = int(kinds[0], 16).to_bytes(4, "little")
    if data == b"\xff" * 4:
        return "it reads 0xffffffff where the bootloader's header belongs: erased, or flash does not answer"
    if all(0x20 <= byte < 0x7F for byte in data):
        text = data.decode("ascii")
        return f'it reads 0x{kinds[0]}, the text "{text}": something else was written over the bootloader'
    return f"it reads 0x{kinds[0]} where the bootloader's header belongs"


def held_in_download(log: Log) -> Finding | None:
    """Nothing in the log but the ROM's serial loader: strapping pins, which are the bench's."""
    held = [event for event in _after_all_boots(log) if isinstance(event, DownloadMode)]
    if not held or log.starts:
        return None
    return Finding(
        verdict=FieldVerdict.BENCH_FAULT,
        reasons=["the ROM waits for a download: the strapping pins asked for the serial loader at the last reset"],
        evidence=[held[-1].at.number],
    )


def unstable_flash(log: Log) -> Finding | None:
    """The same image gives another checksum at every look while the stored one stays: reads are unstable.

    A torn write gives one wrong checksum for ever (esp-idf#4120, esp-idf#9547).
    """
    last = log.last
    if last is None or last.gave_up is None:
        return None
    seen: dict[tuple[str | None, int | None, int], list[ImageFault]] = defaultdict(list)
    for start in _since_loaded(log):
        for refusal in start.refusals:
            for fault in refusal.faults:
                if fault.reason == "checksum" and len(fault.values) >= 2:
                    seen[(refusal.slot, refusal.offset if refusal.slot is None else None, fault.values[1])].append(
                        fault
                    )
    for (slot, _, stored), faults in seen.items():
        calculated = list(dict.fromkeys(fault.values[0] for fault in faults))
        if len(calculated) > 1:
            values = ", ".join(f"{value:#x}" for value in calculated[:6])
            return Finding(
                verdict=FieldVerdict.UNBOOTABLE_HARDWARE,
                reasons=[
                    f"{slot or 'the same image'}: the checksum calculated over it is {values} in {len(faults)} looks "
                    f"while the stored one is {stored:#x} each time: reads are unstable",
                    f"and {last.gave_up.kind}",
                ],
                evidence=[*(fault.at.number for fault in faults[:20]), last.gave_up.at.number],
                unknown=["supply voltage at the chip during boot, flash mode and clock, wiring; two dumps compared"],
            )
    return _read_errors(log, last)


def _since_loaded(log: Log) -> list[Start]:
    """The boots at the end of which none loaded an app: nothing has written to flash between them."""
    loaded = [start.number for start in log.starts if start.boot.loaded]
    return log.starts[loaded[-1] + 1 :] if loaded else log.starts


def _read_errors(log: Log, last: Start) -> Finding | None:
    faults = [fault for refusal in last.refusals for fault in refusal.faults if fault.reason == "flash read"]
    if not faults or last.gave_up is None:
        return None
    return Finding(
        verdict=FieldVerdict.UNBOOTABLE_HARDWARE,
        reasons=[f"the bootloader could not read flash: {faults[0].at}", f"and {last.gave_up.kind}"],
        evidence=[*(fault.at.number for fault in faults), last.gave_up.at.number],
    )


def flashed_wrong(log: Log) -> Finding | None:
    """Nothing that an update can do: an update writes the slot that does not run, so one whole image always stays.

    A device with one torn image and no other, or without any, was last written by a cable.
    """
    last = log.last
    if last is None or last.boot.loaded or not last.refusals or _ran(log):
        return None
    reasons = [refusal.reasons for refusal in last.refusals]
    lines = [line for refusal in last.refusals for line in refusal.lines]
    told = [str(refusal) for refusal in last.refusals]
    missing = [refusal for refusal in last.refusals if refusal.reasons == {"magic"}]
    if len(missing) == len(last.refusals):
        never = last.decisions(*OTADATA_BAD, *OTADATA_EMPTY)
        if not never and last.gave_up is None:
            return None
        where = ", ".join(hex_or_none(refusal.offset) or str(refusal.slot) for refusal in missing)
        told.append(f"no app lies where the partition table has one ({where}): it was written to another offset or not")
        if never:
            told.append(f"and {never[0].kind}: a slot chosen by an update would be named there")
            lines.append(never[0].at.number)
    elif last.gave_up is not None and len(last.refusals) - len(missing) == 1 and all(r and r <= _TORN for r in reasons):
        told.append("one image is damaged or incomplete and no other slot holds any: only a cable has written here")
    else:
        return None
    return Finding(
        verdict=FieldVerdict.BENCH_FAULT,
        reasons=told,
        evidence=sorted(set(lines)),
        unknown=[
            "the flashing tool's command line and output; a dump of the slots",
            *(
                ["whether the calculated checksum is the same at the next boot"]
                if "checksum" in set().union(*reasons)
                else []
            ),
        ],
    )


def _ran(log: Log) -> bool:
    """An app was loaded, described itself or crashed somewhere in the log."""
    if any(isinstance(event, Panic | OtaLine | CallFailed) for event in log.reading.before):
        return True
    return any(start.boot.loaded or start.version or start.states for start in log.starts)


def does_not_fit(log: Log) -> Finding | None:
    """The app was built for another table or chip than the board has; nothing boots (calebe94/ESPBoy#4)."""
    last = log.last
    if last is None or last.gave_up is None:
        return None
    for refusal in last.refusals:
        if refusal.reasons & _TOO_BIG:
            why = "partition table and app do not fit each other"
        elif refusal.reasons & _WRONG_CHIP and "magic" not in refusal.reasons:
            why = "the app was built for another chip or chip revision"
        elif _out_of_reach(refusal):
            why = f"the partition table puts it at or beyond {_REACH:#x}, which this bootloader cannot address"
        else:
            continue
        return Finding(
            verdict=FieldVerdict.MISCONFIGURATION,
            reasons=[str(refusal), why, f"and {last.gave_up.kind}"],
            evidence=[*refusal.lines, last.gave_up.at.number],
        )
    return None


def broken_table(log: Log) -> Finding | None:
    """The bootloader refused the partition table: none at its offset, or one that does not fit the flash."""
    faults = [event for event in log.events if isinstance(event, ImageFault) and "partition table" in event.reason]
    if not faults or (log.last and log.last.boot.loaded):
        return None
    none = faults[-1].reason in _BROKEN_TABLE
    return Finding(
        verdict=FieldVerdict.BENCH_FAULT if none else FieldVerdict.MISCONFIGURATION,
        reasons=[f"the bootloader refuses the partition table: {faults[-1].at}"],
        evidence=[fault.at.number for fault in faults[-5:]],
        unknown=["a dump of the table's sector (0x1000 bytes at the offset in the bootloader's sdkconfig)"],
    )


def unbootable(log: Log) -> Finding | None:
    """The last boot ends without an app (bootloader_utility_load_boot_image, `No bootable app partitions`)."""
    last = log.last
    if last is None or last.gave_up is None:
        return None
    too_old = last.decisions(Decision.SLOT_TOO_OLD)
    reasons = [str(refusal) for refusal in last.refusals]
    barred = [refusal for refusal in last.refusals if not refusal.faults]
    if barred and last.decisions(Decision.ANTI_ROLLBACK) and not too_old:
        burnt = [event.value for event in last.decisions(Decision.SECURE_VERSION)]
        reasons = [str(refusal) for refusal in last.refusals if refusal.faults]
        reasons.append(
            f"{', '.join(str(refusal.slot) for refusal in barred)}: refused before the image was looked at, with "
            f"anti-rollback on and secure version {burnt[-1] if burnt else '?'} burnt into the eFuses: "
            "the app's own is lower, or the slot holds none"
        )
    if too_old:
        slots = ", ".join(f"ota_{event.value}" for event in too_old)
        reasons.append(f"{slots}: secure version lower than the one burnt into the eFuses")
    alike = sum(1 for start in log.starts if start.gave_up)
    reasons.append(f"{last.gave_up.kind}" + (f", in {alike} boots" if alike > 1 else ""))
    offsets = [f"{offset:#x}" for name, offset in log.slots().items() if name != "test"]
    lines = [line for refusal in last.refusals for line in refusal.lines] + [event.at.number for event in too_old]
    return Finding(
        verdict=FieldVerdict.UNBOOTABLE,
        reasons=reasons,
        evidence=[*lines, last.gave_up.at.number],
        unknown=[f"a dump of flash: the images{' at ' + ', '.join(offsets) if offsets else ''} and otadata"],
    )


def fell_back(log: Log) -> Finding | None:
    """The chosen image was refused and another one started (bootloader_utility_load_boot_image).

    From 16 MiB on a bootloader with 24-bit addressing reads the beginning of flash instead, and finds itself.
    """
    found: list[tuple[Start, Refusal]] = []
    for start in log.starts:
        if start.boot.loaded and start.refusals and not start.decisions(*OTADATA_BAD):
            found.append((start, start.refusals[0]))
    if not found:
        return None
    start, refusal = next(((s, r) for s, r in reversed(found) if _out_of_reach(r)), found[-1])
    far = _out_of_reach(refusal)
    reasons = [f"boot {start.ordinal}: {refusal}", f"then {start.name} was loaded"]
    unknown = [f"a dump of the refused slot{_at(refusal)}, compared with the image that was sent"]
    if far:
        reasons.insert(
            1, f"at or beyond {_REACH:#x} this bootloader reads flash from 0x0 again: that is its own header"
        )
        unknown = ["the bootloader's flash size and addressing mode (32-bit or not)"]
    elif any("overlaps bootloader" in reason for reason in refusal.reasons):
        reasons.insert(
            1, "its first segment loads where a bootloader does, as in a merged image written to an app slot"
        )
    elif len({f.values for _, r in found for f in r.faults if f.reason == "checksum" and r.slot == refusal.slot}) > 1:
        reasons.append("the calculated checksum differs from boot to boot: reads are unstable")
    return Finding(
        verdict=FieldVerdict.FALLBACK_UNREACHABLE if far else FieldVerdict.FALLBACK_INVALID,
        reasons=reasons,
        evidence=[*refusal.lines, start.line],
        unknown=unknown,
    )


def _out_of_reach(refusal: Refusal) -> bool:
    return bool(refusal.reasons & _WRAPPED) or (refusal.offset is not None and refusal.offset >= _REACH)


def _at(refusal: Refusal) -> str:
    return "" if refusal.offset is None else f" at {refusal.offset:#x}"


def degraded(log: Log) -> Finding | None:
    """otadata names no app and one runs all the same (bootloader_utility_get_selected_boot_partition)."""
    for start in reversed(log.starts):
        bad = start.decisions(*OTADATA_BAD)
        if bad and start.boot.loaded:
            return Finding(
                verdict=FieldVerdict.RECOVERED_DEGRADED,
                reasons=[
                    f"boot {start.ordinal}: {bad[0].kind}",
                    f"then {start.name} was loaded; no otadata entry stands for it",
                ],
                evidence=[bad[0].at.number, start.line],
                unknown=[f"{log.otadata_dump}: what its two entries hold"],
            )
    return _lost_entries(log) or _damaged_entry(log) or _barred_runs(log)


def _barred_runs(log: Log) -> Finding | None:
    """No entry may be selected and there is no factory app: the first slot runs, though its own entry bars it."""
    for start in reversed(log.starts):
        barred = [(state, line) for state, line in start.states if state in ("ABORTED", "INVALID")]
        empty = start.decisions(OTADATA_EMPTY[0])
        if barred and empty and start.boot.loaded:
            state, line = barred[0]
            return Finding(
                verdict=FieldVerdict.RECOVERED_DEGRADED,
                reasons=[
                    f"boot {start.ordinal}: {empty[0].kind}",
                    f"then {start.name} was loaded, though it is {state}",
                ],
                evidence=sorted({empty[0].at.number, start.line, line}),
                unknown=[f"{log.otadata_dump}: what its two entries hold"],
            )
    return None


def _lost_entries(log: Log) -> Finding | None:
    """Entries were valid in an earlier boot, and now the bootloader takes otadata for empty; nobody asked for it."""
    for before in log.starts:
        start = log.after(before)
        if start is None:
            continue
        empty = start.decisions(OTADATA_EMPTY[0])
        asked = start.decisions(Decision.FACTORY_RESET)
        if empty and not asked and start.boot.loaded and any(state == "VALID" for state, _ in before.states):
            return Finding(
                verdict=FieldVerdict.RECOVERED_DEGRADED,
                reasons=[
                    f"boot {before.ordinal} ran {before.name}, VALID",
                    f"in boot {start.ordinal} otadata names no app ({empty[0].kind})",
                    f"then {start.name} was loaded",
                ],
                evidence=[before.line, empty[0].at.number, start.line],
                unknown=[f"{log.otadata_dump}: erased, or both entries INVALID or ABORTED"],
            )
    return None


def _damaged_entry(log: Log) -> Finding | None:
    """The newest entry has a wrong CRC, so the bootloader takes the other one (bootloader_common_select_otadata)."""
    count = log.table.ota_count_bootloader if log.table else 0
    for start in log.starts:
        for pair in entries_reported(start) if count else []:
            entries = [parse(report.data) for report in pair]
            newest = max((entry.seq for entry in entries if entry.seq != ERASED_SEQ), default=0)
            for report, entry in zip(pair, entries, strict=True):
                slot = f"ota_{slot_index(entry.seq, count)}"
                if entry.crc_ok or entry.seq != newest or slot == start.place:
                    continue
                return Finding(
                    verdict=FieldVerdict.RECOVERED_DEGRADED,
                    reasons=[
                        f"boot {start.ordinal}: otadata entry {report.entry} (sequence number {entry.seq}, {slot}) "
                        f"has CRC {entry.crc:#010x}, which is wrong for it",
                        f"so the other entry counts, and {start.name} was loaded",
                    ],
                    evidence=[start.line, report.at.number],
                )
    return None
