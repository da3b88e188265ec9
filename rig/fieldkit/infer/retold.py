"""A way that the search found, told as a scenario for the test app."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rig.fieldkit import steps
from rig.fieldkit.entries import entry_words
from rig.fieldkit.infer.layout import Layout
from rig.fieldkit.infer.search import BOOT, CUT, Way
from rig.fieldkit.infer.sighting import Sighting
from rig.fieldkit.infer.world import Act
from rig.fieldkit.scenario import Firmware, Scenario, Start
from rig.fieldkit.steps import Diagnosis, Image, Step
from rig.idf.config import BootConfig

VARIANTS = {
    (False, 2): ("rollback", "no_rollback"),
    (True, 2): ("factory", "factory_no_rollback"),
    (False, 3): ("three_slots", "three_slots"),
    (True, 3): ("factory_three_slots", "factory_three_slots"),
}
"""By factory app and number of OTA slots: the build variant with app rollback, and the one for builds without."""
FIRST, LATER = "1.0.0", "2.0.0"
WAITING: Diagnosis = "manual"
"""What diagnostics do so that nothing is confirmed which the story does not confirm."""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,30}")


def retold(
    layout: Layout,
    config: BootConfig,
    app_config: BootConfig,
    way: Way,
    seen: Sequence[Sighting],
    name: str,
    versions: tuple[str, ...],
) -> Scenario:
    """Without expectation. Versions are those of the log where it says them."""
    teller = _Teller(layout, seen)
    told = tuple(teller.steps(way))
    first = teller.app_slot
    slots = {
        slot: Image(version=teller.version_at(slot, 0))
        for slot in layout.slots
        if slot != first and slot.startswith("ota_") and slot not in teller.bad_at_first
    }
    words = (entry_words(way.begin[0]), entry_words(way.begin[1]))
    return Scenario(
        name=name,
        summary=_summary(way, words),
        text="\n".join(teller.tale(way)),
        firmware=_firmware(layout, config, app_config, versions),
        start=Start(version=teller.version_at(first, 0), otadata=words, slots=slots, diagnostics=WAITING),
        steps=told,
    )


def _firmware(layout: Layout, config: BootConfig, app_config: BootConfig, versions: tuple[str, ...]) -> Firmware:
    pair = VARIANTS.get((layout.factory, layout.ota_count))
    with_rollback, without = pair or VARIANTS[layout.factory, 2]
    variant = with_rollback if app_config.rollback else without
    return Firmware.model_validate(
        {
            "variant": variant,
            "rollback": False if not app_config.rollback and variant == with_rollback else None,
            "bootloader": "no_rollback" if app_config.rollback and not config.rollback else None,
            "partitions": None if pair else layout.small_csv(),
            "idf_versions": versions,
        }
    )


def _summary(way: Way, words: tuple[str, str]) -> str:
    acts = [str(act) for done in way.acts for act in done]
    return f"Explains the log from otadata {words[0]}; {words[1]}" + (f", with {', '.join(acts)}." if acts else ".")


class _Teller:
    """Goes along the boots and keeps in mind whether an app runs, and whether it still waits."""

    def __init__(self, layout: Layout, seen: Sequence[Sighting]) -> None:
        self._layout = layout
        self._seen = seen
        self.app_slot = "factory" if layout.factory else "ota_0"
        self.bad_at_first = frozenset(seen[0].rejected)
        self._bad = set(self.bad_at_first)
        self._stopped = True
        self._waits = True
        self._came_up = False

    def steps(self, way: Way) -> Iterator[Step]:
        if self.app_slot in self.bad_at_first:
            yield steps.Erase(where=self.app_slot)
        yield from self._acts(way.acts[0], 0)
        for place, item in enumerate(self._seen):
            yield from self._images(item, place)
            if not self._came_up:
                yield self._start(place)
            self._came_up = False
            self._stopped = self._layout.named(item.slot) is None
            yield from self._acts(way.acts[place + 1], place + 1)

    def version_at(self, slot: str, place: int) -> str:
        """What runs in that slot from boot `place` on, as the log says it at the next chance."""
        for item in self._seen[place:]:
            if self._layout.named(item.slot) == slot and item.version and _VERSION.fullmatch(item.version):
                return item.version
        return FIRST if place == 0 else LATER

    def tale(self, way: Way) -> Iterator[str]:
        """The same for people, a line for each boot."""
        for place, item in enumerate(self._seen):
            done = ", then ".join(str(act) for act in way.acts[place + 1])
            slot = self._layout.named(item.slot) or "nothing bootable"
            yield f"Boot {place + 1}: {slot}" + (f", then {done}." if done else ".")

    def _images(self, item: Sighting, place: int) -> Iterator[Step]:
        """What the bootloader of this boot refused must be bad by now, and what it starts good."""
        slot = self._layout.named(item.slot)
        for name in sorted(item.rejected - self._bad):
            if name in self._layout.slots:
                yield from self._by_cable(steps.Corrupt(where=name, bits=3))
                self._bad.add(name)
        if slot in self._bad and slot is not None and slot not in item.rejected:
            yield from self._by_cable(steps.Cable(slot=slot, image=Image(version=self.version_at(slot, place))))
            self._bad.discard(slot)

    def _by_cable(self, step: Step) -> Iterator[Step]:
        self._stopped, self._came_up = True, False
        yield step

    def _start(self, place: int) -> Step:
        """As the log says that the boot before ended."""
        before = self._seen[place - 1] if place else None
        if self._stopped or before is None:
            return steps.Boot()
        if before.ends in ("panic", "watchdog"):
            return steps.Crash(how="panic" if before.ends == "panic" else "watchdog")
        return steps.Reset(how="power") if before.powered else steps.Restart()

    def _acts(self, acts: Sequence[Act], place: int) -> Iterator[Step]:
        for act in acts:
            yield from self._act(act, place)

    def _act(self, act: Act, place: int) -> Iterator[Step]:
        if act is BOOT:
            yield steps.Boot()
        elif act is CUT:
            yield steps.Cut(during=steps.Boot(), where="otadata", kind="erase")
            self._stopped = True
        elif act.call == "erase":
            yield from self._by_cable(steps.Erase(where="otadata"))
        elif act.call == "otadata" and act.pair is not None:
            first, second = map(entry_words, act.pair)
            yield from self._by_cable(steps.WriteOtadata(entries=(first, second)))
        elif act.call == "confirm":
            self._waits = False
            yield steps.Confirm()
        elif act.call == "reject":
            self._waits = False
            self._came_up = True
            yield steps.Reject()
        elif act.call == "set_boot":
            yield from self._wait_again()
            yield steps.SetBoot(slot=act.slot)
        else:
            yield from self._wait_again()
            yield steps.Update(image=Image(version=self.version_at(act.slot, place)), slot=act.slot)
            self._bad.discard(act.slot)

    def _wait_again(self) -> Iterator[Step]:
        if not self._waits:
            self._waits = True
            yield steps.Diagnose(outcome=WAITING)
