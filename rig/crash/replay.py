"""One crash image by its name: found, booted, and judged as a sweep judges it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rig.boards.image_boots import ImageBooter, PowerUp
from rig.crash.chain import Chain, otadata_offset
from rig.crash.explore import Lab
from rig.crash.images import CrashImages
from rig.crash.names import Name
from rig.crash.outcomes import CLASSES, Ending, Progress, classify
from rig.crash.recording import Recording
from rig.crash.repeat import Repeater
from rig.crash.story import Story
from rig.crash.sweep import model_of, new_image, second_run
from rig.crash.tally import told
from rig.evidence.records import Severity, Verdict
from rig.idf.effects import Mutation
from rig.idf.memory import FlashImage
from rig.idf.watched import WatchedFlash


class Located(NamedTuple):
    """A crash image, how far the run had come, the state that was being written then, and what was being written."""

    image: FlashImage
    progress: Progress
    interrupted: str
    where: str


@dataclass(frozen=True)
class Replayed:
    """What came of it: the class on the board and the one of the model, and what each did, in words.

    `deviates`: what they did is not the same; `log`: the console of the first power-up.
    """

    name: Name
    where: str
    outcome: str
    model_outcome: str
    board_did: str
    model_did: str
    deviates: bool
    log: bytes

    @property
    def verdict(self) -> Verdict:
        """Firmware fail for what the model does not do, or where nothing may be well even though it does."""
        broken = CLASSES[self.outcome].severity is Severity.BROKEN
        return Verdict.FIRMWARE_FAIL if broken or self.deviates else Verdict.PASS


BootOnce = Callable[[FlashImage], Sequence[Mutation]]
"""The mutations of the power-up that follows a crash image."""


def locate(recording: Recording, story: Story, name: Name, boot_once: BootOnce) -> Located:
    """Build the crash image. `boot_once` is asked for names with several cuts. UserError for a cut there is not."""
    run, inner, made = recording, story, Name(name.scenario, ())
    progress, interrupted, image = Progress(), "", recording.start()
    for cut in name.cuts:
        if made.cuts:
            run = second_run(recording, made, image, boot_once(image))
            inner = story.followed_by(run)
        images = CrashImages.of(run)
        point = images.point(cut)
        image = images.build(point)
        progress = progress.joined(inner.progress(point.prefix))
        interrupted = inner.interrupted(cut) or interrupted
        made = Name(name.scenario, (*made.cuts, cut))
    return Located(image, progress, interrupted, inner.what_at(name.cuts[-1].number))


def replay(recording: Recording, story: Story, name: Name, located: Located, booter: ImageBooter) -> Replayed:
    """Boot it on `booter` and on the model. Raises BenchFault."""
    model, otadata = model_of(recording), otadata_offset(recording.table)
    kept = _Keeping(booter)
    lab = Lab(kept, model, Repeater(model, new_image(recording), otadata), otadata)
    seen = lab.boot(located.image).seen

    def class_of(chain: Chain) -> str:
        return classify(Ending(chain, seen.intact, seen.repeats), located.progress, located.interrupted, story.setting)

    log = kept.first.log if kept.first is not None else b""
    return Replayed(
        name,
        located.where,
        class_of(seen.board),
        class_of(seen.model),
        told(seen.board, seen.board_writes, seen.model_writes),
        told(seen.model, seen.model_writes, seen.board_writes),
        seen.deviates,
        log,
    )


class _Keeping:
    """An `ImageBooter` that keeps the first power-up of another one."""

    def __init__(self, booter: ImageBooter) -> None:
        self.first: PowerUp | None = None
        self._booter = booter

    def boot(self, flash: WatchedFlash) -> PowerUp:
        power_up = self._booter.boot(flash)
        self.first = self.first or power_up
        return power_up

    def close(self) -> None:
        self._booter.close()
