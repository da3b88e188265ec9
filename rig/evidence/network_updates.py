"""Updates over the network in a trial: the link, whom to trust, downloads that succeed and downloads that fail."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import replace

from rig.boards.board import Board, Capability, NetworkAccess
from rig.errors import BenchFault, FirmwareFault, Inconclusive, NotApplicable
from rig.evidence.calling import Calls
from rig.evidence.taken import Taken, noting
from rig.idf.partitions import Partition
from rig.updates.agent import Agent, AgentError
from rig.updates.agent_results import Network
from rig.updates.agent_url import AS_USUAL, UrlOptions, UrlUpdate

PATIENCE_S, LEAST_S, MOST_S = 5, 20, 120
"""Seconds of the bench that a silent server is given; seconds of the device, at least and at most (PROTOCOL.md, 8)."""

_POWER_SAVE = re.compile(rb"rig_network: power save (\w+) \((?:was \w+|as before)\)")


@noting("connect", "download", "download_error", "failed_download")
class NetworkUpdates:
    """The running app's way to update servers; `trial.network` is one.

    `image` is what the slot holds when the download succeeds: a version of the installed variant, or bytes.
    """

    def __init__(
        self,
        board: Board,
        calls: Calls,
        agent: Callable[[], Agent],
        image: Callable[[str | bytes], bytes],
        slot: Callable[[str], Partition],
        taken: Taken,
    ) -> None:
        self.taken = taken
        self._board = board
        self._calls = calls
        self._agent = agent
        self._image = image
        self._slot = slot
        self._since = 0

    @property
    def access(self) -> NetworkAccess:
        """How the board reaches this machine; NotApplicable if it does not."""
        if self._board.network is None:
            reason = self._board.missing.get(Capability.NETWORK, "it has none")
            raise NotApplicable(f"board {self._board.name} has no network: {reason}")
        return self._board.network

    @property
    def variant(self) -> str:
        """The build variant with the board's network driver."""
        return self.access.variant

    def connect(self, authority: bytes = b"", key: bytes = b"") -> Network:
        """Bring the link up and set the device's clock; give it certificates to trust and a key for images (PEM).

        They last until the next reset. BenchFault without an address, NotApplicable for an app without network.
        """
        access = self.access
        try:
            found = self._agent().network(access.ssid, access.password, time=int(time.time()))
        except AgentError as error:
            if error.error != "ESP_ERR_NOT_SUPPORTED":
                raise
            raise NotApplicable(
                "the app on the board does not update over the network",
                hint="build it with rig_network (docs/network.md)",
            ) from error
        if found.ip is None:
            raise BenchFault(
                f"the board got no address: {found.kind}, link {'up' if found.link else 'down'}",
                board=self._board.name,
                hint="check the access point and its password in rig.toml (docs/network.md)",
            )
        if authority:
            self._agent().set_ca(authority)
        if key:
            self._agent().set_image_key(key)
        return found

    def download(self, url: str, image: str | bytes, options: UrlOptions = AS_USUAL) -> UrlUpdate:
        """Update from `url`; the next boot is to choose it.

        AgentError if it fails; Inconclusive if the board never reached the server, which may be anybody's fault.
        """
        try:
            return self._download(url, image, options)
        except AgentError as error:
            if error.error != "ESP_ERR_HTTP_CONNECT":
                raise
            raise Inconclusive(
                f"the board could not connect to {url}: {error.text or error.error}",
                board=self._board.name,
                hint="see updates.jsonl for whether it got through; check the host in rig.toml and the firewall here",
            ) from error

    def _download(self, url: str, image: str | bytes, options: UrlOptions) -> UrlUpdate:
        data = self._image(image)
        self._since = self._board.console.position
        target = self._slot(self._calls.next_slot())
        done = self._calls.download(data, target, lambda: self._agent().update_url(url, self._patient(options)))
        said = (done.slot, done.boot, done.length, done.offset)
        if said != (target.slot, target.slot, len(data), target.offset):
            raise FirmwareFault(
                f"the app says it has written {done.length} bytes to {done.slot} at {done.offset:#x} and boots "
                f"{done.boot}; it was to be {len(data)} bytes in {target.slot} at {target.offset:#x}",
                board=self._board.name,
            )
        return done

    def download_error(self, url: str, image: str | bytes, options: UrlOptions = AS_USUAL) -> str:
        """Try an update that should be refused, or break off; the name of ESP-IDF's error, or ESP_OK."""
        return self.failed_download(url, image, options)[0]

    def failed_download(self, url: str, image: str | bytes, options: UrlOptions = AS_USUAL) -> tuple[str, int | None]:
        """The same, and how many bytes the app says are in the slot; None if it says that nothing was touched."""
        try:
            done = self._download(url, image, options)
        except AgentError as error:
            return error.error, error.offset
        return "ESP_OK", done.length

    @property
    def power_saves(self) -> list[str]:
        """The modes of Wi-Fi's power save that the app logged since the last download began, in order."""
        log = b"".join(chunk.data for chunk in self._board.console.chunks_since(self._since))
        return [mode.decode() for mode in _POWER_SAVE.findall(log)]

    def _patient(self, options: UrlOptions) -> UrlOptions:
        """As long as PATIENCE_S of ours can be for the device, unless the test says otherwise."""
        if options.timeout is not None:
            return options
        seconds = min(MOST_S, max(LEAST_S, math.ceil(PATIENCE_S * self._board.clock_rate)))
        return replace(options, timeout=seconds)
