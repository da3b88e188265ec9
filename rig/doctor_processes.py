"""Many boards proven fit at the same time, each by a `rig doctor` of its own: a lab's night cannot wait for one by one.

Processes and not threads, since esptool prints to the one stdout of its process. One a core: while the time of a cut is
measured, a doctor fills one, and what else a lab's host does must go on. `rig doctor` itself takes board after board.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rig.doctor import State
from rig.errors import BenchFault


def unfit(config: Path, names: Sequence[str]) -> dict[str, str]:
    """Boards of a rig.toml that must not be used, and for each the first thing that is missing or wrong."""
    if not names:
        return {}
    running: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        try:
            said = pool.map(lambda name: _why_not(config, name, running), names)
            return {name: why for name, why in zip(names, said, strict=True) if why is not None}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise


def _why_not(config: Path, name: str, running: list[subprocess.Popen[str]]) -> str | None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rig", "doctor", "--json", "--config", str(config), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    running.append(process)
    said, complained = process.communicate()
    if process.returncode not in (0, BenchFault.exit_code):
        first = (complained.strip().splitlines() or ["it said nothing"])[0]
        return f"its rig doctor ended with exit code {process.returncode}: {first}"
    (board,) = json.loads(said)["boards"]
    missing = [finding for finding in board["findings"] if finding["state"] == State.MISSING]
    return f"{missing[0]['name']}: {missing[0]['text'].splitlines()[0]}" if missing else None
