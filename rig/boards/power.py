"""What switches a board's power. One device is one short file with these methods."""

from __future__ import annotations

from typing import Protocol


class PowerSwitch(Protocol):
    """Power of one board. `off` returns when the board is without power, `on` when it has power again."""

    def on(self) -> None: ...

    def off(self) -> None: ...
