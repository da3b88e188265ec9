"""Log lines as ESP-IDF lays them out on the UART: `I (34) boot: text`, colour by version, CRLF.

Source: components/log/include/esp_log.h (LOG_FORMAT) and Kconfig (LOG_COLORS: on up to v5.3, off from v5.4).
"""

from __future__ import annotations

from rig.idf.effects import Log
from rig.virtual.cpu import Cpu

LEVELS = {"NONE": 0, "ERROR": 1, "WARN": 2, "INFO": 3, "DEBUG": 4, "VERBOSE": 5}
_RANK = {"E": 1, "W": 2, "I": 3, "D": 4, "V": 5}
_COLOUR = {"E": "\033[0;31m", "W": "\033[0;33m", "I": "\033[0;32m", "D": "", "V": ""}
_RESET = "\033[0m"
_SECONDS_PER_BYTE = 10 / 115200
"""The chip waits for its UART: this is where most of the milliseconds between early log lines come from."""
_FULL_VERSIONS = {"v4.4": "v4.4.8", "v5.1": "v5.1.7", "v5.5": "v5.5.5", "v6.0": "v6.0.2", "v6.1": "v6.1-beta1"}


def full_version(idf_version: str) -> str:
    """What a build of this family prints as its own version; a full version stays as it is."""
    return _FULL_VERSIONS.get(idf_version, idf_version)


def release(idf_version: str) -> tuple[int, int]:
    """(major, minor) of `v5.5.5`, `v6.1-beta1`, `v5.1-dirty`...; (5, 5) for text that is no ESP-IDF version."""
    parts = idf_version.removeprefix("v").split("-")[0].split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return 5, 5
    return int(parts[0]), int(parts[1])


class ConsoleLog:
    """Prints on the chip's UART0 with the time since reset; lines above `level` are not printed."""

    def __init__(self, cpu: Cpu, idf_version: str, level: str = "INFO") -> None:
        self._cpu = cpu
        self._limit = LEVELS[level]
        self._coloured = release(idf_version) < (5, 4)

    def shows(self, level: str) -> bool:
        return _RANK[level] <= self._limit

    def line(self, level: str, tag: str, text: str) -> None:
        """One line, e.g. `line("I", "boot", "End of partition table")`."""
        if not self.shows(level):
            return
        body = f"{level} ({int(self._cpu.now() * 1000)}) {tag}: {text}"
        if self._coloured:
            body = f"{_COLOUR[level]}{body}{_RESET}"
        self._print(f"{body}\r\n")

    def effect(self, log: Log) -> None:
        self.line(log.level, log.tag, log.text)

    def info(self, tag: str, text: str) -> None:
        self.line("I", tag, text)

    def raw(self, text: str) -> None:
        """Text without level and tag, as the panic handler prints it; line feeds become CRLF."""
        self._print(text.replace("\n", "\r\n"))

    def _print(self, text: str) -> None:
        data = text.encode()
        self._cpu.write(data)
        self._cpu.sleep(len(data) * _SECONDS_PER_BYTE)
