"""Doing on the model what a golden vector did with the C code, and noting what the vector notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

from rig.idf import ota_ops as ota
from rig.idf.bootloader import BootResult, Pins, boot
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Erase, Log, Memory, Mutation, Program, Steps
from rig.idf.memory import FlashImage, Verdict, verify
from rig.idf.otadata import state_name
from rig.idf.partitions import Partition
from rig.idf.vector_images import image
from rig.idf.vectors import OTADATA_OFFSET, SLOT_SIZE, Env, Step, layout_table

T = TypeVar("T")

_PINS = {"factory": Pins(factory_reset=True), "test": Pins(test_app=True), "both": Pins(True, True)}
_SECTORS = (OTADATA_OFFSET, OTADATA_OFFSET + SECTOR_SIZE)
_ERASED = b"\xff"

Verdicts = dict[tuple[int, bytes], Verdict]


class PowerLost(Exception):
    """The cut of a vector has come."""


class Restarted(Exception):
    """The app restarted the chip."""


class Got(NamedTuple):
    """What the model did; fields as in a vector's `out`. `tried` is None for app calls, `rc` for boots."""

    result: str
    booted: str | None
    tried: tuple[str, ...] | None
    rc: tuple[str, ...] | None
    mut: tuple[tuple[Any, ...], ...]
    log: tuple[Log, ...]
    changed: Mapping[str, bytes]


class _Flash(FlashImage):
    """Flash that notes which images were verified, and knows the verdict on content it has met before."""

    def __init__(self, size: int) -> None:
        super().__init__(_ERASED * size)
        self.seen: list[int] = []
        self.verdicts: Verdicts = {}

    def verdict(self, offset: int, size: int, config: BootConfig) -> Verdict:
        self.seen.append(offset)
        return super().verdict(offset, size, config)

    def _fresh_verdict(self, memory: Memory, offset: int, size: int, config: BootConfig) -> Verdict:
        key = offset, memory.read(offset, size).rstrip(_ERASED)
        known = self.verdicts.get(key)
        if known is None:
            reach = _Reach(self, offset, size)
            known = verify(reach, offset, size, config)
            if reach.inside:
                self.verdicts[key] = known
            else:
                # rests on more than the slot: make whoever remembers it watch all of flash
                memory.read(0, len(self))
        return known


class _Reach:
    """Memory that notes whether anything outside one partition was read."""

    def __init__(self, memory: Memory, offset: int, size: int) -> None:
        self._memory = memory
        self._range = (offset, offset + size)
        self.inside = True

    @property
    def secure_version(self) -> int:
        self.inside = False
        return self._memory.secure_version

    def read(self, offset: int, size: int) -> bytes:
        low, high = self._range
        self.inside = self.inside and low <= offset and offset + size <= high
        return self._memory.read(offset, size)


class _Player:
    """Runs decisions up to the cut of a step and keeps what they did."""

    def __init__(self, flash: FlashImage, step: Step) -> None:
        self._flash = flash
        self._cut_after = step.cut_after
        self._torn = step.torn
        self._done = 0
        self.mut: list[tuple[Any, ...]] = []
        self.log: list[Log] = []

    def play(self, steps: Steps[T]) -> T:
        """The result of `steps`. Raises PowerLost at the cut."""
        while True:
            try:
                effect = next(steps)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if isinstance(effect, Log):
                self.log.append(effect)
                continue
            if self._done == self._cut_after:
                self._tear(effect)
                raise PowerLost
            self._flash.apply(effect)
            self.mut.append(_mutation(effect))
            self._done += 1
            if self._done == self._cut_after and self._torn is None:
                raise PowerLost

    def _tear(self, effect: Mutation) -> None:
        if self._torn is None:
            return
        self._flash.tear(effect, self._torn)
        if isinstance(effect, Erase):
            self.mut.append(("E~", effect.offset, self._torn))
        elif isinstance(effect, Program):
            done = effect.data[: self._torn]
            self.mut.append(("W~", effect.offset, len(done), done))


def _mutation(effect: Mutation) -> tuple[Any, ...]:
    if isinstance(effect, Erase):
        return ("E", effect.offset, SECTOR_SIZE)
    if isinstance(effect, Program):
        return ("W", effect.offset, len(effect.data), effect.data)
    return ("F", (1 << effect.before) - 1, (1 << effect.after) - 1)


