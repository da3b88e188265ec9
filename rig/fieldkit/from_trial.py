"""The steps of a test as a scenario that plays them again, and expects what was seen. Pure.

What a scenario cannot hold is left out, with a sentence for each such thing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from rig.evidence.moments import OnEvent, OnLine
from rig.evidence.report_page.text import clean, one_line
from rig.evidence.taken import Call, Taken
from rig.evidence.witnesses import ENTRY
from rig.fieldkit import steps
from rig.fieldkit.entries import ERASED_BYTES, entry_words
from rig.fieldkit.from_trial_images import Images
from rig.fieldkit.from_trial_seen import UNKNOWN, SeenConsole, Window
from rig.fieldkit.scenario import Expect, Firmware, Scenario, Start
from rig.fieldkit.subject import OK, SeenBoot
from rig.idf.config import IDF_VERSIONS
from rig.protocol import escape
from rig.updates.uart import NO_FAULTS

NONE = "none"
WAITS = ("wait_start", "wait_given_up")
NETWORK = ("connect", "download", "download_error", "failed_download")
WITH_ANSWER = ("update", "set_boot", "confirm", "erase_previous", "reject")
Model = TypeVar("Model", bound=steps.Table)


class Facts(NamedTuple):
    """What is known of the test besides its steps.

    `variants`: by the name that the test uses, the build variant that took its place. `otadata`: both entries at the
    end, None if nobody read them then.
    """

    test: str
    demanded: tuple[str, ...]
    verdict: str
    reason: str
    board: str
    chip: str
    idf_version: str
    variants: Mapping[str, str]
    encrypted: bool
    console: SeenConsole
    otadata: tuple[bytes, bytes] | None


def scenario_of(taken: Taken, facts: Facts) -> Scenario | None:
    """None if the test never brought its board into a known state."""
    installs = [number for number, call in enumerate(taken.calls) if call.name == "install"]
    if not installs:
        return None
    story = _Story(taken, facts)
    story.begin(taken.calls[installs[-1]])
    for call in taken.calls[installs[-1] + 1 :]:
        story.tell(call)
    return story.end()


class _Story:
    """Grows call by call."""

    def __init__(self, taken: Taken, facts: Facts) -> None:
        self._taken = taken
        self._facts = facts
        self._images = Images(taken.images, facts.variants)
        self._left_out: dict[str, None] = {}
        self._firmware = Firmware()
        self._start = Start()
        self._steps: list[steps.Step] = []
        self._answers: list[str | None] = []
        self._before: list[SeenBoot] = []
        self._windows: list[Window] = []
        self._needs: set[str] = set()
        self._delayed = self._waiting = False

    # --- where it begins -------------------------------------------------------------------------------------------

    def begin(self, call: Call) -> None:
        given = call.arguments
        self._images.variant = given["variant"]
        name = self._facts.variants.get
        bootloader = given["bootloader_of"]
        self._firmware = Firmware(
            variant=name(given["variant"], given["variant"]),
            idf_versions=(self._facts.idf_version,) if self._facts.idf_version in IDF_VERSIONS else (),  # type: ignore[arg-type]
            bootloader=None if bootloader is None else name(bootloader, bootloader),
        )
        if given["table_of"] is not None:
            self._leave_out(f"The partition table was that of the variant {given['table_of']}, not the app's own.")
        if self._facts.encrypted:
            self._leave_out("Flash was encrypted, and a scenario holds no key.")
        entries = tuple(map(self._entry, given["otadata"]))
        images = {slot: image for slot, data in (given["slots"] or {}).items() if (image := self._image(data, slot))}
        start = {"version": given["version"], "secure_version": given["secure_version"]}
        if given["secure_version"]:
            self._needs.add("efuse")
        if given["diagnostics"] is None:
            self._start = self._made(Start, **start, otadata=entries, slots=images) or Start()
            return
        self._start = self._made(Start, **start) or Start()
        self._begin_with_outcome(given, images, (entries[0], entries[1]))

    def _begin_with_outcome(
        self, given: Mapping[str, Any], images: Mapping[str, steps.Image], entries: tuple[str, str]
    ) -> None:
        """The app runs once to be told the outcome; what the test is about is put in by cable afterwards."""
        if given["bootloader_of"] is not None or given["secure_version"]:
            self._leave_out("The app was told the outcome of its diagnostics before bootloader or eFuses were put in.")
        self._steps.append(steps.Boot())
        if (start := self._taken.before) is not None:
            self._before.append(SeenBoot(start.slot, start.version, start.state))
        self._add(steps.Diagnose, outcome=given["diagnostics"])
        for slot, image in images.items():
            self._add(steps.Cable, slot=slot, image=image)
        self._add(steps.WriteOtadata, entries=entries)

    def _entry(self, data: bytes) -> str:
        if len(data) > ENTRY:
            self._leave_out("A select entry's sector held more than the entry.")
        return entry_words(data[:ENTRY] + ERASED_BYTES[len(data) :])

    # --- its steps -------------------------------------------------------------------------------------------------

    def tell(self, call: Call) -> None:
        """One thing that the test did."""
        if call.name in WAITS:
            return
        cuts = call.name.startswith("power_lost")
        step = self._cut(call) if cuts else self._step(call)
        if step is None:
            return
        if cuts or _starts(call):
            self._end_window(call)
            self._no_delay_cut_short()
        self._steps.append(step)
        if cuts:
            return
        if _starts(call):
            self._windows.append(self._facts.console.window(call.name, call.began))
            self._waiting = self._delayed and any(step.do == "update" for step in self._steps)
        if step.do in WITH_ANSWER:
            self._answers.append(call.answer)

    def _step(self, call: Call) -> steps.Step | None:
        given = call.arguments
        match call.name:
            case "boot" | "boot_without_app" | "power_on" | "power_up":
                return steps.Boot()
            case "reset":
                return steps.Reset(how="line")
            case "power_cycle":
                return steps.Reset(how="power")
            case "restart" | "start_restart":
                return steps.Restart()
            case "crash":
                return self._made(steps.Crash, how=given["kind"])
            case "diagnostics":
                self._delayed = given["outcome"] == "delay"
                return self._made(steps.Diagnose, outcome=given["outcome"], seconds=given["seconds"])
            case "update" | "update_error" | "abandon_update":
                return self._update(call)
            case "confirm" | "confirm_error":
                return steps.Confirm()
            case "reject" | "reject_error":
                return steps.Reject()
            case "set_boot":
                return self._made(steps.SetBoot, slot=given["slot"])
            case "erase_previous":
                return steps.ErasePrevious()
            case "wait_confirmed":
                self._waiting = self._delayed = False
                return self._made(steps.Wait, seconds=given["timeout"], until="confirmed")
        self._leave_out(_cannot(call))
        return None

    def _update(self, call: Call) -> steps.Step | None:
        given = call.arguments
        if given.get("faults", NO_FAULTS) != NO_FAULTS:
            self._leave_out("A transfer over the UART was disturbed on purpose; here it goes undisturbed.")
        flip = given.get("flip")
        image = self._image(given.get("image", given.get("version")), "an update", flip, given.get("keep", 1.0))
        if image is None:
            return None
        slot = given.get("slot", "next")
        return self._made(steps.Update, image=image, slot=slot, stop_after=given.get("after"))

    def _cut(self, call: Call) -> steps.Step | None:
        """What is done until power is lost."""
        given = call.arguments
        inside = [self._step(done) for done in call.inside if done.name not in WAITS]
        if len(inside) != 1 or inside[0] is None:
            self._leave_out("Power was lost while something was done that no single step of a scenario is.")
            return None
        during = inside[0]
        if call.name == "power_lost_at":
            self._needs |= {"power_cut", "flash_mutations"}
            what = {key: given[key] for key in ("where", "kind", "nth", "phase")}
            return self._made(steps.Cut, during=during, **what)
        line = _line_of(call)
        if line is None:
            self._leave_out(_cannot(call))
            return None
        self._needs.add("power_cut")
        return self._made(steps.CutAtLine, during=during, line=line)

    def _image(
        self, data: str | bytes | None, where: str, flip: int | None = None, keep: float = 1.0
    ) -> steps.Image | None:
        found = self._images.image(data, flip, keep)
        if found is None:
            size = f"{len(data)} bytes" if data is not None else "something"
            self._leave_out(f"What was put into {where} ({size}) is no image that a scenario can describe.")
        return found

    def _no_delay_cut_short(self) -> None:
        """The last window is over. An app that is not on probation runs no diagnostics."""
        seen = self._facts.console.boots(self._windows[-1]) if self._waiting else ()
        if any(boot.state == "PENDING_VERIFY" for boot in seen):
            self._leave_out("The test went on while delayed diagnostics ran; a replay waits until they are over.")
        self._waiting = False

    def _end_window(self, call: Call) -> None:
        if self._windows and self._windows[-1].end is None:
            self._windows[-1] = self._windows[-1]._replace(end=call.began)

    # --- its end ---------------------------------------------------------------------------------------------------

    def end(self) -> Scenario:
        self._no_delay_cut_short()
        facts = self._facts
        boots = [*self._before, *(boot for window in self._windows for boot in facts.console.boots(window))]
        answers = [answer for answer in self._answers if answer is not None]
        expect = Expect(
            idf_versions=self._firmware.idf_versions,
            booted=tuple(boot.slot or NONE for boot in boots),
            versions=tuple(clean(boot.version or UNKNOWN) for boot in boots),
            states=tuple(clean(boot.state or UNKNOWN) for boot in boots),
            answers=tuple(map(clean, answers)) if len(answers) == len(self._answers) else None,
            otadata=None if facts.otadata is None else (entry_words(facts.otadata[0]), entry_words(facts.otadata[1])),
        )
        said = next(filter(None, map(one_line, facts.reason.splitlines())), "no reason was given")
        return Scenario(
            name=_name(facts.test),
            summary=_short(f"{facts.verdict}: {said}"),
            text=_text(facts),
            needs=tuple(sorted(self._needs)),
            test=one_line(facts.test),
            left_out=tuple(self._left_out),
            firmware=self._firmware,
            start=self._start,
            steps=tuple(self._steps),
            expect=(expect,),
        )

    # --- underneath ------------------------------------------------------------------------------------------------

    def _leave_out(self, sentence: str) -> None:
        self._left_out[sentence] = None

    def _add(self, kind: Callable[..., steps.Diagnose | steps.Cable | steps.WriteOtadata], /, **values: Any) -> None:
        step = self._made(kind, **values)
        if step is not None:
            self._steps.append(step)

    def _made(self, kind: Callable[..., Model], /, **values: Any) -> Model | None:
        """None, with a sentence, for values that a scenario does not allow."""
        try:
            return kind(**values)
        except ValidationError as error:
            what = error.errors()[0]
            where = ".".join(map(str, what["loc"]))
            self._leave_out(f"{error.title}: {one_line(where)} cannot be what it was: {one_line(what['msg'])}.")
            return None


def _starts(call: Call) -> bool:
    """Whether something comes up by it."""
    starts = ("boot", "boot_without_app", "power_on", "power_up", "reset", "power_cycle", "restart", "start_restart")
    return call.name in (*starts, "crash", "reject") or (call.name == "reject_error" and call.answer == OK)


def _line_of(call: Call) -> str | None:
    """The console line at which power was lost, as a regular expression; None if it was none."""
    if call.name == "power_lost_on_line":
        return str(call.arguments["pattern"])
    if call.name != "power_lost_after" or call.arguments["delay"]:
        return None
    match call.arguments["moment"]:
        case OnLine(pattern):
            return pattern.pattern.decode("utf-8", "backslashreplace")
        case OnEvent(word, fields):
            wanted = "".join(rf"(?=.* {name}={re.escape(escape(value))} )" for name, value in fields.items())
            return rf"@rig \S+ {word}(?= ){wanted}"
    return None


def _cannot(call: Call) -> str:
    """Why it is no step."""
    if call.name in NETWORK:
        return "The network was used, and a scenario updates over the UART only."
    if call.name == "power_lost_by_line":
        return "The board cut its own supply in a flash operation."
    if call.name == "power_lost_after":
        return f"Power was lost {call.arguments['delay']:g} s after {one_line(str(call.arguments['moment']))}."
    if call.name == "burn":
        return f"The app was told to burn secure version {call.arguments['version']} into the eFuse."
    if call.name == "write":
        return f"{one_line(call.arguments['where'])} was written by cable, past the chip's encryption."
    return f"The test did {one_line(call.name)}."


def _name(test: str) -> str:
    function = test.rpartition("::")[2].removeprefix("test_")
    words = re.findall(r"[a-z0-9]+", function.lower())
    return "-".join(words)[:61].rstrip("-") or "a-test"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _text(facts: Facts) -> str:
    return "\n".join(
        [
            *(f"Demanded: {one_line(sentence)}" for sentence in facts.demanded),
            f"Seen on {one_line(facts.board)} ({facts.chip}, ESP-IDF {one_line(facts.idf_version)}), {facts.verdict}:",
            clean(facts.reason).strip() or "no reason was given",
            "What is expected here is what was seen: the failure is reproduced if it comes about again.",
        ]
    )
