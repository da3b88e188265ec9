"""The terminal, as the commands write to it."""

from __future__ import annotations

import errno
import os

from rich.console import Console


class Screen(Console):
    """A console whose reader may leave, as in `rig qualify | head`: that ends the command, but not with rich's exit
    code 1, which says here that the firmware failed.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
