"""sdkconfig.json as the checks ask it. Keys have no CONFIG_; one that is absent is off, as in Kconfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.gate.release import CannotTell, Malformed

_ON, _OFF = (True, "y"), (False, None, "n", "")


class Settings:
    """`source` names the file in messages. Values of the wrong kind are Malformed."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source

    def on(self, *names: str) -> bool:
        """Whether one of them is set: names of one setting in different ESP-IDF versions."""
        return any([self._flag(name) for name in names])

    def named_on(self, *names: str) -> list[str]:
        """Those that are set, as a person finds them in menuconfig."""
        return [f"CONFIG_{name}" for name in names if self._flag(name)]

    def knows(self, *names: str) -> bool:
        """Whether one of them is there, on or off."""
        return any(name in self.values for name in names)

    def number(self, name: str) -> int:
        """CannotTell if it is not there."""
        value = self.values.get(name)
        if value is None:
            raise CannotTell(f"{self.source} has no {name}")
        try:
            if isinstance(value, str):
                return int(value, 0)
        except ValueError:
            pass
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise Malformed(f"{self.source}: {name} is {value!r}; a number is needed")

    def text(self, name: str) -> str:
        """Empty if it is not there."""
        value = self.values.get(name, "")
        if not isinstance(value, str):
            raise Malformed(f"{self.source}: {name} is {value!r}; text is needed")
        return value

    def _flag(self, name: str) -> bool:
        value = self.values.get(name)
        if isinstance(value, (bool, str, type(None))):
            if value in _ON:
                return True
            if value in _OFF:
                return False
        raise Malformed(f"{self.source}: {name} is {value!r}; allowed: true, false")


ROLLBACK = ("BOOTLOADER_APP_ROLLBACK_ENABLE", "APP_ROLLBACK_ENABLE")
"""The second is its name before v4.0 (components/bootloader/sdkconfig.rename)."""
ANTI_ROLLBACK = "BOOTLOADER_APP_ANTI_ROLLBACK"
