"""Dumps explained: what lies where, the verdict, damage of the file itself."""

from __future__ import annotations

import gzip
import random

import esptool
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import UserError
from rig.fieldkit.dump import LARGEST, explain_dump
from rig.fieldkit.dump_find import looks_like_flash
from rig.fieldkit.explain import explain_file
from rig.fieldkit.explained import ExplainedImage, Explanation
from rig.fieldkit.verdicts import FieldVerdict as V
from rig.virtual.chip import build_chip
from rig.virtual.port import plugged
from tests.rig.fieldkit.dumps import CSV, FLASH, TABLE, WITH_FACTORY, app, flash, put

SECTOR = 0x1000
IMAGE = app("2.0.0")


def explained(data: bytes, base: int | None = None) -> Explanation:
    return explain_dump(data, "dump.bin", base)


def image(told: Explanation, slot: str) -> ExplainedImage:
    return next(item for item in told.images if item.slot == slot)


def test_a_whole_flash_tells_everything():
    told = explained(flash(("seq 1 VALID", "seq 2 PENDING_VERIFY")))
    assert told.kind == "flash dump"
    assert [(part.label, part.offset) for part in told.table][1] == ("otadata", "0xd000")
    assert [(entry.slot, entry.state, entry.crc) for entry in told.otadata] == [
        ("ota_0", "VALID", "good"),
        ("ota_1", "PENDING_VERIFY", "good"),
    ]
    assert [(item.slot, item.offset, item.content, item.version) for item in told.images] == [
        ("ota_0", "0x10000", "good", "1.0.0"),
        ("ota_1", "0x30000", "good", "2.0.0"),
    ]
    assert image(told, "ota_1").length == len(IMAGE)
    assert told.facts["base"] == "0x0"
    assert (told.facts["chip"], told.facts["bootloader"]) == ("esp32c3", "v5.5")
    # with rollback the app on probation is aborted, without it starts again
    assert [step.slot for step in told.next_boots] == ["ota_0", "ota_1"]
    assert told.next_boots[0].configurations[0] == "app rollback (every ESP-IDF version)"
    assert "writes otadata[1]: seq 0x2 PENDING_VERIFY becomes seq 0x2 ABORTED" in told.next_boots[0].why
    assert told.verdict is V.INCONCLUSIVE
    assert told.evidence == [0xE000]


@pytest.mark.parametrize(
    ("entries", "verdict", "evidence"),
    [
        (("erased", "erased"), V.NO_TRANSITION, [0xD000, 0xE000]),
        (("seq 1 VALID", "erased"), V.NO_TRANSITION, [0xD000]),
        (("seq 1 VALID", "seq 2 VALID"), V.CONFIRMED, [0xE000]),
        (("seq 3 UNDEFINED", "seq 2 UNDEFINED"), V.NO_TRANSITION, [0xD000]),
        (("seq 1 VALID", "seq 2 NEW"), V.INCONCLUSIVE, [0xE000]),
        (("seq 1 VALID", "seq 2 ABORTED"), V.ROLLBACK_CAUSE_UNKNOWN, [0xE000, 0xD000]),
        (("seq 1 VALID", "seq 2 INVALID"), V.ROLLBACK_CAUSE_UNKNOWN, [0xE000, 0xD000]),
        (("seq 3 VALID", "seq 2 ABORTED"), V.CONFIRMED, [0xD000]),
        (("seq 3 NEW", "seq 3 NEW"), V.ROLLBACK_TARGET_LOST, [0xD000, 0xE000]),
        (("seq 3 VALID", "seq 3 VALID"), V.UPDATED_TARGET_LOST, [0xD000, 0xE000]),
        (("erased", "seq 2 VALID"), V.UPDATED_TARGET_LOST, [0xE000, 0xD000]),
        (("seq 3 PENDING_VERIFY", "erased"), V.ROLLBACK_TARGET_LOST, [0xD000, 0xE000]),
        (("seq 1 ABORTED", "erased"), V.ROLLBACK_TARGET_LOST, [0xD000]),
        (("seq 1 ABORTED", "seq 2 ABORTED"), V.ROLLBACK_TARGET_LOST, [0xD000, 0xE000]),
        (("erased", "seq 2 ABORTED"), V.RECOVERED_DEGRADED, [0xD000, 0xE000]),
        (("seq 1 0x55", "erased"), V.OTADATA_FOREIGN, [0xD000]),
        (("seq 1 VALID, bad CRC", "erased"), V.RECOVERED_DEGRADED, [0xD000, 0xE000]),
        (("seq 1 VALID, bad CRC", "seq 2 VALID"), V.RECOVERED_DEGRADED, [0xD000]),
        (("00" * 32, "00" * 32), V.OTADATA_FOREIGN, [0xD000]),
        (("01000000" + "41" * 20 + "02000000" + "9a984347", "erased"), V.OTADATA_FOREIGN, [0xD000]),
    ],
)
def test_verdicts_of_otadata(entries, verdict, evidence):
    told = explained(flash(entries))
    assert (told.verdict, told.evidence) == (verdict, evidence), told.reasons
    assert told.findings[0].reasons == told.reasons


