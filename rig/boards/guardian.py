"""Holds one board's lease for a process that may be killed, and sees to it that the board has power afterwards.

Run by `rig.boards.lease` as `python -m rig.boards.guardian`, in a session of its own, so that neither Ctrl-C nor
`kill -9` of the owner reaches it. It reads one request, answers with one line of JSON, and waits for `done`. When its
input ends without that, the owner is gone: power is switched on before the lease is given up. A place of labgrid is
acquired and released with it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator

from rig.boards.lease import Holder, Wanted, locked
from rig.errors import RigError
from rig.labgrid.lease import held_places

TRIES = 5
BETWEEN_S = 1.0
"""A switch that fails once, as when its server restarts, gets more chances: nobody else will ask it."""
CHILDREN_S = 30.0
"""More than an owner's children take to end after him (fixtures/lifeline.py); power comes back whatever they do."""


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline() or "{}")
    if not request:
        return
    wanted, owner = Wanted.decoded(request["wanted"]), Holder(**request["owner"])
    try:
        with (
            locked(wanted, owner, request["wait_s"]),
            held_places(wanted.keys, wanted.board, request["wait_s"]),
        ):
            _say({"held": True})
            if sys.stdin.readline() != "done\n":
                with _after_children(wanted, owner):
                    restore_power(wanted)
    except RigError as error:
        _say({"fault": error.what, "hint": error.hint})


@contextlib.contextmanager
def _after_children(wanted: Wanted, owner: Holder) -> Iterator[None]:
    """When those for whom the owner held the board have let go of it, too: they end with him, but not at once."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RigError):
            stack.enter_context(locked(wanted.within(), owner, CHILDREN_S))
        yield


def restore_power(wanted: Wanted) -> None:
    """Power on, as often as it takes; what fails at last is said on stderr, where the owner's errors went."""
    if wanted.power is None:
        return
    for left in reversed(range(TRIES)):
        try:
            wanted.power.open(wanted.board).on()
            return
        except RigError as error:
            # stderr may have gone with the owner
            with contextlib.suppress(OSError):
                print(f"rig: {wanted.board}, whose run was killed: {error}", file=sys.stderr)
        time.sleep(BETWEEN_S if left else 0)


def _say(answer: dict[str, object]) -> None:
    # An owner that is gone already reads nothing.
    with contextlib.suppress(OSError):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