class Saved(NamedTuple):
    """A bench's flash and eFuse, to come back to."""

    otadata: tuple[bytes, bytes]
    slots: dict[str, bytes]
    efuse: int


class Bench:
    """One device of a layout. Slot contents are kept without the trailing 0xFF."""

    def __init__(self, layout: str) -> None:
        self.table = layout_table(layout)
        self._parts: dict[str, Partition] = {part.slot: part for part in self.table.entries if part.slot is not None}
        self.flash = _Flash(max(part.end for part in self.table.entries))
        self.slots = dict.fromkeys(self._parts, b"")
        self._verdicts: dict[BootConfig, Verdicts] = {}
        self._config = BootConfig()
        self._app: ota.AppContext | None = None

    def prepare(self, config: BootConfig, otadata: tuple[bytes, bytes], slots: Mapping[str, str], efuse: int) -> None:
        """Put the device into a row's start state, powered off."""
        contents = {name: image(slots[name]).rstrip(_ERASED) if name in slots else b"" for name in self._parts}
        self.restore(Saved(otadata, contents, efuse))
        self._config = config
        self.flash.verdicts = self._verdicts.setdefault(config, {})

    def save(self) -> Saved:
        first, second = (self.flash.read(offset, SECTOR_SIZE) for offset in _SECTORS)
        return Saved((first, second), dict(self.slots), self.flash.secure_version)

    def restore(self, saved: Saved) -> None:
        self._app = None
        self._set_otadata(saved.otadata)
        for name, content in saved.slots.items():
            self._set_slot(name, content)
        if self.flash.secure_version != saved.efuse:
            self.flash.secure_version = saved.efuse

    @property
    def otadata(self) -> tuple[bytes, bytes]:
        """The start of both sectors, 32 bytes each."""
        first, second = (self.flash.read(offset, 32) for offset in _SECTORS)
        return first, second

    def change(self, env: Env) -> None:
        """What happens to flash from outside; an app goes on running."""
        if env.otadata is not None:
            self._set_otadata(env.otadata)
        for name, spec in env.slots.items():
            self._set_slot(name, image(spec).rstrip(_ERASED))
        if env.efuse is not None:
            self.flash.secure_version = env.efuse

    def _set_otadata(self, sectors: tuple[bytes, bytes]) -> None:
        for offset, content in zip(_SECTORS, sectors, strict=True):
            padded = content.ljust(SECTOR_SIZE, _ERASED)
            if self.flash.read(offset, SECTOR_SIZE) != padded:
                self.flash.load(offset, padded)

    def _set_slot(self, name: str, content: bytes) -> None:
        if self.slots[name] != content:
            self.flash.load(self._parts[name].offset, content.ljust(SLOT_SIZE, _ERASED))
            self.slots[name] = content

    def do(self, step: Step) -> Got:
        """Do one step and say what happened."""
        player = _Player(self.flash, step)
        self.flash.seen.clear()
        got = self._boot(step, player) if step.ops == ("boot",) else self._call(step, player)
        changed = self._changed(player.mut)
        return got._replace(mut=tuple(player.mut), log=tuple(player.log), changed=changed)

    def _changed(self, mutations: list[tuple[Any, ...]]) -> dict[str, bytes]:
        changed: dict[str, bytes] = {}
        for name in {self.table.slot_at(mutation[1] & ~0xFFFF) for mutation in mutations if mutation[1] >= 0x10000}:
            if name is not None:
                content = self.flash.read(self._parts[name].offset, SLOT_SIZE).rstrip(_ERASED)
                if content != self.slots[name]:
                    changed[name] = self.slots[name] = content
        return changed

    def _boot(self, step: Step, player: _Player) -> Got:
        self._app = None
        pins = _PINS.get(step.gpio or "", Pins())
        try:
            result: BootResult = player.play(boot(self.flash, self.table, self._config, pins))
        except PowerLost:
            tried = tuple(self.table.slot_at(offset) or "" for offset in self.flash.seen)
            return Got("cut", None, tried, None, (), (), {})
        return Got(result.outcome, result.slot, result.tried, None, (), (), {})

    def _call(self, step: Step, player: _Player) -> Got:
        running = step.running or ""
        if self._app is None or self._app.running != running:
            self._app = ota.AppContext(self.flash, self.table, self._config, running)
        rc: list[str] = []
        result = "returned"
        try:
            for op in step.ops:
                player.play(_operation(self._app, op.split(), rc))
        except PowerLost:
            result = "cut"
        except Restarted:
            result = "restart"
        except ota.AppAssert:
            result = "abort"
        except ota.AppHang:
            result = "exception"
        if result != "returned":
            self._app = None
        return Got(result, None, None, tuple(rc), (), (), {})