def test_without_the_table_a_lone_entry_says_less():
    for words, with_factory in (("seq 1 VALID", V.CONFIRMED), ("seq 1 ABORTED", V.ROLLBACK_CAUSE_UNKNOWN)):
        content = flash((words, "erased"), csv=WITH_FACTORY)
        assert explained(content).verdict is with_factory
        assert explained(content[0xD000:0xF000]).verdict is V.INCONCLUSIVE


def test_with_factory_a_failed_first_update_goes_back_to_it():
    told = explained(flash(("seq 1 ABORTED", "erased"), csv=WITH_FACTORY))
    assert told.verdict is V.ROLLBACK_CAUSE_UNKNOWN
    assert {step.slot for step in told.next_boots} == {"factory"}


@pytest.mark.parametrize("kept", [4, 20, 25, 28, 31])
def test_a_torn_entry_is_no_foreign_one(kept):
    whole = bytes.fromhex("03000000" + "ff" * 20 + "00000000" + "1a5a5a5a")
    torn = (whole[:kept] + b"\xff" * (32 - kept)).hex()
    told = explained(flash((torn, "seq 2 VALID")))
    assert told.verdict is V.INCONCLUSIVE
    assert "broke off" in told.reasons[0]
    assert {step.slot for step in told.next_boots} == {"ota_1"}
    alone = explained(flash((torn, "erased")))
    assert alone.verdict is V.RECOVERED_DEGRADED


def test_other_data_behind_an_entry_is_foreign():
    content = bytearray(flash())
    put(content, 0xD800, b"somebody else's")
    assert explained(bytes(content)).verdict is V.OTADATA_FOREIGN


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_update_cut_short_is_torn_where_it_ends(share):
    kept = int(len(IMAGE) * share)
    told = explained(flash(("seq 1 VALID", "erased"), {"ota_0": app("1.0.0"), "ota_1": IMAGE[:kept]}))
    torn = image(told, "ota_1")
    end = len(IMAGE[:kept].rstrip(b"\xff"))
    assert (torn.content, torn.damage) == ("torn", f"{0x30000 + end:#x}")
    assert told.verdict is V.NO_TRANSITION
    assert "under way or broke off" in str(told.findings)


def test_old_data_behind_new_is_torn_where_they_meet():
    old = bytes(0x8000)
    mixed = IMAGE[:0x2345] + b"\xff" * (0x3000 - 0x2345) + old[0x3000:]
    told = explained(flash(("seq 1 VALID", "erased"), {"ota_0": app("1.0.0"), "ota_1": mixed}))
    assert (image(told, "ota_1").content, image(told, "ota_1").damage) == ("torn", "0x32345")


