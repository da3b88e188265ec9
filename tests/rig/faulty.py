"""Firmware that deviates from ESP-IDF on the virtual chip, while the model of the judge stays right.

A fault is a function that takes pytest's `monkeypatch` and puts the fault in, until the test is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

import rig.virtual.firmware
from rig.idf.bootloader import NONE, BootResult, Pins
from rig.idf.bootloader import run as sound
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Effect, Erase, Log, Memory, Program, Steps
from rig.idf.otadata import ENTRY_SIZE, ImageState, SelectEntry, parse
from rig.virtual.agent import COMMANDS, DeviceAgent
from rig.virtual.cpu import ResetReason
from rig.virtual.ota import Ota

OTADATA = 0xD000
"""Of the two-slot tables in firmware_under_test/partitions."""
PENDING = ImageState.PENDING_VERIFY

Fault = Callable[[pytest.MonkeyPatch], None]
Bootloader = Callable[[Memory, BootConfig, Pins], Steps[BootResult]]
Change = Callable[[Effect], Iterable[Effect]]


def none(_: pytest.MonkeyPatch) -> None:
    """Sound firmware."""


# --- bootloaders -----------------------------------------------------------------------------------------------------


def bootloader(run: Bootloader) -> Fault:
    """The virtual chip runs this bootloader; the judge goes on using the real one."""
    return lambda monkeypatch: monkeypatch.setattr(rig.virtual.firmware, "run", run)


def changed(change: Change) -> Fault:
    """Each effect of the sound bootloader is replaced by what `change` makes of it."""
    return bootloader(lambda memory, config, pins=NONE: _changed(sound(memory, config, pins), change))


def _changed(steps: Steps[BootResult], change: Change) -> Steps[BootResult]:
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        yield from change(effect)


def saying(text: str, instead: str | None) -> Fault:
    """In the lines that begin with `text` this beginning is another one, or the lines are lost."""

    def change(effect: Effect) -> Iterable[Effect]:
        if not (isinstance(effect, Log) and effect.text.startswith(text)):
            yield effect
        elif instead is not None:
            yield effect._replace(text=instead + effect.text.removeprefix(text))

    return changed(change)


def swapped(first: str, second: str) -> Fault:
    """The lines that begin so change places; all lines come after all writes."""

    def run(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
        lines: list[Effect] = []

        def keep(effect: Effect) -> Iterable[Effect]:
            if isinstance(effect, Log):
                lines.append(effect)
            else:
                yield effect

        result = yield from _changed(sound(memory, config, pins), keep)
        places = [n for n, line in enumerate(lines) if isinstance(line, Log) and line.text.startswith((first, second))]
        if len(places) == 2:
            one, other = places
            lines[one], lines[other] = lines[other], lines[one]
        yield from lines
        return result

    return bootloader(run)


def never_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootloader leaves otadata alone."""
    changed(lambda effect: [] if in_otadata(effect) else [effect])(monkeypatch)


