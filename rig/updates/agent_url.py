"""How an app is to download an update (`update_url`, PROTOCOL.md, 8.1), and what it said when it had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rig.updates.agent_results import Fields

PIECE = 100
"""Bytes of a certificate or key in one request: a line has 512, and a byte may need three of them."""


@dataclass(frozen=True)
class UrlOptions:
    """`timeout` in seconds of device time without a byte; `request_size` in bytes of one range request; None: as it is.

    `check`: whether the header of the new app is looked at before anything is written; `resume`: go on from what an
    earlier attempt has left; `power_save`: Wi-Fi's, meanwhile.
    """

    common_name: str | None = None
    timeout: int | None = None
    check: Literal["header", "none"] = "header"
    request_size: int | None = None
    resume: bool = False
    power_save: Literal["off", "keep"] = "off"

    def fields(self) -> dict[str, str]:
        """The arguments of the request, without those that are the device's own choice anyway."""
        given = {
            "common_name": self.common_name,
            "timeout": None if self.timeout is None else str(self.timeout),
            "check": "none" if self.check == "none" else None,
            "request_size": None if self.request_size is None else str(self.request_size),
            "resume": "1" if self.resume else None,
            "power_save": "keep" if self.power_save == "keep" else None,
        }
        return {name: value for name, value in given.items() if value is not None}


AS_USUAL = UrlOptions()


@dataclass(frozen=True)
class UrlUpdate:
    """`length` bytes of image are in `slot` at flash `offset`; `boot` is the slot that boots next.

    `power_save` is Wi-Fi's mode during the download, None where there is none.
    """

    slot: str
    offset: int
    length: int
    boot: str
    power_save: str | None

    @classmethod
    def read(cls, fields: Fields) -> UrlUpdate:
        return cls(
            slot=fields.text("slot"),
            offset=fields.number("offset"),
            length=fields.number("length"),
            boot=fields.text("boot"),
            power_save=fields.slot_or_none("power_save"),
        )