def _operation(app: ota.AppContext, words: list[str], rc: list[str]) -> Steps[None]:
    """One operation of FORMAT.md as calls; return codes go to `rc` as soon as a call returns."""
    match words:
        case ["begin", slot, *size]:
            error, _ = yield from ota.esp_ota_begin(app, _slot(app, slot), _size(size))
            rc.append(error)
        case ["update", slot, spec, chunk, *size]:
            yield from _update(app, _slot(app, slot), image(spec), int(chunk), _size(size), rc)
        case ["set_boot", slot]:
            rc.append((yield from ota.esp_ota_set_boot_partition(app, _slot(app, slot))))
        case ["get_state", slot]:
            error, state = yield from ota.esp_ota_get_state_partition(app, _slot(app, slot))
            rc.append(error if state is None else f"{error}:{state_name(state)}")
        case ["mark_valid"]:
            rc.append((yield from ota.esp_ota_mark_app_valid_cancel_rollback(app)))
        case ["mark_invalid"]:
            error = yield from ota.esp_ota_mark_app_invalid_rollback_and_reboot(app)
            if error == ota.RESTART:
                raise Restarted
            rc.append(error)
        case ["mark_invalid_noreboot" | "invalidate_inactive"] if app.config.idf < (5, 5):
            rc.append("unsupported")
        case ["mark_invalid_noreboot"]:
            rc.append((yield from ota.esp_ota_mark_app_invalid_rollback(app)))
        case ["invalidate_inactive"]:
            rc.append((yield from ota.esp_ota_invalidate_inactive_ota_data_slot(app)))
        case ["erase_last_boot_app"]:
            rc.append((yield from ota.esp_ota_erase_last_boot_app_partition(app)))
        case ["rollback_possible"]:
            possible = yield from ota.esp_ota_check_rollback_is_possible(app)
            rc.append("true" if possible else "false")
        case ["last_invalid"]:
            rc.append((yield from ota.esp_ota_get_last_invalid_partition(app)) or "NULL")
        case ["get_boot"]:
            rc.append((yield from ota.esp_ota_get_boot_partition(app)) or "NULL")
        case ["get_next"]:
            rc.append(ota.esp_ota_get_next_update_partition(app) or "NULL")
        case ["restart"]:
            rc.append("restart")
            raise Restarted
        case _:
            _power_off()


def _power_off() -> NoReturn:
    raise PowerLost


def _update(app: ota.AppContext, slot: str | None, data: bytes, chunk: int, size: int, rc: list[str]) -> Steps[None]:
    error, handle = yield from ota.esp_ota_begin(app, slot, size)
    rc.append(f"begin={error}")
    if handle is None:
        return
    error = "ESP_OK"
    for start in range(0, len(data), chunk):
        error = yield from ota.esp_ota_write(app, handle, data[start : start + chunk])
        if error != "ESP_OK":
            break
    rc.append(f"write={error}")
    if error != "ESP_OK":
        return
    error = yield from ota.esp_ota_end(app, handle)
    rc.append(f"end={error}")
    if error != "ESP_OK":
        return
    error = yield from ota.esp_ota_set_boot_partition(app, slot)
    rc.append(f"set_boot={error}")


def _slot(app: ota.AppContext, name: str) -> str | None:
    if name == "next":
        return ota.esp_ota_get_next_update_partition(app)
    return app.running if name == "running" else name


def _size(words: list[str]) -> int:
    if not words or words[0] == "unknown":
        return ota.OTA_SIZE_UNKNOWN
    return ota.OTA_WITH_SEQUENTIAL_WRITES if words[0] == "seq" else int(words[0])
