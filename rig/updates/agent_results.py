"""What the agent's answers say, typed. Offsets and sizes are bytes in flash; states are names as in PROTOCOL.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.errors import FirmwareFault


class Fields:
    """The fields of one line; every getter raises FirmwareFault when the device left the field out or garbled it."""

    def __init__(self, what: str, values: Mapping[str, str], board: str | None = None) -> None:
        self._what = what
        self._values = values
        self._board = board

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            raise self._fault(f"lacks the field {name!r}")
        return value

    def optional(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str) -> int:
        value = self.text(name)
        try:
            return int(value, 0)
        except ValueError:
            raise self._fault(f"has {name}={value!r}, which is no number") from None

    def optional_number(self, name: str) -> int | None:
        return None if self.optional(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        value = self.text(name)
        if value not in ("0", "1"):
            raise self._fault(f"has {name}={value!r}; allowed: 0, 1")
        return value == "1"

    def data(self, name: str, size: int) -> bytes:
        value = self.text(name)
        try:
            found = bytes.fromhex(value)
        except ValueError:
            found = b""
        if len(found) != size:
            raise self._fault(f"has {name}={value!r}; {size} bytes in hexadecimal are needed")
        return found

    def slot_or_none(self, name: str) -> str | None:
        value = self.text(name)
        return None if value == "-" else value

    def _fault(self, complaint: str) -> FirmwareFault:
        return FirmwareFault(
            f"the agent's {self._what} {complaint}",
            board=self._board,
            hint="hold the firmware to firmware_under_test/PROTOCOL.md",
        )


@dataclass(frozen=True)
class Hello:
    """Who is running. `boot` counts app starts; `reset` is esp_reset_reason() without ESP_RST_."""

    protocol: int
    project: str
    version: str
    secure_version: int
    elf_sha256: str
    idf: str
    chip: str
    running: str
    state: str
    reset: str
    boot: int
    diag: str
    rollback: bool
    anti_rollback: bool
    uptime_ms: int

    @classmethod
    def read(cls, fields: Fields) -> Hello:
        return cls(
            protocol=fields.number("protocol"),
            project=fields.text("project"),
            version=fields.text("version"),
            secure_version=fields.number("secure_version"),
            elf_sha256=fields.text("elf_sha256"),
            idf=fields.text("idf"),
            chip=fields.text("chip"),
            running=fields.text("running"),
            state=fields.text("state"),
            reset=fields.text("reset"),
            boot=fields.number("boot"),
            diag=fields.text("diag"),
            rollback=fields.flag("rollback"),
            anti_rollback=fields.flag("anti_rollback"),
            uptime_ms=fields.number("uptime_ms"),
        )


@dataclass(frozen=True)
class Slots:
    """All app slots by name, in table order, and what the app's queries say of them."""

    slots: tuple[str, ...]
    running: str
    boot: str
    next: str | None
    last_invalid: str | None

    @classmethod
    def read(cls, fields: Fields) -> Slots:
        names = tuple(name for name in fields.text("slots").split(",") if name)
        return cls(
            slots=names,
            running=fields.text("running"),
            boot=fields.text("boot"),
            next=fields.slot_or_none("next"),
            last_invalid=fields.slot_or_none("last_invalid"),
        )


@dataclass(frozen=True)
class SlotInfo:
    """One slot. `image` is ok, empty or invalid; what follows it is None unless ok. `length` in bytes."""

    slot: str
    label: str
    offset: int
    size: int
    state: str
    image: str
    project: str | None = None
    version: str | None = None
    secure_version: int | None = None
    length: int | None = None
    sha256: str | None = None

    @classmethod
    def read(cls, fields: Fields) -> SlotInfo:
        known = cls(
            slot=fields.text("slot"),
            label=fields.text("label"),
            offset=fields.number("offset"),
            size=fields.number("size"),
            state=fields.text("state"),
            image=fields.text("image"),
        )
        if known.image != "ok":
            return known
        return cls(
            known.slot,
            known.label,
            known.offset,
            known.size,
            known.state,
            known.image,
            project=fields.text("project"),
            version=fields.text("version"),
            secure_version=fields.number("secure_version"),
            length=fields.number("length"),
            sha256=fields.text("sha256"),
        )


@dataclass(frozen=True)
class OtaData:
    """The two select entries, 32 bytes each, as the app reads them from flash; `offset` of the partition."""

    offset: int
    entries: tuple[bytes, bytes]


@dataclass(frozen=True)
class TableInfo:
    """The partition table in flash: `sha256` of its 3072 bytes."""

    offset: int
    count: int
    sha256: str


@dataclass(frozen=True)
class PartitionRow:
    """One row of the partition table as the app sees it."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int


@dataclass(frozen=True)
class Diagnostics:
    """The outcome that is set, `none` for none; `seconds` for delay, else 0."""

    outcome: str
    seconds: int


@dataclass(frozen=True)
class SecureVersion:
    """`efuse` and `bits` are None in builds without anti-rollback."""

    app: int
    efuse: int | None
    bits: int | None


@dataclass(frozen=True)
class UpdateStarted:
    """The device is ready for frames: `frame` and `window` are payload bytes."""

    request_id: int
    slot: str
    offset: int
    frame: int
    window: int


@dataclass(frozen=True)
class Network:
    """`kind` is `ethernet` or `wifi`; `ip` None without an address; `power_save` `none`, `min`, `max`, or None."""

    kind: str
    link: bool
    ip: str | None
    power_save: str | None

    @classmethod
    def read(cls, fields: Fields) -> Network:
        ip = fields.text("ip")
        return cls(
            kind=fields.text("kind"),
            link=fields.flag("link"),
            ip=None if ip == "0.0.0.0" else ip,
            power_save=fields.slot_or_none("power_save"),
        )


@dataclass(frozen=True)
class Gaps:
    """Longest time between two interrupts, microseconds, and how many there were; `period_us` is what was asked for.

    `iram`: the interrupt also comes while flash is erased or written; `flash`: it waits until the cache is on again.
    """

    iram_us: int
    flash_us: int
    iram_count: int
    flash_count: int
    period_us: int

    @classmethod
    def read(cls, fields: Fields) -> Gaps:
        return cls(
            iram_us=fields.number("iram_us"),
            flash_us=fields.number("flash_us"),
            iram_count=fields.number("iram_count"),
            flash_count=fields.number("flash_count"),
            period_us=fields.number("period_us"),
        )


@dataclass(frozen=True)
class CutLine:
    """What is armed: `gpio` rises `delay_us` after the `nth` operation `op` of app or bootloader (`where`) began."""

    op: str
    where: str
    nth: int
    delay_us: int
    gpio: int

    @classmethod
    def read(cls, fields: Fields) -> CutLine:
        return cls(
            op=fields.text("op"),
            where=fields.text("in"),
            nth=fields.number("nth"),
            delay_us=fields.number("delay_us"),
            gpio=fields.number("gpio"),
        )


@dataclass(frozen=True)
class Event:
    """A line the app printed of its own accord, e.g. `ready`."""

    name: str
    fields: Mapping[str, str]
