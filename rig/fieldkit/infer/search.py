"""The search: from every beginning, boot by boot, along what apps may have done between; the cheapest ways survive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from rig.fieldkit.infer.beginnings import beginnings
from rig.fieldkit.infer.sighting import Sighting
from rig.fieldkit.infer.world import Act, Booted, Pair, World, same
from rig.idf.otadata import ImageState, SelectEntry

MOST_BOOTS = 60
"""Boots of a log that are gone through: more say nothing of its beginning."""
SPREAD = 6.0
"""A way that costs so much more than the cheapest is given up."""
_SILENT_CONFIRM = 0.5
"""Nothing is printed at INFO when an app confirms itself."""
_UPDATE, _ANOTHER_SLOT, _TWICE, _SET_BOOT = 1.0, 2.0, 3.0, 2.0
_ERASE, _HIDDEN, _CUT, _BY_CABLE = 3.0, 3.0, 4.0, 5.5
CONFIRM = Act("confirm")
REJECT = Act("reject")
BOOT = Act("boot")
CUT = Act("cut")


class Way(NamedTuple):
    """Otadata at the beginning, what was done behind each boot, otadata at the end; `cost`: how odd it all is."""

    begin: Pair
    acts: tuple[tuple[Act, ...], ...]
    end: Pair
    cost: float


def ways(world: World, seen: Sequence[Sighting]) -> list[Way]:
    """Every beginning that explains all of `seen` in this world, cheapest first, each with its cheapest way."""
    seen = seen[:MOST_BOOTS]
    live = [Way(pair, (), pair, cost) for pair, cost in beginnings(seen, world.layout.ota_count, world.config.rollback)]
    live = _with_hidden(world, live)
    for place, item in enumerate(seen):
        after = seen[place + 1] if place + 1 < len(seen) else None
        reached = [way for before in live for way in _booted(world, before, item)]
        live = _cheapest(_acted(world, reached, item, after))
    best: dict[Pair, Way] = {}
    for way in live:
        if way.begin not in best or way.cost < best[way.begin].cost:
            best[way.begin] = way
    return sorted(best.values(), key=lambda way: way.cost)


class _Up(NamedTuple):
    """A boot has come up. `done`: what its app has done before it said anything about otadata."""

    way: Way
    done: tuple[Act, ...]


def fits(world: World, booted: Booted, before: Pair, item: Sighting) -> bool:
    """Whether the model's boot is the one that the log shows."""
    slot = world.layout.named(item.slot)
    if item.gave_up != (booted.slot is None) and (item.gave_up or slot is not None):
        return False
    if slot is not None and slot != booted.slot:
        return False
    if not item.decisions <= booted.decisions:
        return False
    if item.complete and (item.decisions != booted.decisions or not booted.rejected <= item.rejected):
        return False
    if item.seqs is not None and item.seqs != _seqs(before):
        return False
    return item.marked is None or item.marked == booted.marked


def _says(world: World, pairs: Sequence[Pair], slot: str | None, item: Sighting) -> bool:
    """Whether the app of that slot would say the state that it says, with one of these in otadata."""
    if item.state is None or slot is None:
        return True
    return any(world.state(pair, slot) == item.state for pair in pairs)


def _shows(pair: Pair, item: Sighting) -> bool:
    return all(entry is None or same(have, entry) for have, entry in zip(pair, item.entries, strict=True))


def _seqs(pair: Pair) -> tuple[int, int]:
    return int.from_bytes(pair[0][:4], "little"), int.from_bytes(pair[1][:4], "little")


def _booted(world: World, way: Way, item: Sighting) -> Iterator[_Up]:
    """An app may say what is in otadata when it comes up, or when it has confirmed itself."""
    booted = world.boot(way.end, item.rejected)
    if not fits(world, booted, way.end, item):
        return
    slot = booted.slot
    if _says(world, [booted.pair], slot, item) and _shows(booted.pair, item):
        yield _Up(way._replace(end=booted.pair), ())
    confirmed = None if slot is None else world.act(CONFIRM, booted.pair, slot)
    if confirmed is not None and _says(world, [booted.pair, confirmed], slot, item) and _shows(confirmed, item):
        cost = way.cost + (0.0 if item.confirms else _SILENT_CONFIRM)
        yield _Up(way._replace(end=confirmed, cost=cost), (CONFIRM,))


