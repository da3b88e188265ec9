"""What the agent's checked lines say, as the events that other apps' lines make (firmware_under_test/PROTOCOL.md)."""

from __future__ import annotations

from rig import protocol
from rig.evidence.events import AgentLine, Event, Hint, HintKind, OtadataReport, ResetReason, SlotReport


def checked(event: AgentLine) -> protocol.Line | None:
    """The line, None if its check-sum is wrong."""
    return protocol.parse_line(event.at.raw.rstrip(b"\r\n\x1b"))


def facts(event: AgentLine) -> list[Event]:
    """Slot reports, otadata entries and the reset reason in one line; nothing if its check-sum is wrong."""
    line = checked(event)
    if line is None:
        return []
    said = line.fields
    found: list[Event] = []
    if "running" in said and "state" in said:
        found.append(SlotReport(event.at, "running", said["running"], None, said["state"], said.get("version")))
    elif "slot" in said and "state" in said:
        found.append(
            SlotReport(event.at, "slot", said["slot"], _number(said.get("offset")), said["state"], said.get("version"))
        )
    if "entry0" in said and "entry1" in said:
        for number in (0, 1):
            data = _entry(said[f"entry{number}"])
            if data is not None:
                found.append(OtadataReport(event.at, number, data))
    if said.get("result") == "confirmed":
        found.append(Hint(event.at, HintKind.CONFIRMED, "confirmed"))
    if "reset" in said:
        found.append(ResetReason(event.at, said["reset"]))
    return found


def word(event: AgentLine) -> str | None:
    """Name of the event or answer, None for a damaged line."""
    line = checked(event)
    return None if line is None else line.word


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def _entry(text: str) -> bytes | None:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if len(data) == 32 else None
