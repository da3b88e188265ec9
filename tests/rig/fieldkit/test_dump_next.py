"""The next boot that is told of a dump: that of ESP-IDF's own code, and that of the model run directly."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rig.fieldkit.dump import explain_dump
from rig.idf.bootloader import run
from rig.idf.config import IDF_VERSIONS, BootConfig, idf_family
from rig.idf.image_build import build_bootloader
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ERASED_SEQ, ImageState, SelectEntry, seq_crc
from rig.idf.vector_images import image
from rig.idf.vectors import Row, layout_table, read_rows
from tests.rig.fieldkit.dumps import CODE, CSV, WITH_FACTORY, app, flash, next_slot, put

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
ROWS_OF_EACH = 30
UNKNOWABLE = ("rev", "maxrev")
"""Images whose fate hangs on the chip's revision, which no dump has."""
MODES = {"norb": "no app rollback", "rb": "app rollback"}
FILES = sorted(VECTORS.glob("a-*.jsonl.gz"))


def dump_of(row: Row) -> bytes:
    table = layout_table(row.layout)
    content = bytearray(b"\xff" * max(part.end for part in table.entries))
    put(content, 0x1000, build_bootloader(chip="esp32"))
    put(content, 0x8000, table.to_binary())
    for number, sector in enumerate(row.otadata):
        put(content, 0xD000 + 0x1000 * number, sector)
    for name, spec in row.slots.items():
        part = table.slot(name)
        assert part is not None
        put(content, part.offset, image(spec))
    return bytes(content)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_the_next_boot_is_that_of_the_c_code(path):
    rows = [row for row in read_rows(path) if not any(spec.startswith(UNKNOWABLE) for spec in row.slots.values())]
    checked = 0
    for row in islice(rows, 0, None, len(rows) // ROWS_OF_EACH):
        told = explain_dump(dump_of(row), "dump.bin")
        mode = MODES.get(row.cfg, f"anti-rollback, eFuse at {row.efuse}")
        if not any(text.startswith(mode) for step in told.next_boots for text in step.configurations):
            # an eFuse between none and the highest that an image asks for
            assert row.cfg == "arb"
            continue
        version, out = next(iter(row.steps[0].outs.items()))
        assert next_slot(told.next_boots, mode, idf_family(version)) == out.booted, row.line
        checked += 1
    assert checked > ROWS_OF_EACH // 4


seqs = st.one_of(st.integers(0, 6), st.sampled_from([ERASED_SEQ, ERASED_SEQ - 1, 0x80000000]))
states = st.one_of(st.sampled_from([int(state) for state in ImageState]), st.integers(5, 0x100))


@st.composite
def entries(draw: st.DrawFn) -> bytes:
    seq, state, good = draw(seqs), draw(states), draw(st.booleans())
    label = draw(st.sampled_from([b"\xff" * 20, bytes(20), b"a" * 20]))
    return SelectEntry(seq, label, state, seq_crc(seq) if good else draw(st.integers(0, 0xFFFFFFFF))).pack()


@settings(max_examples=40, deadline=None)
@example(b"\xff" * 32, b"\xff" * 32, CSV)
@given(entries(), entries(), st.sampled_from([CSV, WITH_FACTORY]))
def test_any_otadata_is_told_as_the_model_boots_it(first, second, csv):
    content = flash((first.hex(), second.hex()), csv=csv)
    told = explain_dump(content, "dump.bin")
    seen = 0
    for version in IDF_VERSIONS:
        plain = BootConfig(idf_version=version, chip="esp32c3", chip_revision=100)
        for mode, config in (
            ("no app rollback", plain),
            ("app rollback", replace(plain, rollback=True)),
            ("anti-rollback, eFuse at 0", replace(plain, rollback=True, anti_rollback=True)),
        ):
            memory = FlashImage(content)
            result, _ = complete(run(memory, config), memory)
            assert next_slot(told.next_boots, mode, version) == result.slot
            seen += 1
    assert seen == sum(_configurations(step.configurations) for step in told.next_boots)


def _configurations(texts: list[str]) -> int:
    return sum(len(IDF_VERSIONS) if "every" in text else text.count(",") - ("eFuse" in text) + 1 for text in texts)


def test_unconfirmed_it_goes_back_and_that_is_said():
    told = explain_dump(flash(("seq 1 VALID", "seq 2 NEW")), "dump.bin")
    likeliest = told.next_boots[0]
    assert likeliest.slot == "ota_1"
    assert "reset before it is confirmed: ota_0" in likeliest.why
    assert "D boot: otadata[1] is selected as new and marked PENDING_VERIFY state" in likeliest.why


@pytest.mark.parametrize(
    ("states", "mode"),
    [
        (("UNDEFINED", "UNDEFINED"), "no app rollback"),
        (("VALID", "PENDING_VERIFY"), "app rollback"),
        (("ABORTED", "VALID"), "app rollback"),
        (("VALID", "NEW"), "app rollback"),
    ],
)
def test_the_likeliest_configuration_comes_first_with_its_reason(states, mode):
    told = explain_dump(flash((f"seq 1 {states[0]}", f"seq 2 {states[1]}")), "dump.bin")
    assert told.next_boots[0].configurations[0].split(" (")[0] == mode
    assert states[0] in str(told.notes) or states[1] in str(told.notes)


def test_texts_in_bootloader_and_app_tell_their_configuration():
    app_with_rollback = app("1.0.0", code=CODE + b"Running app has not confirmed state (ESP_OTA_IMG_PENDING_VERIFY)")
    entries = ("seq 1 VALID", "erased")
    told = explain_dump(flash(entries, {"ota_0": app_with_rollback}), "dump.bin")
    assert told.next_boots[0].configurations[0].startswith("app rollback")
    assert "built with app rollback" in str(told.notes)
    content = bytearray(flash(entries))
    put(content, 0, build_bootloader(chip="esp32c3", data=b"Enabled a check secure version of app for anti rollback"))
    told = explain_dump(bytes(content), "dump.bin")
    assert told.next_boots[0].configurations[0].startswith("anti-rollback")


def test_a_low_secure_version_is_barred_where_the_efuse_says_so():
    apps = {"ota_0": app("1.0.0", secure_version=0), "ota_1": app("2.0.0", secure_version=3)}
    told = explain_dump(flash(("seq 3 VALID", "seq 2 VALID"), apps), "dump.bin")
    for burnt, slot in ((0, "ota_0"), (3, "ota_1")):
        assert next_slot(told.next_boots, f"anti-rollback, eFuse at {burnt}", "v5.5") == slot
