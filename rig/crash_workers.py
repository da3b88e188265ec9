"""Sweeps side by side, each in a process of its own: a board of that kind is there once in a process."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from rig import crash_job
from rig.crash_job import Job, News
from rig.errors import BenchFault, RigError
from rig.evidence.records import SweepRecord

POLL_S = 0.1

Work = Callable[[Job, crash_job.Tell], SweepRecord]


class WorkerFailed(Exception):
    """A fault of rig itself in a worker; the message is its traceback."""


def run(
    planned: Sequence[Job], at_once: int, work: Work = crash_job.work
) -> Generator[tuple[int, News | SweepRecord], None, None]:
    """Do the jobs, at most `at_once` at a time; news and records as they come, with the job's place in `planned`.

    Raises the first UserError of a job, BenchFault if a worker dies, WorkerFailed. Close it to end all of them early.
    """
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    waiting = list(range(len(planned)))
    running: dict[int, BaseProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                place = waiting.pop(0)
                running[place] = context.Process(target=_worker, args=(work, planned[place], place, said))
                running[place].start()
            dead = {place for place, process in running.items() if not process.is_alive()}
            for place, word in _heard(said):
                if isinstance(word, Exception):
                    raise word
                if isinstance(word, SweepRecord):
                    dead.discard(place)
                    running.pop(place).join()
                yield place, word
            if lost := dead & running.keys():
                raise BenchFault(
                    f"the process that swept {planned[min(lost)].scenario} died",
                    hint="run the command again: it goes on where it stopped",
                )
    finally:
        _end(list(running.values()))


def _heard(said: Any) -> Iterator[tuple[int, News | SweepRecord | Exception]]:
    """What was said until now; waits a moment for the first."""
    patience = POLL_S
    while True:
        try:
            yield said.get(timeout=patience)
        except queue.Empty:
            return
        patience = 0.0


def _end(processes: Sequence[BaseProcess]) -> None:
    """SIGTERM lets them give back boards and emulators."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _worker(work: Work, job: Job, place: int, said: Any) -> None:
    # Ctrl-C reaches the whole group of processes; it is the parent's to end this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    last = 0.0

    def tell(news: News) -> None:
        nonlocal last
        if news.done == 0 or time.monotonic() - last > POLL_S:
            last = time.monotonic()
            said.put((place, news))

    try:
        said.put((place, work(job, tell)))
    except RigError as error:
        said.put((place, error))
    except Exception:
        said.put((place, WorkerFailed(traceback.format_exc())))