def test_a_flipped_bit_of_hash_or_code_and_other_content():
    hash_off = bytearray(IMAGE)
    hash_off[-1] ^= 1
    code_off = bytearray(IMAGE)
    code_off[0x1234] ^= 1
    noise = random.Random(1).randbytes(0x4000)
    contents = {
        bytes(hash_off): "bad hash",
        bytes(code_off): "damaged",
        b"": "erased",
        noise: "encrypted",
        b"<html>" * 99: "foreign",
        app("2.0.0", chip="esp32s3"): "foreign",
    }
    for data, content in contents.items():
        told = explained(flash(("seq 1 VALID", "erased"), {"ota_0": app("1.0.0"), "ota_1": data}))
        assert image(told, "ota_1").content == content
        assert image(told, "ota_0").content == "good"


def test_data_that_begins_like_an_image_for_another_chip_makes_no_app_foreign():
    content = bytearray(flash())
    put(content, 0x60000, app("x", chip="esp32")[:24] + bytes(100))
    assert {item.content for item in explained(bytes(content[TABLE:])).images} == {"good"}


def test_a_damaged_chosen_image_and_what_starts_instead():
    broken = bytearray(IMAGE)
    broken[0x1234] ^= 1
    told = explained(flash(apps={"ota_0": app("1.0.0"), "ota_1": bytes(broken)}))
    assert told.verdict is V.FALLBACK_INVALID
    assert told.evidence == [0x30000]
    assert {step.slot for step in told.next_boots} == {"ota_0"}
    nothing = explained(flash(apps={"ota_1": bytes(broken)}))
    assert nothing.verdict is V.UNBOOTABLE
    assert {step.slot for step in nothing.next_boots} == {None}


def test_an_app_flashed_where_the_table_has_none():
    content = bytearray(flash(("erased", "erased"), {}))
    put(content, 0x60000, IMAGE)
    told = explained(bytes(content), 0)
    assert told.verdict is V.BENCH_FAULT
    assert told.evidence[0] == 0x60000


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        ("a,app,factory,0x10000,0x10000\nb,app,ota_0,0x20000,0x10000\n", "no otadata partition"),
        ("o,data,ota,0xd000,0x2000\na,app,ota_0,0x10000,0x20000\n", "nowhere to go"),
        ("o,data,ota,0xd000,0x1000\na,app,ota_0,0x10000,0x20000\nb,app,ota_1,0x30000,0x20000\n", "wants 0x2000"),
        ("o,data,ota,0xd000,0x2000\na,app,ota_0,0x10000,0x20000\nb,app,ota_2,0x30000,0x20000\n", "without a gap"),
    ],
)
def test_tables_that_cannot_work(csv, words):
    told = explained(flash(("erased", "erased"), csv=csv))
    assert V.MISCONFIGURATION in {finding.verdict for finding in told.findings}
    assert words in str(told.findings)


def test_a_table_larger_than_the_bootloader_knows_flash():
    csv = CSV + "data,data,fat,0x100000,0x400000\n"
    told = explained(flash(csv=csv))
    assert told.verdict is V.MISCONFIGURATION
    assert "exceeds flash chip size 0x400000" in str(told.reasons)


def test_a_damaged_table_boots_nothing_but_is_shown():
    content = bytearray(flash())
    content[TABLE + 32 * 5 + 20] ^= 1
    told = explained(bytes(content))
    assert told.verdict is V.UNBOOTABLE
    assert len(told.table) == 5
    assert {step.slot for step in told.next_boots} == {None}


@pytest.mark.parametrize("base", [0x0, 0x1000, 0x8000, 0x9000, 0xD000])
@pytest.mark.parametrize("table_offset", [0x8000, 0xC000])
def test_any_base_is_found(base, table_offset):
    csv = CSV if table_offset == 0x8000 else CSV.replace("nvs,data,nvs,0x9000,0x4000\n", "")
    content = flash(("seq 1 VALID", "seq 2 ABORTED"), csv=csv, table_offset=table_offset)[base:]
    given = None if base <= table_offset else base
    told = explained(content, given)
    if base > table_offset:
        # neither table nor bootloader: otadata is found by its entries
        assert [entry.state for entry in told.otadata] == ["VALID", "ABORTED"]
        assert told.evidence == [0xE000, 0xD000]
        return
    assert (told.facts["base"], told.facts["table_offset"]) == (f"{base:#x}", f"{table_offset:#x}")
    assert told.verdict is V.ROLLBACK_CAUSE_UNKNOWN
    assert told.evidence == [0xE000, 0xD000]
    assert {item.content for item in told.images} == {"good"}


