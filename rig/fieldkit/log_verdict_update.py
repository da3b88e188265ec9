"""Rules about updates that were refused before any boot."""

from __future__ import annotations

from rig.evidence.events import CallFailed, Event, HintKind, ImageFault, OtaCall, OtaLine
from rig.fieldkit.explained import Finding
from rig.fieldkit.log_verdict_facts import Log, calls_of, explain, failures, hints_of
from rig.fieldkit.verdicts import FieldVerdict

_CALLS = (
    "esp_ota_begin",
    "esp_ota_write",
    "esp_ota_end",
    "esp_ota_set_boot_partition",
    "esp_https_ota",
    "esp_https_ota_begin",
    "esp_https_ota_perform",
    "esp_https_ota_finish",
)
"""Calls whose failure refuses an update."""
_ERRORS = ("ESP_ERR_OTA_", "ESP_ERR_IMAGE_")
_NOISE = frozenset(("magic", "chip id", "chip revision"))
_CLEAR = frozenset(("chip id", "chip revision", "efuse revision", "key digest", "signature", "image length"))
_GUARDS = {
    OtaCall.UNCONFIRMED: "the running app is in PENDING_VERIFY, and ESP-IDF begins no update before it is confirmed",
    OtaCall.SECURE_VERSION_LOW: "the new image's secure version is lower than the eFuses'; its slot was erased",
    OtaCall.IN_PROGRESS: "another update of the same partition is open",
}


_MEANT = {
    "ESP_ERR_OTA_ROLLBACK_INVALID_STATE": OtaCall.UNCONFIRMED,
    "0x1506": OtaCall.UNCONFIRMED,
    "ESP_ERR_OTA_SMALL_SEC_VER": OtaCall.SECURE_VERSION_LOW,
    "0x1504": OtaCall.SECURE_VERSION_LOW,
}
"""Errors that esp_ota_begin and esp_ota_set_boot_partition return for one cause only (esp_ota_ops.h)."""


def rejected(log: Log) -> Finding | None:
    """What esp_ota_begin, _write, _end or _set_boot_partition refused, with the cause as far as it was printed."""
    faults = _own_faults(log)
    failed = [event for event in failures(log.events) if _refuses(event)]
    guards = calls_of(log.events, *_GUARDS)
    first_bytes = calls_of(log.events, OtaCall.BAD_MAGIC)
    verified = calls_of(log.events, OtaCall.NEW_IMAGE_FAILED)
    causes = [_GUARDS[event.kind] for event in guards]
    causes += [_GUARDS[_MEANT[event.error]] for event in failed if event.error in _MEANT]
    causes += [_first_byte(event) for event in first_bytes]
    causes += _image_causes(faults, bool(failed or verified or first_bytes))
    shown: list[Event] = [*guards, *first_bytes, *verified, *failed]
    if causes:
        told = [f"{event.call or 'a call'} failed{_error(event)}" for event in failed]
        return Finding(
            verdict=FieldVerdict.UPDATE_REJECTED,
            reasons=list(dict.fromkeys([*causes, *told]))[:8],
            evidence=sorted({event.at.number for event in (*shown, *faults)}),
        )
    return _unexplained(log, faults, shown)


def _own_faults(log: Log) -> list[ImageFault]:
    """Faults of an update. Of a slot that the bootloader refused already, an app's look tells nothing new."""
    known = {fault for start in log.starts if start.refusals for fault in _seen_again(log, start.number)}
    return [fault for fault in log.app_faults if fault not in known]


def _seen_again(log: Log, number: int) -> list[ImageFault]:
    refused = log.starts[number].refusals
    again = [fault for start in log.starts[number : number + 3] for fault in start.app_faults]
    return [fault for fault in again if any(fault[1:2] == other[1:2] for r in refused for other in r.faults)]


def _refuses(event: CallFailed) -> bool:
    if event.call:
        return event.call in _CALLS
    return event.error.startswith(_ERRORS) and "ROLLBACK_FAILED" not in event.error


def _error(event: CallFailed) -> str:
    return f" with {event.error}" if event.error else ""


def _first_byte(event: OtaLine) -> str:
    value = event.value or 0
    sent = f' ("{chr(value)}")' if 0x20 <= value < 0x7F else ""
    web = ": a web page or an error text was sent in place of an image" if value in (0x3C, 0x7B) else ""
    return f"the first byte is {value:#04x}{sent} where an image begins with 0xe9{web}"


def _image_causes(faults: list[ImageFault], called: bool) -> list[str]:
    """Causes that the image check names; a wrong check-sum names none."""
    reasons = {fault.reason for fault in faults}
    at = next((f" at {fault.offset:#x}" for fault in faults if fault.offset is not None), "")
    if len(reasons & _NOISE) >= 2 and "magic" in reasons:
        return [
            f"what was written{at} reads back as noise: {' and '.join(sorted(reasons & _NOISE))} are wrong at once",
            "as data does that was written in plain and is read through flash decryption, or the other way round",
        ]
    causes = []
    for fault in faults:
        if fault.reason == "key digest":
            causes.append(f"the signature's key is none that the eFuses trust: {fault.at.text}")
        elif fault.reason == "signature":
            causes.append("the image's signature was refused")
        elif fault.reason in _CLEAR:
            causes.append(explain(fault) + _numbers(fault))
        elif fault.reason == "magic" and called:
            causes.append(f"{explain(fault)}: what was written there does not begin like an image")
    return causes


def _numbers(fault: ImageFault) -> str:
    if fault.reason in ("chip id", "chip revision") and len(fault.values) == 2:
        return f" (expected {fault.values[0]}, found {fault.values[1]})"
    return ""


def _unexplained(log: Log, faults: list[ImageFault], shown: list[Event]) -> Finding | None:
    wrong = [fault for fault in faults if fault.reason in ("checksum", "hash", "segment length", "load address")]
    if not wrong and not shown:
        return _not_switched(log)
    checksums = {fault.values[0] for fault in wrong if fault.reason == "checksum" and fault.values}
    reasons = [f"the check of the new image failed: {explain(fault)}" for fault in wrong]
    reasons += [f"refused: {event.at}" for event in shown]
    if len(checksums) > 1:
        reasons.append("the calculated checksum differs from try to try while the stored one stays")
    where = next((f" at {fault.offset:#x}" for fault in faults if fault.offset is not None), "")
    return Finding(
        verdict=FieldVerdict.UPDATE_REJECTED_CAUSE_UNKNOWN,
        reasons=list(dict.fromkeys(reasons))[:8],
        evidence=sorted({event.at.number for event in (*wrong, *shown)}),
        unknown=[
            f"a dump of the slot{where} compared with the image that was sent; "
            "the transfer's length and SHA-256; two reads of the same slot"
        ],
    )


def _not_switched(log: Log) -> Finding | None:
    """The update reports success and the boot partition is still the running one (esp_https_ota, image_length 0)."""
    for hint in hints_of(log.events, HintKind.RUNNING):
        text = hint.at.text
        if f"boot={hint.value} " in f"{text} " and f"running={hint.value}" in text and "set_boot" in text.lower():
            return Finding(
                verdict=FieldVerdict.UPDATE_REJECTED_CAUSE_UNKNOWN,
                reasons=[f"after the update the boot partition is still the running one, {hint.value}: {hint.at}"],
                evidence=[hint.at.number],
                unknown=["what esp_ota_end and esp_ota_set_boot_partition returned; a dump of otadata"],
            )
    return None
