"""A run killed by `kill -9` at ten random moments: `python -m tests.lab.killed [SEED]`.

The board is a served virtual one, whose power a run cuts all the time. After each kill its lease is free again, it has
power, no process of the run is left, and the history is whole.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rig.boards.lease import FOLDER, holder
from tests.lab.hosts import PATIENCE_S, ROOT, Host
from tests.lab.three_hosts import lay_out

TESTS = "test_rollback.py or test_boot_selection.py"
KILLS = 10
LONGEST_S = 45.0
SECTION = """\
[[board]]
name = "c3"
kind = "serial"
firmware = "synthesised"
chip = "esp32c3"
port = "rfc2217://{host}:{port}"
power = {{ on = "{post} {power}/on", off = "{post} {power}/off" }}
"""


def main(seed: int) -> int:
    chance = random.Random(seed)
    host = Host()
    with tempfile.TemporaryDirectory() as name:
        desk = Path(name) / "desk"
        os.environ[FOLDER] = str(Path(name) / "leases")
        try:
            board = host.serve(Path(name), "c3")
            lay_out(desk, "", [])
            post = f"{sys.executable} {desk / 'post.py'}"
            (desk / "post.py").write_text(
                "import sys, urllib.request as w; w.urlopen(w.Request(sys.argv[1], method='POST'))"
            )
            (desk / "rig.toml").write_text(SECTION.format(post=post, **board))
            for number in range(1, KILLS + 1):
                wait = chance.uniform(0.5, LONGEST_S)
                process = run(desk)
                time.sleep(wait)
                was = switched(board)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                took = until_given_back(f"rfc2217://{board['host']}:{board['port']}", desk)
                on, results = switched(board), whole(desk / "history.sqlite")
                print(
                    f"kill {number:2} after {wait:4.1f} s, power {was:3}: free again within {took:.0f} s, "
                    f"power {on}, history whole with {results} results",
                    flush=True,
                )
                assert on == "on"
        finally:
            host.end()
    print("no lease leaked, no board off, history whole")
    return 0


def run(desk: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "rig", "qualify", "--no-open", "-k", TESTS], cwd=desk, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def until_given_back(port: str, desk: Path) -> float:
    """Seconds until nobody has the board and no process of the run is left."""
    begun = time.monotonic()
    while holder([port]) is not None or left(desk):
        assert time.monotonic() - begun < PATIENCE_S, f"still there: {holder([port])}, {left(desk)}"
        time.sleep(0.1)
    return time.monotonic() - begun


def left(desk: Path) -> list[str]:
    """Processes that work in the run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(desk) and process.name != str(os.getpid()):
                found.append(re.sub(r"\0", " ", (process / "cmdline").read_text())[:80])
        except OSError:
            continue
    return [command for command in found if command]


def switched(board: dict[str, object]) -> str:
    with urllib.request.urlopen(str(board["power"])) as answer:
        return str(answer.read().decode().strip())


def whole(path: Path) -> int:
    if not path.exists():
        return 0
    with sqlite3.connect(path) as history:
        assert history.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return int(history.execute("SELECT count(*) FROM results").fetchone()[0])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1000)))