def _with_hidden(world: World, live: list[Way]) -> list[Way]:
    """Power lost while the bootloader of a boot that nobody saw was writing."""
    cut = [
        way._replace(acts=((CUT,),), end=pair, cost=way.cost + _CUT)
        for way in live
        if (pair := world.interrupted(way.end)) is not None
    ]
    return [way._replace(acts=((),)) for way in live] + cut


def _acted(world: World, reached: list[_Up], item: Sighting, after: Sighting | None) -> Iterator[Way]:
    running = world.layout.named(item.slot)
    for way, done in reached:
        slot = running or world.boot(way.end, item.rejected).slot
        for cost, acts in _choices(world, item, after, slot):
            if done and CONFIRM in acts:
                continue
            pair = _all_done(world, acts, way.end, slot)
            if pair is not None:
                yield way._replace(acts=(*way.acts, done + acts), end=pair, cost=way.cost + cost)


def _all_done(world: World, acts: Sequence[Act], pair: Pair, slot: str | None) -> Pair | None:
    for act in acts:
        after = _done(world, act, pair, slot)
        if after is None:
            return None
        pair = after
    return pair


def _done(world: World, act: Act, pair: Pair, slot: str | None) -> Pair | None:
    if act is BOOT:
        booted = world.boot(pair, frozenset())
        return booted.pair if booted.pair != pair else None
    if act is CUT:
        return world.interrupted(pair)
    return None if slot is None and act.call not in ("erase", "otadata") else world.act(act, pair, slot or "")


def _choices(
    world: World, item: Sighting, after: Sighting | None, slot: str | None
) -> Iterator[tuple[float, tuple[Act, ...]]]:
    """What may have been done before the next boot: by the app, then from outside."""
    confirms: list[tuple[float, tuple[Act, ...]]] = (
        [(0.0, (CONFIRM,)), (0.1, ())] if item.confirms else [(0.0, ()), (_SILENT_CONFIRM, (CONFIRM,))]
    )
    if after is None:
        yield from confirms
        return
    if slot is None:
        yield from ((0.0, ()), (_ERASE, (Act("erase"),)))
        yield from ((_BY_CABLE, (Act("otadata", pair=pair),)) for pair in _before(after))
        return
    if item.rejects:
        yield 0.0, (REJECT,)
        yield 1.0, ()
        return
    wanted = world.layout.named(after.slot)
    changes: list[tuple[float, tuple[Act, ...]]] = [(0.0, ())]
    for other in world.layout.slots:
        if other == slot:
            continue
        if other.startswith("ota_"):
            far = 0.0 if other == wanted else _ANOTHER_SLOT
            changes.append((_UPDATE + far, (Act("update", other),)))
            changes.append((_UPDATE + far + _TWICE, (Act("update", other), Act("update", other))))
        changes.append((_SET_BOOT + (0.0 if other == wanted else _ANOTHER_SLOT), (Act("set_boot", other),)))
    changes += [(_BY_CABLE, (Act("otadata", pair=pair),)) for pair in _before(after)]
    changes += [(_ERASE, (Act("erase"),)), (_HIDDEN, (BOOT,)), (_CUT, (CUT,)), (_CUT, (REJECT,))]
    changes += [
        (_UPDATE + _HIDDEN, (Act("update", other), BOOT))
        for other in world.layout.slots
        if other.startswith("ota_") and other != slot
    ]
    for (cost, first), (more, then) in product(confirms, changes):
        yield cost + more, first + then


def _before(after: Sighting) -> Iterator[Pair]:
    """Otadata that somebody may have written, if the next boot shows it: as it is there, or what becomes that."""
    first, second = after.entries
    if first is None or second is None:
        return
    for one, two in product(_earlier(first), _earlier(second)):
        yield one.pack(), two.pack()


def _earlier(entry: SelectEntry) -> Iterator[SelectEntry]:
    yield entry
    became = {ImageState.PENDING_VERIFY: ImageState.NEW, ImageState.ABORTED: ImageState.PENDING_VERIFY}
    for now, before in became.items():
        if entry.state == now:
            yield entry._replace(state=int(before))


def _cheapest(found: Iterator[Way]) -> list[Way]:
    """Of ways with the same beginning and end the cheapest; none that is far from the best."""
    best: dict[tuple[Pair, Pair], Way] = {}
    for way in found:
        known = best.get((way.begin, way.end))
        if known is None or way.cost < known.cost:
            best[way.begin, way.end] = way
    limit = min((way.cost for way in best.values()), default=0.0) + SPREAD
    return [way for way in best.values() if way.cost <= limit]
