"""QEMU's machine protocol, as much of it as it takes to start a paused machine and to learn why it ended.

QEMU docs/interop/qmp-spec.txt; the reason is that of the SHUTDOWN event (qapi/run-state.json).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

GUEST_RESET = "guest-reset"
SLICE_S = 0.05


class QmpError(Exception):
    """QEMU did not come, left, or refused a command."""


class Qmp:
    """The end that listens: QEMU connects to it when it starts (`-qmp unix:PATH`), so no event can be missed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection: socket.socket | None = None
        self._input = b""
        self._gone = threading.Event()
        self._early: list[dict[str, Any]] = []

    def listen(self) -> None:
        """OSError if the socket cannot be made."""
        self._listener.bind(str(self.path))
        self._listener.listen(1)

    def accept(self, timeout: float) -> None:
        """Wait for QEMU and start talking; QmpError after `timeout` seconds."""
        self._connection = self._wait_for_caller(time.monotonic() + timeout)
        if self._connection is None:
            raise QmpError(f"it did not connect within {timeout:g} s")
        self._connection.settimeout(timeout)
        if "QMP" not in self._receive():
            raise QmpError("it did not greet")
        self.execute("qmp_capabilities", timeout)

    def _wait_for_caller(self, deadline: float) -> socket.socket | None:
        # In slices: shutting down a listening socket does not wake an accept that has a timeout.
        self._listener.settimeout(SLICE_S)
        while time.monotonic() < deadline:
            gone = self._gone.is_set()
            with contextlib.suppress(TimeoutError):
                return self._listener.accept()[0]
            if gone:
                raise QmpError("it ended before it connected")
        return None

    def execute(self, command: str, timeout: float) -> None:
        """Run a command without arguments and wait for its end; QmpError after `timeout` seconds of silence."""
        if self._connection is None:
            raise QmpError("it is not connected")
        try:
            self._connection.settimeout(timeout)
            self._connection.sendall(json.dumps({"execute": command}).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"it ended before {command}") from error
        while True:
            answer = self._receive()
            if "return" in answer:
                return
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error'].get('desc', answer['error'])}")
            self._early.append(answer)

    def shutdown_reason(self) -> str | None:
        """Once QEMU has ended: why its machine stopped, or None if it did not say."""
        messages = self._early
        if self._connection is not None:
            self._connection.settimeout(None)
            with contextlib.suppress(QmpError):
                while True:
                    messages.append(self._receive())
        found = [message for message in messages if message.get("event") == "SHUTDOWN"]
        return str(found[-1].get("data", {}).get("reason")) if found else None

    def give_up(self) -> None:
        """Let `accept` in another thread return: nobody will come any more."""
        self._gone.set()

    def close(self) -> None:
        """Safe to call twice."""
        self._listener.close()
        if self._connection is not None:
            self._connection.close()
        self.path.unlink(missing_ok=True)

    def _receive(self) -> dict[str, Any]:
        assert self._connection is not None
        while b"\n" not in self._input:
            try:
                data = self._connection.recv(65536)
            except OSError as error:
                raise QmpError(f"it does not answer: {error}") from error
            if not data:
                raise QmpError("it has ended")
            self._input += data
        line, _, self._input = self._input.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise QmpError(f"it said no JSON: {line[:80]!r}") from error
        if not isinstance(message, dict):
            raise QmpError(f"it said {line[:80]!r}")
        return message
