"""What the update server did, request by request: for tests, for the terminal and for the evidence."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL = "updates.jsonl"


@dataclass(frozen=True)
class Served:
    """One request, or one TLS handshake after which none came: then `method` and `path` are empty and `status` is 0.

    `at`: wall-clock seconds since 1970 when it came, `seconds` how long it took. `sent`: body bytes handed to the
    operating system. `range` as asked for. `faults` as they are written. `ended` says in words how it ended.
    """

    at: float
    client: str
    method: str
    path: str
    range: str | None
    status: int
    faults: tuple[str, ...]
    sent: int
    seconds: float
    ended: str

    @property
    def fault(self) -> str | None:
        """All faults in one text; None when nothing was done wrong on purpose."""
        return " ".join(self.faults) or None

    def as_json(self) -> dict[str, Any]:
        """One line of the journal. `at` in UTC."""
        at = datetime.datetime.fromtimestamp(self.at, datetime.UTC).isoformat(timespec="milliseconds")
        return {
            "at": at,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "range": self.range,
            "status": self.status,
            "faults": list(self.faults),
            "sent": self.sent,
            "seconds": round(self.seconds, 4),
            "ended": self.ended,
        }


class Journal:
    """All that was served, in the order it ended. The server's thread writes, tests read and wait.

    `report` is called for each, on the server's thread.
    """

    def __init__(self, report: Callable[[Served], None] | None = None) -> None:
        self._report = report
        self._changed = threading.Condition()
        self._served: list[Served] = []
        self._asked = 0

    @property
    def served(self) -> tuple[Served, ...]:
        with self._changed:
            return tuple(self._served)

    @property
    def asked(self) -> int:
        """How many requests have come, answered or not."""
        with self._changed:
            return self._asked

    def came(self) -> None:
        """A request has come."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def add(self, served: Served) -> None:
        with self._changed:
            self._served.append(served)
            self._changed.notify_all()
        if self._report is not None:
            self._report(served)

    def wait_served(self, count: int, timeout: float) -> bool:
        """Whether so many ended within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._served) >= count, timeout)

    def wait_asked(self, count: int, timeout: float) -> bool:
        """Whether so many had come within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._asked >= count, timeout)

    def save(self, folder: Path) -> Path:
        """Write `updates.jsonl` into `folder`, a line for each; returns its path."""
        path = folder / JOURNAL
        path.write_text("".join(json.dumps(served.as_json()) + "\n" for served in self.served), encoding="utf-8")
        return path
