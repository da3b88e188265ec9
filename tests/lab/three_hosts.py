"""A lab of three hosts and a client, each in a network namespace: `python -m tests.lab.three_hosts` (needs root).

The coordinator is on one host, two others export two boards each, and the client runs `rig` on all of them as if they
were its own: doctor, tests spread over the four, power cuts by labgrid. At the end every place is free, every board has
power, and the history is whole.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.lab.hosts import OWN, ROOT, Host, absent, board_section, cannot_make_networks, network

BOARDS = {"east": ("e1", "e2"), "west": ("w1", "w2")}
TESTS = "blank_otadata or failed_diagnostics_go_back or hang_and_power_cycle"
"""Few: a call of labgrid takes a second or more of a processor, and served boards keep real time."""
PORT = 20408


def main() -> int:
    if why := absent() or cannot_make_networks():
        print(f"not here: {why}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name, network(["hub", *BOARDS, "desk"]) as hosts:
        folder = Path(name)
        coordinator = hosts["hub"].coordinator(folder / "hub", PORT)
        print(f"coordinator at {coordinator}")
        served = {}
        for exporter, boards in BOARDS.items():
            host = hosts[exporter]
            served |= {board: host.serve(folder / exporter, board) for board in boards}
            host.export(folder / exporter, exporter, coordinator, [served[board] for board in boards])
            print(f"{exporter} at {host.address} exports {', '.join(boards)}")
        desk = folder / "desk"
        lay_out(desk, coordinator, [board for boards in BOARDS.values() for board in boards])
        rig(hosts["desk"], desk, "list")
        rig(hosts["desk"], desk, "doctor", "e1")
        rig(hosts["desk"], desk, "qualify", "--no-open", "--boards", "tag=lab", "-k", TESTS)
        check(hosts["desk"], desk, coordinator, served)
    print("three hosts: all as it should be")
    return 0


def lay_out(desk: Path, coordinator: str, boards: list[str]) -> None:
    """A client's folder: rig.toml, and the project's tests."""
    desk.mkdir()
    for part in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / part, desk)
    for part in ("tests", "fixtures", "rig", "firmware_under_test"):
        (desk / part).symlink_to(ROOT / part)
    sections = "".join(board_section(board, coordinator) for board in boards)
    (desk / "rig.toml").write_text(f'[bench]\nname = "three hosts"\n{sections}')


def rig(host: Host, desk: Path, *arguments: str) -> None:
    """Run it on the client; its output is shown, and it must end well."""
    print(f"$ rig {' '.join(arguments)}", flush=True)
    done = host.run([sys.executable, "-m", "rig", *arguments], cwd=desk, env=environment(desk))
    print(done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(f"rig {arguments[0]} ended with exit code {done.returncode}")


def environment(desk: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "RIG_LEASES": str(desk / "leases"), "COLUMNS": "100"}


def check(host: Host, desk: Path, coordinator: str, served: dict[str, dict[str, object]]) -> None:
    """Places free, boards powered, history whole."""
    for board, facts in served.items():
        shown = host.run([str(OWN / "labgrid-client"), "-x", coordinator, "-p", board, "show"]).stdout
        assert "acquired: None" in shown, f"{board} is still held:\n{shown}"
        code = "import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())"
        power = host.run([sys.executable, "-c", code, str(facts["power"])]).stdout.strip()
        assert power == "on", f"{board} is {power}"
    with sqlite3.connect(desk / "history.sqlite") as history:
        assert history.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        counts = history.execute("SELECT board, count(*) FROM results_flat GROUP BY board").fetchall()
    print(f"tests by board: {', '.join(f'{board} {count}' for board, count in counts)}")


if __name__ == "__main__":
    sys.exit(main())