def test_otadata_with_or_without_the_table():
    content = flash(("seq 1 VALID", "seq 2 ABORTED"))
    small = explained(content[0x8000:0x10000])
    assert (small.facts["base"], small.verdict) == ("0x8000", V.ROLLBACK_CAUSE_UNKNOWN)
    assert {item.content for item in small.images} == {"not in the file"}
    assert "taken" not in str(small.images)
    assert any("ota_0, ota_1" in text for text in small.next_boots[0].assumes)
    for alone in (content[0xD000:0xF000], content[0xD000:0xD020] + content[0xE000:0xE020]):
        told = explained(alone)
        assert told.verdict is V.ROLLBACK_CAUSE_UNKNOWN
        assert {step.slot for step in told.next_boots} == {"ota_0"}
        assert told.evidence == [len(alone) // 2, 0]
        assert "base" not in told.facts
        assert any("partition table" in text for text in told.unknown)
    one = explained(content[0xE000:0xF000])
    assert one.verdict is V.INCONCLUSIVE or one.otadata[0].state == "ABORTED"
    assert "which of them" in str(one.notes)


def test_a_base_that_does_not_fit_is_told():
    told = explained(flash()[0x8000:], 0x9000)
    assert "fits a beginning at flash offset 0x8000, not at 0x9000" in str(told.findings)


def test_a_base_that_nothing_tells_is_asked_for():
    csv = CSV.replace("0x9000,0x4000", "0xa000,0x3000")
    told = explained(flash(("erased", "seq 2 VALID"), {}, csv=csv, table_offset=0x9000)[0x9000:0x10000])
    assert "as well as at" in str(told.findings)
    assert "base" not in told.facts
    given = explained(flash(("erased", "seq 2 VALID"), {}, csv=csv, table_offset=0x9000)[0x9000:0x10000], 0x9000)
    assert (given.facts["table_offset"], given.otadata[1].state) == ("0x9000", "VALID")


def test_an_image_whose_end_lies_a_sector_early_is_not_taken_for_a_broken_off_update():
    short = IMAGE[:0x2000] + IMAGE[0x3000:]
    told = explained(flash(("seq 1 VALID", "erased"), {"ota_0": app("1.0.0"), "ota_1": short}))
    assert image(told, "ota_1").content == "damaged"
    assert "one sector early" in image(told, "ota_1").why


@pytest.mark.parametrize("missing", [*range(0x1000, 0x10000, 0x1000), 0x10000, 0x13000, 0x20000, 0x31000, 0x40000])
def test_one_missing_sector_is_noticed(missing):
    content = flash()
    told = explained(content[:missing] + content[missing + SECTOR :])
    good = {item.slot for item in told.images if item.content == "good"}
    lost = {0x13000: "ota_0", 0x10000: "ota_0", 0x31000: "ota_1"}.get(missing)
    assert lost not in good
    if missing in (0x8000, 0x40000):
        # the table itself, or erased flash behind everything: nothing tells, but nothing false is said either
        return
    if missing not in (0x10000, 0x31000):
        assert "missing" in str(told.findings), told.findings
    gap = next((finding.evidence for finding in told.findings if "missing from" in finding.reasons[0]), None)
    if gap:
        assert gap[0] <= missing < gap[1]


def test_a_file_cut_off_at_any_sector_never_claims_more_than_it_has():
    content = flash()
    for end in range(SECTOR, 0x38000, SECTOR):
        if end <= TABLE:
            with pytest.raises(UserError):
                explained(content[:end])
            continue
        for item in explained(content[:end]).images:
            whole = int(item.offset, 16) + len(IMAGE) <= end
            assert item.content == ("good" if whole else "not in the file")


def test_a_missing_sector_of_otadata_leaves_no_claim_on_it():
    content = flash(("seq 1 ABORTED", "seq 2 VALID"))
    told = explained(content[:0xE000] + content[0xF000:])
    assert {finding.verdict for finding in told.findings} == {V.INCONCLUSIVE}
    assert "missing sector may be one of otadata" in str(told.notes)
    assert "although a sector of it may be missing" in str(told.next_boots[0].assumes)


def test_a_sector_missing_behind_the_table_is_told_from_another_table_offset():
    content = flash(("erased", "erased"))
    told = explained(content[TABLE:0xA000] + content[0xB000:])
    assert told.facts["table_offset"] == "0x8000"
    assert (told.findings[0].evidence, told.facts["base"]) == ([0x9000, 0x10000], "0x8000")
    assert {item.content for item in told.images} == {"good"}


def test_flash_read_beyond_its_end_repeats():
    told = explained(flash() * 2)
    assert "repeats itself from 0x80000" in str(told.notes)
    assert told.facts["size"] == FLASH
    assert told.verdict is V.CONFIRMED


def test_what_tells_nothing():
    assert "0xFF" in explained(b"\xff" * 0x40000).reasons[0]
    assert "0x00" in explained(bytes(0x40000)).reasons[0]
    noise = random.Random(2).randbytes(0x40000)
    sealed = explained(noise + b"\xff" * 0x40000)
    assert (sealed.verdict, "encrypted" in sealed.reasons[0]) == (V.INCONCLUSIVE, True)
    for bad in (noise, b"", IMAGE, b"hello" * 2000):
        with pytest.raises(UserError):
            explained(bad)
    with pytest.raises(UserError, match="more than any chip"):
        explained(bytes(LARGEST + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4), st.randoms(use_true_random=False))
def test_hostile_content_never_crashes(kind, rng):
    content = bytearray(flash())
    places = [(0x8000, 0xC00), (0xD000, 64), (0xE000, 64), (0x10000, 0x200), (0, FLASH)]
    start, size = places[kind]
    for _ in range(rng.randint(1, 30)):
        content[start + rng.randrange(size)] = rng.randrange(256)
    told = explained(bytes(content[: rng.choice([FLASH, 0x20000, 0x11234])]))
    assert told.verdict in V
    assert told.model_validate_json(told.model_dump_json()) == told


def test_flash_is_told_from_text():
    content = flash()
    noise = random.Random(3).randbytes(0x10000)
    for sample in (content, content[0x8000:0x9000], content[0xD000:0xF000], b"\xff" * 0x10000, noise):
        assert looks_like_flash(sample)
    text = "I (31) boot: ESP-IDF v5.5 2nd stage bootloader é\r\n" * 100
    for sample in (b"", text.encode(), text.encode("utf-16"), b"\0" * 40 + text.encode()):
        assert not looks_like_flash(sample)


def test_a_compressed_file_and_a_wrong_one(tmp_path):
    content = flash(("seq 1 VALID", "seq 2 ABORTED"))
    for name, data in (("a.bin", content), ("b.bin.gz", gzip.compress(content))):
        path = tmp_path / name
        path.write_bytes(data)
        assert explain_file(path).verdict is V.ROLLBACK_CAUSE_UNKNOWN


def test_a_dump_by_esptool_of_a_board_stopped_in_an_update(tmp_path):
    read, kept = tmp_path / "read.bin", 0x2345
    chip = build_chip("dumped", "esp32c3", lambda cpu: None)
    chip.flash.load(0, flash(("seq 1 VALID", "erased"), {"ota_0": app("1.0.0"), "ota_1": IMAGE[:kept]}))
    with plugged(chip) as url:
        esptool.main(["--port", url, "read-flash", "--no-progress", hex(TABLE), hex(0x40000), str(read)])
    told = explain_file(read)
    assert (told.facts["base"], told.facts["chip"]) == ("0x8000", "esp32c3")
    assert image(told, "ota_1").damage == f"{0x30000 + kept:#x}"
    assert told.verdict is V.NO_TRANSITION
    assert {step.slot for step in told.next_boots} == {"ota_0"}
