"""The serial port of a labgrid place, on whatever host its exporter runs."""

from __future__ import annotations

from rig.boards.serial_ports import check_url
from rig.errors import UserError
from rig.labgrid.client import Address, Client
from rig.labgrid.places import serial_url, show

RAW = "a raw TCP socket carries no DTR and RTS, so the board can neither be reset nor flashed"


class LabgridPort:
    """Asked for at every opening: ser2net gets another TCP port whenever the place is acquired or the board returns."""

    def __init__(self, board: str, address: Address, name: str | None = None) -> None:
        self._board, self._name = board, name
        self._client = Client(address, board)

    def find(self) -> str:
        """An rfc2217:// URL; BenchFault if the port is away, UserError for a raw one."""
        url = serial_url(show(self._client), self._name, self._board)
        check_url(self._board, url)
        if url.startswith("socket://"):
            raise UserError(
                f"{self._client.address} exports its serial port as {url}: {RAW}",
                board=self._board,
                hint='protocol: rfc2217 in the exporter\'s file; for a console alone, port = "socket://HOST:PORT" in'
                " rig.toml instead of place",
            )
        return url
