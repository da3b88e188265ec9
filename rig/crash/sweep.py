"""One recording's crash images on one board: booted or covered, judged against model and invariants, added up."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rig.boards.image_boots import ImageBooter
from rig.crash.chain import follow, otadata_offset
from rig.crash.explore import Booted, Explored, Explorer, Known, Lab
from rig.crash.images import CrashImages
from rig.crash.journal import Journal
from rig.crash.model import ModelBooter
from rig.crash.names import Cut, Name
from rig.crash.outcomes import Progress
from rig.crash.recording import Recording
from rig.crash.repeat import Repeater
from rig.crash.scenarios import SCENARIOS
from rig.crash.story import Story, understand
from rig.crash.tally import Tally
from rig.evidence.records import SweepRecord
from rig.idf.effects import Mutation
from rig.idf.image import extent
from rig.idf.memory import FlashImage, verify
from rig.idf.partitions import Partition
from rig.idf.watched import WatchedFlash

Told = Callable[[int, int, int], None]
"""Told how many crash images are done, how many there are, and how many were booted."""


@dataclass(frozen=True)
class Bench:
    """Where crash images are booted: `open_booter` gives one chip, `at_once` of them work side by side."""

    board: str
    kind: str
    open_booter: Callable[[], ImageBooter]
    at_once: int = 1


def sweep(
    recording: Recording, bench: Bench, journal: Journal, *, depth: int = 1, told: Told | None = None
) -> SweepRecord:
    """Explore every crash image of `recording`; with `depth` 2 also those of a second cut in the boot that follows.

    Raises BenchFault when the bench fails; what was booted until then stays in `journal`.
    """
    began = time.monotonic()
    known = Known()
    known.add(journal.load())
    journal.begin(known.booted)
    images = CrashImages.of(recording)
    with _Labs(recording, bench, journal) as labs:
        story = story_of(recording)
        tally, total = Tally(story), len(images)
        for explored in Explorer(images, labs.boot, known, bench.at_once).explore():
            tally.add(explored)
            if depth > 1 and explored.seen.mutations:
                second = _Second(story, tally, labs, known)
                point = explored.point
                name, saw = Name(recording.name, (point.cut,)), story.progress(point.prefix)
                second.explore(images.build(point), explored, name, saw, story.interrupted(point.cut), depth - 1)
            if told is not None:
                told(tally.images, total, len(known))
    journal.finish()
    header = recording.header
    scenario = SCENARIOS.get(header.scenario)
    return SweepRecord(
        scenario=header.scenario,
        summary=scenario.summary if scenario else "",
        board=bench.board,
        kind=bench.kind,
        chip=header.chip,
        idf_version=header.idf_version,
        variant=header.variant,
        verdict=tally.verdict,
        images=tally.images,
        nested_images=tally.nested,
        booted=len(known),
        duration_s=time.monotonic() - began,
        mutations=tally.mutations(),
        outcomes=tally.outcomes(),
        windows=tally.windows(),
        findings=tally.findings(),
    )


def model_of(recording: Recording) -> ModelBooter:
    """The model as the board that the recording was made on should behave."""
    header = recording.header
    return ModelBooter(recording.boot_config, header.app_idf_version, recording.table, header.diagnostics)


def story_of(recording: Recording) -> Story:
    """The recording, understood; what boots at its beginning is asked of the model."""
    images = CrashImages.of(recording)
    flash = WatchedFlash.of(images.build(images.point(Cut(recording.header.begin))))
    chain = follow(model_of(recording), flash, otadata_offset(recording.table)).chain
    return understand(recording, chain.last.slot or "")


def second_run(recording: Recording, name: Name, image: FlashImage, mutations: Sequence[Mutation]) -> Recording:
    """The power-up that follows a crash image, as a recording of its own; its base has no hash, it is never saved."""
    header = recording.header.model_copy(
        update={"scenario": str(name), "begin": 0, "base_sha256": "", "secure_version": image.secure_version}
    )
    return Recording(header, image.read(0, len(image)), tuple(mutations))


@dataclass(frozen=True)
class _Second:
    """Second cuts, in the first power-up after a crash image, and further ones after these."""

    story: Story
    tally: Tally
    labs: _Labs
    known: Known

    def explore(self, image: FlashImage, explored: Explored, name: Name, seen: Progress, cut: str, depth: int) -> None:
        """`image`: the crash image `name`; `seen`: what its cuts saw; `cut`: what they cut short."""
        recording = second_run(self.story.recording, name, image, explored.seen.mutations)
        inner = self.story.followed_by(recording)
        images = CrashImages.of(recording)
        for found in Explorer(images, self.labs.boot, self.known, self.labs.at_once).explore():
            here = found.point.cut
            if here.number == 0:
                continue  # the crash image itself
            joined = seen.joined(inner.progress(found.point.prefix))
            interrupted = inner.interrupted(here) or cut
            inner_name = Name(name.scenario, (*name.cuts, here))
            self.tally.add_nested(inner_name, found.seen, joined, interrupted, inner.what_at(here.number))
            if depth > 1 and found.seen.mutations:
                self.explore(images.build(found.point), found, inner_name, joined, interrupted, depth - 1)


class _Labs:
    """As many labs as may work at once, made when they are needed."""

    def __init__(self, recording: Recording, bench: Bench, journal: Journal) -> None:
        self._recording = recording
        self._bench = bench
        self._journal = journal
        self._free: queue.SimpleQueue[Lab] = queue.SimpleQueue()
        self._made: list[Lab] = []
        self._threads = ThreadPoolExecutor(bench.at_once, "sweep")
        self._new_image = new_image(recording)

    @property
    def at_once(self) -> int:
        return self._bench.at_once

    def __enter__(self) -> _Labs:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for lab in self._made:
            lab.close()

    def boot(self, images: list[FlashImage]) -> list[Booted]:
        """Boot them side by side; each is in the journal before this returns."""
        boot_all = map if len(images) == 1 else self._threads.map
        booted = list(boot_all(self._boot, images))
        self._journal.add(booted)
        return booted

    def _boot(self, image: FlashImage) -> Booted:
        with self._lab() as lab:
            return lab.boot(image)

    @contextlib.contextmanager
    def _lab(self) -> Iterator[Lab]:
        try:
            lab = self._free.get_nowait()
        except queue.Empty:
            lab = self._make()
        try:
            yield lab
        finally:
            self._free.put(lab)

    def _make(self) -> Lab:
        model = model_of(self._recording)
        otadata = self._recording.table.otadata_for_bootloader
        offset = otadata.offset if otadata else None
        repeater = Repeater(model, self._new_image, offset)
        lab = Lab(self._bench.open_booter(), model, repeater, offset)
        self._made.append(lab)
        return lab


def new_image(recording: Recording) -> bytes:
    """The image that the run downloaded: what is in the app slot it wrote at the end; empty if that is no image."""
    flash = recording.start()
    written: Partition | None = None
    for mutation in recording.mutations:
        flash.apply(mutation)
        offset = getattr(mutation, "offset", -1)
        written = next((part for part in recording.table.app_slots if part.offset == offset), written)
    if written is None:
        return b""
    image = flash.read(written.offset, extent(flash, written.offset, written.size))
    return image if verify(flash, written.offset, written.size, recording.boot_config).check.ok else b""
