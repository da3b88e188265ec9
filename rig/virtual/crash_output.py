"""What the panic handler and the task watchdog print, per architecture; register values are made up, the layout is not.

Sources: components/esp_system/panic.c, port/arch/{riscv,xtensa}/panic_arch.c, task_wdt/task_wdt.c.
"""

from __future__ import annotations

from rig.virtual.console_log import ConsoleLog, release

XTENSA = frozenset({"esp32", "esp32s2", "esp32s3"})
DUAL_CORE = frozenset({"esp32", "esp32s3", "esp32p4", "esp32h4", "esp32s31"})

_RISCV_NAMES = (
    "MEPC RA SP GP TP T0 T1 T2 S0/FP S1 A0 A1 A2 A3 A4 A5 A6 A7 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 T3 T4 T5 T6 "
    "MSTATUS MTVEC MCAUSE MTVAL MHARTID"
)
_RISCV_VALUES = {
    "MEPC": 0x42006AD4,
    "RA": 0x42006AD4,
    "SP": 0x3FC8F2D0,
    "GP": 0x3FC8B000,
    "TP": 0x3FC88368,
    "MSTATUS": 0x1881,
    "MTVEC": 0x40380001,
    "MCAUSE": 0x7,
}
_XTENSA_NAMES = "PC PS A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 SAR EXCCAUSE EXCVADDR LBEG LEND LCOUNT"
_XTENSA_VALUES = {
    "PC": 0x400D5B12,
    "PS": 0x00060A30,
    "A0": 0x800D5AF8,
    "A1": 0x3FFB4510,
    "SAR": 0x4,
    "EXCCAUSE": 0x1D,
    "LBEG": 0x4000C2E0,
    "LEND": 0x4000C2F6,
}


def print_panic(log: ConsoleLog, chip: str, elf_sha256: str, idf_version: str) -> None:
    """A store through a null pointer, from `Guru Meditation Error` to `Rebooting...`."""
    reason = "StoreProhibited" if chip in XTENSA else "Store access fault"
    log.raw(f"Guru Meditation Error: Core  0 panic'ed ({reason}). Exception was unhandled.\n\n")
    _print_tail(log, chip, elf_sha256, idf_version)


def print_abort(log: ConsoleLog, chip: str, elf_sha256: str, idf_version: str) -> None:
    """abort(), from its line to `Rebooting...`."""
    caller = _XTENSA_VALUES["PC"] if chip in XTENSA else _RISCV_VALUES["RA"]
    log.raw(f"\nabort() was called at PC 0x{caller:08x} on core 0\n")
    _print_tail(log, chip, elf_sha256, idf_version)


def print_task_watchdog(log: ConsoleLog, chip: str, elf_sha256: str, idf_version: str) -> None:
    """The task watchdog (CONFIG_ESP_TASK_WDT_PANIC) ends a main task that never yields."""
    for text in (
        "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:",
        " - IDLE0 (CPU 0)" if chip in DUAL_CORE else " - IDLE (CPU 0)",
        "Tasks currently running:",
        "CPU 0: main",
    ):
        log.line("E", "task_wdt", text)
    if chip in DUAL_CORE:
        log.line("E", "task_wdt", "CPU 1: IDLE1")
    log.line("E", "task_wdt", "Aborting.")
    what = "backtrace" if chip in XTENSA else "registers"
    log.line("E", "task_wdt", f"Print CPU 0 (current core) {what}")
    log.raw("\n")
    _print_tail(log, chip, elf_sha256, idf_version)


def _print_tail(log: ConsoleLog, chip: str, elf_sha256: str, idf_version: str) -> None:
    text, values = (_XTENSA_NAMES, _XTENSA_VALUES) if chip in XTENSA else (_RISCV_NAMES, _RISCV_VALUES)
    names = text.split()
    rows = [names[i : i + 4] for i in range(0, len(names), 4)]
    dump = "\n".join("".join(f"{name:<8}: 0x{values.get(name, 0):08x}  " for name in row) for row in rows)
    if chip in XTENSA:
        memory = "Backtrace: 0x400d5b0f:0x3ffb4510 0x400d5af5:0x3ffb4530 0x400e2f4d:0x3ffb4550\n"
    else:
        memory = "Stack memory:\n3fc8f2d0: " + " ".join(["0x00000000", "0x3fc8fcc0"] + ["0xa5a5a5a5"] * 6) + "\n"
    digits = 9 if release(idf_version) >= (5, 3) else 16
    log.raw(f"Core  0 register dump:\n{dump}\n\n{memory}\n\n\nELF file SHA256: {elf_sha256[:digits]}\n\nRebooting...\n")