def writing(entry: Callable[[SelectEntry], Iterable[Effect]]) -> Fault:
    """In place of a PENDING_VERIFY entry the bootloader programs what `entry` makes of it."""
    return changed(lambda effect: entry(parse(effect.data)) if _marks_pending(effect) else [effect])


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Erase and write hit the other sector of otadata."""

    def change(effect: Effect) -> Iterable[Effect]:
        if isinstance(effect, Erase | Program) and in_otadata(effect):
            effect = effect._replace(offset=2 * OTADATA + SECTOR_SIZE - effect.offset)
        yield effect

    changed(change)(monkeypatch)


def in_otadata(effect: Effect) -> bool:
    return isinstance(effect, Erase | Program) and OTADATA <= effect.offset < OTADATA + 2 * SECTOR_SIZE


def _marks_pending(effect: Effect) -> bool:
    return isinstance(effect, Program) and in_otadata(effect) and parse(effect.data).state == PENDING


class Seeing:
    """Memory in which select entries of one state look as if they had another."""

    def __init__(self, memory: Memory, state: ImageState, instead: ImageState) -> None:
        self._memory = memory
        self._state = state
        self._instead = instead

    @property
    def secure_version(self) -> int:
        return self._memory.secure_version

    def read(self, offset: int, size: int) -> bytes:
        data = self._memory.read(offset, size)
        if offset in (OTADATA, OTADATA + SECTOR_SIZE) and size == ENTRY_SIZE and parse(data).state == self._state:
            return parse(data)._replace(state=int(self._instead)).pack()
        return data


def taking(state: ImageState, instead: ImageState) -> Fault:
    """The bootloader takes entries in `state` for ones in the state `instead`."""
    return bootloader(lambda memory, config, pins=NONE: sound(Seeing(memory, state, instead), config, pins))


def both(*faults: Fault) -> Fault:
    """All of them, each on top of the one before."""

    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        for fault in faults:
            fault(monkeypatch)

    return put


def disguised(text: str, instead: str, fault: Fault) -> Fault:
    """`fault`, whose bootloader prints `instead` for lines that begin with `text`."""

    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        fault(monkeypatch)
        wrong = rig.virtual.firmware.run

        def change(effect: Effect) -> Iterable[Effect]:
            if isinstance(effect, Log) and effect.text.startswith(text):
                effect = effect._replace(text=instead)
            yield effect

        bootloader(lambda memory, config, pins=NONE: _changed(wrong(memory, config, pins), change))(monkeypatch)

    return put


def resetting(reason: ResetReason, when: Callable[[Effect], bool]) -> Fault:
    """The chip resets once for `reason`, right after the first effect for which `when` holds."""

    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        left = [True]

        def run(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
            def change(effect: Effect) -> Iterable[Effect]:
                yield effect
                if left[0] and when(effect):
                    left[0] = False
                    memory._cpu.restart(reason)  # type: ignore[attr-defined]

            return (yield from _changed(sound(memory, config, pins), change))

        bootloader(run)(monkeypatch)

    return put


def after_pending(effect: Effect) -> bool:
    """PENDING_VERIFY has just been written."""
    return _marks_pending(effect)


def before_loading(effect: Effect) -> bool:
    """The partition table has just been listed."""
    return isinstance(effect, Log) and effect.text == "End of partition table"


# --- apps ------------------------------------------------------------------------------------------------------------


def ota(**calls: Callable[..., Any]) -> Fault:
    """Methods of the app's OTA session are others: `confirm=lambda self: ...`."""

    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, call in calls.items():
            monkeypatch.setattr(Ota, name, call)

    return put


def program(offset: int, entry: bytes) -> Callable[[Ota], str]:
    """A call that writes this entry into an otadata sector and says ESP_OK."""

    def call(self: Ota, *_: object) -> str:
        def steps() -> Steps[str]:
            yield Erase(offset)
            yield Program(offset, entry)
            return "ESP_OK"

        return self.run(steps())

    return call


def telling(event: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Fault:
    """The app's `event` carries other fields."""
    real = DeviceAgent.event

    def tell(self: DeviceAgent, name: str, fields: dict[str, str]) -> None:
        real(self, name, dict(change(fields)) if name == event else fields)

    return lambda monkeypatch: monkeypatch.setattr(DeviceAgent, "event", tell)


def on_ping(work: Callable[[Ota], object]) -> Fault:
    """The app does `work` whenever it is pinged, and says nothing of it."""
    real = COMMANDS["ping"]

    def ping(self: DeviceAgent, args: Mapping[str, str]) -> Any:
        work(self.ota)
        return real(self, args)

    return lambda monkeypatch: monkeypatch.setitem(COMMANDS, "ping", ping)


def dead(slot: str) -> Fault:
    """The app in `slot` is loaded and then nothing is heard of it."""
    real = rig.virtual.firmware._run_app

    def run(cpu: Any, config: BootConfig, result: BootResult) -> None:
        if result.slot != slot:
            real(cpu, config, result)

    return lambda monkeypatch: monkeypatch.setattr(rig.virtual.firmware, "_run_app", run)


def restarting(command: str, reason: ResetReason) -> Fault:
    """The chip resets for `reason` while the app works on `command`."""

    def handle(self: DeviceAgent, _: Mapping[str, str]) -> Any:
        self.cpu.restart(reason)

    return lambda monkeypatch: monkeypatch.setitem(COMMANDS, command, handle)
