"""What holds for every boot, whatever is in flash: the model's rules as properties."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rig.idf.bootloader import Pins, boot
from rig.idf.config import BootConfig
from rig.idf.effects import Erase, Program
from rig.idf.image import check_image
from rig.idf.memory import FlashImage, complete, cut_after
from rig.idf.otadata import ERASED, ImageState, SelectEntry, make_entry
from rig.idf.vector_images import image
from rig.idf.vectors import layout_table
from tests.rig.idf.model import ANTI_ROLLBACK, NO_ROLLBACK, PENDING, PINS, ROLLBACK, device, mutations

STATES = st.sampled_from([int(state) for state in ImageState] + [0x55])
ENTRIES = st.one_of(
    st.builds(make_entry, st.integers(0, 6) | st.just(0xFFFFFFFF), STATES),
    st.builds(make_entry, st.integers(1, 4), STATES).map(lambda entry: entry._replace(crc=1)),
    st.just(ERASED),
)
SPECS = st.sampled_from(["ok:1:1", "ok:2:2", "badhash:3:2", "badmagic", "nodesc:1", "erased", "ok:1:1@100"])
LAYOUTS = st.sampled_from(["n1", "n2", "f1", "f2", "n3t", "f5t", "n16", "f16t"])
CONFIGS = st.sampled_from([NO_ROLLBACK, ROLLBACK, ANTI_ROLLBACK, PINS])


@given(LAYOUTS, ENTRIES, ENTRIES, CONFIGS)
def test_an_invalid_or_aborted_entry_is_never_followed_while_a_selectable_one_exists(
    layout: str, first: SelectEntry, second: SelectEntry, config: BootConfig
) -> None:
    table = layout_table(layout)
    flash = device(table, first, second)
    result, _ = complete(boot(flash, table, config), flash)
    rollback = config is not NO_ROLLBACK
    usable = [e for e in (first, second) if e.valid and not (rollback and e.state == PENDING)]
    if usable:
        best = max(entry.seq for entry in usable)
        assert result.slot == f"ota_{((best - 1) & 0xFFFFFFFF) % table.ota_count_bootloader}"
    else:
        expected = "factory" if table.slot("factory") else "ota_0"
        assert result.slot == expected


@given(LAYOUTS, ENTRIES, ENTRIES, CONFIGS, st.integers(0, 3), st.lists(SPECS, min_size=4, max_size=4), st.booleans())
def test_the_effects_alone_lead_to_the_same_memory(
    layout: str,
    first: SelectEntry,
    second: SelectEntry,
    config: BootConfig,
    efuse: int,
    specs: list[str],
    pin: bool,
) -> None:
    table = layout_table(layout)
    names = ("ota_0", "ota_1", "factory", "test")
    flash = device(table, first, second, efuse, **dict(zip(names, specs, strict=True)))
    replayed = flash.copy()
    _, effects = complete(boot(flash, table, config, Pins(factory_reset=pin)), flash)
    for effect in effects:
        replayed.apply(effect)
    assert replayed.read(0, len(flash)) == flash.read(0, len(flash))
    assert replayed.secure_version == flash.secure_version


@given(ENTRIES, ENTRIES, CONFIGS, st.integers(0, 10), st.none() | st.integers(0, 32))
def test_a_cut_leaves_exactly_the_mutations_before_it(
    first: SelectEntry, second: SelectEntry, config: BootConfig, cut: int, torn: int | None
) -> None:
    table = layout_table("n2")
    pins = Pins(factory_reset=True)
    flash = device(table, first, second)
    whole, interrupted, expected = flash.copy(), flash.copy(), flash.copy()
    _, effects = complete(boot(whole, table, config, pins), whole)
    every = mutations(effects)
    end = cut_after(boot(interrupted, table, config, pins), interrupted, cut, torn)
    assert end.cut == (cut < len(every) if torn is not None or cut == 0 else cut <= len(every))
    for effect in every[:cut]:
        expected.apply(effect)
    if torn is not None and cut < len(every):
        effect = every[cut]
        if isinstance(effect, Erase):
            expected.load(effect.offset, b"\xff" * torn)
        elif isinstance(effect, Program):
            expected.apply(Program(effect.offset, effect.data[:torn]))
    assert interrupted.read(0, len(flash)) == expected.read(0, len(flash))
    assert interrupted.secure_version == expected.secure_version


@given(st.lists(st.tuples(st.integers(0x1FF00, 0x23100), st.binary(min_size=1, max_size=40)), max_size=6), SPECS)
def test_a_remembered_verdict_is_never_stale(writes: list[tuple[int, bytes]], spec: str) -> None:
    flash = device(layout_table("n1"), ota_0=spec)
    flash.verdict(0x20000, 0x3000, ROLLBACK)
    for offset, data in writes:
        flash.apply(Program(offset, data))
        assert flash.verdict(0x20000, 0x3000, ROLLBACK).check == check_image(flash, 0x20000, 0x3000, ROLLBACK)
    flash.apply(Erase(0x20000))
    assert not flash.verdict(0x20000, 0x3000, ROLLBACK).check.ok
    flash.load(0x20000, image("ok:5"))
    assert flash.verdict(0x20000, 0x3000, ROLLBACK).check.ok
    assert not flash.verdict(0x20000, 0x3000, replace(ROLLBACK, chip="esp32c3")).check.ok


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_programming_only_clears_bits_and_erasing_sets_a_whole_sector(first: bytes, second: bytes) -> None:
    flash = FlashImage.erased(0x3000)
    flash.apply(Program(0x1000, first))
    flash.apply(Program(0x1000, second))
    padded = [data.ljust(64, b"\xff") for data in (first, second)]
    assert flash.read(0x1000, 64) == bytes(a & b for a, b in zip(*padded, strict=True))
    flash.apply(Erase(0x1000))
    assert flash.read(0, 0x3000) == b"\xff" * 0x3000
