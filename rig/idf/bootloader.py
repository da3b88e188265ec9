"""The reference model of the second-stage bootloader: which slot boots, what it writes and logs, in which order.

Follows bootloader_start.c (`select_partition_number`, `selected_boot_partition`) and bootloader_utility.c
(`bootloader_utility_load_boot_image`) of ESP-IDF v4.4.8, v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1. Flash encryption
is the memory's business; not modelled: the encryption of flash at the first boot, secure boot, fast boot from deep
sleep, RTC retained memory, debug lines of `esp_image`, `bootloader_flash` and `efuse`, and any line of VERBOSE.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from rig.idf.config import BootConfig, FactoryReset
from rig.idf.effects import SECTOR_SIZE, Erase, Log, Memory, Steps
from rig.idf.image import as_loaded, segment_lines
from rig.idf.listing import load_table, mapped_line
from rig.idf.load_debug import mapping_lines, maps_enough, start_lines, with_hash_lines
from rig.idf.memory import Verdict, verify
from rig.idf.otadata import ImageState, make_entry
from rig.idf.partitions import PartitionTable
from rig.idf.selection import (
    FACTORY,
    TEST,
    BootSlots,
    DivisionByZero,
    Place,
    Start,
    advance_efuse,
    boot_slots,
    passes_anti_rollback,
    rewrite,
    select,
)

_RNG_OFF = Log("I", "boot", "Disabling RNG early entropy source...")
_TEST_FALLBACK = Log("W", "boot", "Falling back to test app as only bootable partition")
_NOTHING = Log("E", "boot", "No bootable app partitions in the partition table")
_NO_TEST_APP = Log("E", "boot", "No bootable test partition in the partition table")
_ZERO_LENGTH = Log("D", "boot", "Can't boot from zero-length partition")
_DEBUG = ("DEBUG", "VERBOSE")
_LEVELS = {"NONE": "", "ERROR": "E", "WARN": "EW"}


class Pins(NamedTuple):
    """GPIOs held at their active level for the whole hold time; a shorter hold changes nothing."""

    factory_reset: bool = False
    test_app: bool = False


NONE = Pins()


class BootResult(NamedTuple):
    """How a boot ended.

    `slot` was started from flash `offset`; `tried` are the slots whose image was verified, in order. `reset`: nothing
    bootable, the chip restarts. `exception`: the bootloader crashed, or an assertion in it failed.
    """

    outcome: Literal["booted", "reset", "exception"]
    slot: str | None
    offset: int | None
    tried: tuple[str, ...]


def run(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """One boot from the partition table in flash: verify and list it, then `boot`."""
    return _at_level(_run(memory, config, pins), config)


def boot(memory: Memory, table: PartitionTable, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """One boot with a table already read; yields log lines as far as `config.log_level` shows them."""
    return _at_level(_boot(memory, table, config, pins), config)


def _at_level(steps: Steps[BootResult], config: BootConfig) -> Steps[BootResult]:
    # at INFO and above the decisions themselves leave out what is not shown
    shown = _LEVELS.get(config.log_level)
    return steps if shown is None else _quieter(steps, shown)


def _quieter(steps: Steps[BootResult], shown: str) -> Steps[BootResult]:
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        if not isinstance(effect, Log) or effect.level in shown:
            yield effect


def _run(memory: Memory, config: BootConfig, pins: Pins) -> Steps[BootResult]:
    table = yield from load_table(memory, config)
    if table is None:
        yield Log("E", "boot", "load partition table error!")
        return BootResult("reset", None, None, ())
    return (yield from _boot(memory, table, config, pins))


def _boot(memory: Memory, table: PartitionTable, config: BootConfig, pins: Pins) -> Steps[BootResult]:
    slots = boot_slots(table)
    try:
        start = yield from select(memory, slots, config)
        if start.slot is not None and (pins.factory_reset or pins.test_app):
            start = yield from _diverted(memory, table, slots, config, pins, start)
    except DivisionByZero:
        return BootResult("exception", None, None, ())
    if start.slot is None:
        return BootResult("reset", None, None, ())
    if start.slot == TEST:
        return (yield from _load_test_only(memory, slots, config))
    return (yield from _load(memory, slots, config, start))


def _diverted(
    memory: Memory, table: PartitionTable, slots: BootSlots, config: BootConfig, pins: Pins, start: Start
) -> Steps[Start]:
    """What held pins make of a selection that is already done, with its flash writes (selected_boot_partition)."""
    if config.factory_reset is not None and pins.factory_reset:
        reset = config.factory_reset
        yield Log("I", "boot", "Detect a condition of the factory reset")
        yield Log("I", "boot", f"Data partitions to erase: {', '.join(reset.labels)}")
        all_erased = yield from _erase_data(table, reset, config)
        if not all_erased:
            yield Log("E", "boot", "Not all partitions were erased")
        return (yield from select(memory, slots, config))
    if config.test_app_pin and pins.test_app:
        yield Log("I", "boot", "Detect a boot condition of the test firmware")
        if slots.test.offset:
            return Start(TEST, start.initial)
        yield Log("E", "boot", "Test firmware is not found in partition table")
        return Start(None, False)
    return start


def _erase_data(table: PartitionTable, reset: FactoryReset, config: BootConfig) -> Steps[bool]:
    """bootloader_common_erase_part_type_data: whole partitions, in table order; False when one could not be erased."""
    all_erased = True
    if config.log_level in _DEBUG:
        yield mapped_line("boot_comm", config)
    yield Log("I", "boot_comm", "## Label            Usage Offset   Length   Cleaned")
    for index, part in enumerate(table.entries):
        if part.type != 1:
            continue
        marker = "no"
        if (reset.erase_otadata and part.subtype == 0) or part.label in reset.labels:
            marker = "yes"
            if part.offset % SECTOR_SIZE or part.size % SECTOR_SIZE:
                marker = "err"
                all_erased = False
            else:
                for offset in range(part.offset, part.offset + part.size, SECTOR_SIZE):
                    yield Erase(offset)
        place = f"{part.offset:08x} {part.size:08x}"
        yield Log("I", "boot_comm", f"{index:2d} {part.label:<16s} data  {place} [{marker}]")
    return all_erased


def slot_name(index: int) -> str:
    """`factory`, `test`, `ota_0` … for a partition index of the bootloader."""
    return "factory" if index == FACTORY else "test" if index == TEST else f"ota_{index}"


def _order(start: int, app_count: int) -> Iterator[int]:
    """Down from `start` to factory, then up from behind `start`: an OTA slot falls back before it falls forward."""
    yield from range(start, FACTORY - 1, -1)
    yield from range(start + 1, app_count)


_NAMES = {index: slot_name(index) for index in range(TEST, 256)}


@lru_cache(maxsize=256)
def _loaded(offset: int) -> Log:
    return Log("I", "boot", f"Loaded app from partition at offset 0x{offset:x}")


@lru_cache(maxsize=256)
def _not_bootable(index: int) -> Log:
    name = "Factory app partition" if index == FACTORY else f"OTA app partition slot {index}"
    return Log("E", "boot", f"{name} is not bootable")


def _load(memory: Memory, slots: BootSlots, config: BootConfig, start: Start) -> Steps[BootResult]:
    assert start.slot is not None
    tried: list[str] = []
    debug = config.log_level in _DEBUG
    for index in _order(start.slot, slots.app_count):
        place = slots.at(index)
        if place.size == 0:
            continue
        if debug:
            text = f"Trying partition index {index} offs 0x{place.offset:x} size 0x{place.size:x}"
            yield Log("D", "boot", text)
        allowed = True
        if config.anti_rollback:
            allowed = yield from passes_anti_rollback(memory, place, config)
        if allowed:
            tried.append(_NAMES[index])
            if (yield from _load_image(memory, place, config)):
                if index > FACTORY and start.initial:
                    yield from _set_actual_seq(memory, slots, config, index)
                return (yield from _start(memory, place, config, _NAMES[index], tried))
        yield _not_bootable(index)
    booted = yield from _load_test(memory, slots.test, config, tried)
    if booted:
        yield _TEST_FALLBACK
        return (yield from _start(memory, slots.test, config, "test", tried))
    yield _NOTHING
    return BootResult("reset", None, None, tuple(tried))


def _load_test_only(memory: Memory, slots: BootSlots, config: BootConfig) -> Steps[BootResult]:
    tried: list[str] = []
    booted = yield from _load_test(memory, slots.test, config, tried)
    if booted:
        return (yield from _start(memory, slots.test, config, "test", tried))
    yield _NO_TEST_APP
    return BootResult("reset", None, None, tuple(tried))


def _load_test(memory: Memory, place: Place, config: BootConfig, tried: list[str]) -> Steps[bool]:
    if config.anti_rollback:
        allowed = yield from passes_anti_rollback(memory, place, config)
        if not allowed:
            return False
    if place.size == 0:
        if config.log_level in _DEBUG:
            yield _ZERO_LENGTH
        return False
    tried.append("test")
    return (yield from _load_image(memory, place, config))


def _load_image(memory: Memory, place: Place, config: BootConfig) -> Steps[bool]:
    verdict = verify(memory, place.offset, place.size, config)
    check = as_loaded(verdict.check, memory, config)
    if check.logs != verdict.check.logs:
        verdict = Verdict(check, segment_lines(check, config) + check.logs)
    if config.log_level in _DEBUG:
        yield from with_hash_lines(memory, place.offset, verdict)
    else:
        yield from verdict.lines
    if check.ok:
        yield _loaded(place.offset)
    return check.ok


def _start(memory: Memory, place: Place, config: BootConfig, name: str, tried: list[str]) -> Steps[BootResult]:
    """load_image: what is left to do before the app runs."""
    yield _RNG_OFF
    check = verify(memory, place.offset, place.size, config).check
    if not maps_enough(check, config):
        return BootResult("exception", None, None, tuple(tried))
    if config.log_level in _DEBUG:
        yield from start_lines(memory, place.offset, check, config)
    else:
        yield from (line for line in mapping_lines(check, config) if line.level == "E")
    return BootResult("booted", name, place.offset, tuple(tried))


def _set_actual_seq(memory: Memory, slots: BootSlots, config: BootConfig, index: int) -> Steps[None]:
    """set_actual_ota_seq: the first boot of a device without otadata records what it booted, as VALID."""
    entry = make_entry(index + 1, ImageState.VALID)
    yield from rewrite(slots.otadata.offset, 0, entry)
    yield Log("I", "boot", f"Set actual ota_seq={index + 1} in otadata[0]")
    if config.anti_rollback:
        yield from advance_efuse(memory, slots.ota[index], config)
