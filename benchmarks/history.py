"""`rig history` on 100,000 recorded results, beside a Python that only imports what every command needs."""

from __future__ import annotations

import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rig.evidence.history.store import RunStart, open_history

RUNS, TESTS, BOARDS = 500, 50, 4
ROUNDS = 5
BENCH = "[bench]\nname = 'filled'\n" + "".join(
    f"[[board]]\nname = 'board{number}'\nkind = 'virtual'\n" for number in range(BOARDS)
)


def fill(path: Path) -> int:
    """A history of many nights, written by SQL: one transaction a result would take minutes. How many results."""
    chance = random.Random(1)
    with open_history(path) as history:
        database: sqlite3.Connection = history.connection
        for number in range(RUNS):
            begun = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=number)
            history.begin(RunStart(f"night {number}", begun, "benchmark", "rig nightly", "filled", "here"))
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO boards VALUES (?, ?, 'virtual', 'esp32c3')", [(n, f"board{n}") for n in range(BOARDS)]
        )
        database.executemany(
            "INSERT INTO tests VALUES (?, ?)", [(n, f"tests/test_it.py::test_{n}") for n in range(TESTS)]
        )
        database.executemany("INSERT INTO checks VALUES (?, ?)", [(n, f"REQ-{n:02}") for n in range(TESTS)])
        rows = (
            (
                run + 1, test, board, "firmware fail" if chance.random() < 0.01 else "pass", "", "2025", 1.5,
                f"{run // 20:016x}", "b" * 16, "v5.5", 3,
            )
            for run in range(RUNS) for test in range(TESTS) for board in range(BOARDS)
        )  # fmt: skip
        database.executemany(
            "INSERT INTO results (run, test, board, verdict, reason, started, duration_s, app_elf, bootloader, idf,"
            " otadata_erases) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.execute("COMMIT")
        return int(database.execute("SELECT count(*) FROM results").fetchone()[0])


def timed(command: list[str], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rig.toml").write_text(BENCH, encoding="utf-8")
        results = fill(folder / "history.sqlite")
        commands = {
            "python -c 'import click, rich.table'": [sys.executable, "-c", "import click, rich.table"],
            "rig history": [sys.executable, "-m", "rig", "history"],
            "rig history --page": [sys.executable, "-m", "rig", "history", "--page", "page.html"],
        }
        commands["rig compare last~1 last"] = ["sh", "-c", f"{sys.executable} -m rig compare last~1 last; true"]
        times: dict[str, list[float]] = {title: [] for title in commands}
        for _ in range(ROUNDS):
            for title, command in commands.items():
                times[title].append(timed(command, folder))
    base = statistics.median(next(iter(times.values())))
    print(f"{results:,} results in {RUNS} runs; median of {ROUNDS} rounds, side by side")
    for title, some in times.items():
        middle = statistics.median(some)
        print(f"{title:40} {middle:6.2f} s  {middle / base:5.1f} x")


if __name__ == "__main__":
    main()
