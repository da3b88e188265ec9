"""Names a place's holder so that a later run can see whether he is still alive.

labgrid only knows HOST/USER. A run acquires as `USER+rig.PID.START.NAMESPACE`: process id, when that process began
(clock ticks since boot, proc_pid_stat(5) field 22) and its PID namespace. Only a process of the same host and namespace
can tell that the holder is gone; anyone else has to ask a person.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from rig.labgrid.client import host_name, user_name

_HOLDER = re.compile(r"(?P<host>[^/]+)/(?P<user>.+)\+rig\.(?P<pid>\d+)\.(?P<start>\d+)\.(?P<space>\d+)")


@dataclass(frozen=True)
class Identity:
    """One process as a holder of places."""

    host: str
    user: str
    pid: int
    start: int
    space: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Of a living process of this host."""
        return cls(host_name(), user_name(), pid, started(pid) or 0, _namespace())

    @classmethod
    def parse(cls, holder: str) -> Identity | None:
        """The process behind a HOST/USER; None if that is no run of ours."""
        match = _HOLDER.fullmatch(holder)
        if match is None:
            return None
        return cls(match["host"], match["user"], int(match["pid"]), int(match["start"]), int(match["space"]))

    @property
    def labgrid_user(self) -> str:
        return f"{self.user}+rig.{self.pid}.{self.start}.{self.space}"

    @property
    def labgrid_name(self) -> str:
        """HOST/USER, as labgrid shows the holder."""
        return f"{self.host}/{self.labgrid_user}"

    def __str__(self) -> str:
        return f"{self.user} on {self.host}, process {self.pid}"

    def is_dead(self) -> bool:
        """Whether the process is known to be gone; False also if that cannot be known from here."""
        here = self.host == host_name() and self.space == _namespace()
        return here and started(self.pid) != self.start


def started(pid: int) -> int | None:
    """When a process began, in ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(fields[18])


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
