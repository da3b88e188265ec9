"""The judge on encrypted flash: what a power cut can leave there, and boards that do not encrypt as they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.record import record
from rig.crash.scenarios import SCENARIOS
from rig.errors import NotApplicable, UserError
from rig.evidence import encryption, entry_words
from rig.evidence.encryption_hazards import (
    encrypted_by_another_key,
    encrypted_for_elsewhere,
    encryption_hazards,
    plaintext_in_slot,
)
from rig.evidence.predict import Overlay, Prediction, left_by_cut, predict
from rig.evidence.records import Hazard, Verdict
from rig.evidence.trial import Trial
from rig.evidence.witnesses import KnownFlash
from rig.idf.config import BootConfig
from rig.idf.effects import Erase, Program
from rig.idf.encrypted_layout import encrypted_content
from rig.idf.flash_cipher import XtsAes
from rig.idf.image import build_image
from rig.idf.otadata import ImageState, make_entry
from rig.idf.partitions import PartitionTable
from rig.virtual.encrypted_flash import EncryptedFlash
from tests.qualification.states import BLANK, entry
from tests.rig.bench import Bench, virtual_bench

OTADATA = 0xD000
CIPHER = XtsAes(bytes(range(32)))
OTHER = XtsAes(bytes(range(32, 64)))
VALID = make_entry(1, ImageState.VALID).pack()
NEW = make_entry(2, ImageState.NEW).pack()
PENDING = make_entry(2, ImageState.PENDING_VERIFY).pack()
ERASED = entry_words.erased_entries(CIPHER, OTADATA)
TABLE = PartitionTable.from_csv(
    """
    nvs,     data, nvs,   0x9000,  0x4000
    otadata, data, ota,   0xd000,  0x2000
    ota_0,   app,  ota_0, 0x10000, 0x10000
    ota_1,   app,  ota_1, 0x20000, 0x10000
    """
)
CONFIG = BootConfig(rollback=True)


def known(*entries: bytes) -> KnownFlash:
    """Encrypted flash with an app in both slots and these entries."""
    content = bytearray(b"\xff" * 0x30000)
    app = build_image(chip="esp32", version="1.0.0")
    parts = {0x8000: TABLE.to_binary(), 0x10000: app, 0x20000: app}
    parts |= {OTADATA + 0x1000 * number: data for number, data in enumerate(entries)}
    for offset, data in parts.items():
        content[offset : offset + len(data)] = data
    return KnownFlash(encrypted_content(bytes(content), CIPHER, TABLE, 0x8000), secure_version=0, cipher=CIPHER)


def boot(*entries: bytes) -> Prediction:
    return predict(known(*entries), CONFIG, TABLE)


class TestTheModel:
    def test_it_boots_from_encrypted_flash(self) -> None:
        seen = boot(VALID, NEW)
        assert (seen.result.slot, seen.otadata) == ("ota_1", (VALID, PENDING))
        assert seen.states == ((VALID, NEW), (VALID, ERASED[1]), (VALID, PENDING))

    def test_an_erased_entry_is_noise_that_nothing_selects(self) -> None:
        raw = known(VALID, NEW).with_known(OTADATA, b"\xff" * 0x2000)
        seen = predict(raw, CONFIG, TABLE)
        assert "will try all partitions" in seen.logs[[log.level for log in seen.logs].index("E")].text
        assert (seen.result.slot, seen.otadata) == ("ota_0", ERASED)

    def test_a_plaintext_image_does_not_boot(self) -> None:
        raw = known(VALID, make_entry(2, ImageState.VALID).pack())
        assert predict(raw, CONFIG, TABLE).result.slot == "ota_1"
        raw = raw.with_known(0x20000, build_image(chip="esp32", version="2.0.0"))
        assert predict(raw, CONFIG, TABLE).result.slot == "ota_0"


def test_programming_twice_leaves_what_the_cells_hold() -> None:
    """A second write without an erase only clears bits of the ciphertext: noise, not the AND of the two texts."""
    overlay = Overlay(known())
    overlay.apply(Erase(0x20000))
    overlay.apply(Program(0x20000, b"\x0f" * 16))
    overlay.apply(Program(0x20000, b"\xf0" * 16))
    first, second = (CIPHER.encrypt(0x20000, text * 16) for text in (b"\x0f", b"\xf0"))
    both = bytes(a & b for a, b in zip(first, second, strict=True))
    assert overlay.read(0x20000, 16) == CIPHER.decrypt(0x20000, both)
    assert overlay.read(0x20010, 16) == CIPHER.decrypt(0x20010, b"\xff" * 16)


APP = build_image(chip="esp32", version="2.0.0")


class TestWhyASlotIsNotRead:
    """ota_1 is chosen, and its image was cut short after some blocks."""

    def hazards(self, raw: bytes) -> list[Hazard]:
        flash = known(VALID, NEW).with_known(0x20000, raw.ljust(0x10000, b"\xff"))
        prediction = predict(flash, CONFIG, TABLE)
        assert prediction.result.slot == "ota_0"
        return encryption_hazards(flash, TABLE, prediction)

    @given(st.integers(0, len(APP) // 16 - 1))
    def test_an_image_that_was_cut_short_is_not_blamed_on_the_key(self, blocks: int) -> None:
        assert self.hazards(CIPHER.encrypt(0x20000, APP[: 16 * blocks])) == []

    @given(st.integers(1, len(APP) // 16))
    def test_one_in_plaintext_is_named(self, blocks: int) -> None:
        assert self.hazards(APP[: 16 * blocks]) == [plaintext_in_slot("ota_1")]

    @given(st.integers(1, len(APP) // 16))
    def test_one_for_another_slot_is_named(self, blocks: int) -> None:
        assert self.hazards(CIPHER.encrypt(0x10000, APP[: 16 * blocks])) == [encrypted_for_elsewhere("ota_1", "ota_0")]

    @given(st.integers(1, len(APP) // 16))
    def test_one_for_another_key_is_named(self, blocks: int) -> None:
        assert self.hazards(OTHER.encrypt(0x20000, APP[: 16 * blocks])) == [encrypted_by_another_key("ota_1")]


def as_read(raw: bytes) -> bytes:
    return CIPHER.decrypt(OTADATA + 0x1000, raw)


def as_written(data: bytes) -> bytes:
    return CIPHER.encrypt(OTADATA + 0x1000, data)


class TestWhatACutLeaves:
    """NEW becomes PENDING_VERIFY in entry 1, encrypted."""

    prediction = boot(VALID, NEW)

    def trust(self, second: bytes, first: bytes = VALID) -> str:
        return left_by_cut(self.prediction, (first, second), OTADATA)

    @given(st.integers(0, 32))
    def test_any_number_of_bytes_of_the_ciphertext(self, done: int) -> None:
        assert self.trust(as_read(as_written(PENDING)[:done] + b"\xff" * (32 - done))) == "whole"
        assert self.trust(as_read(b"\xff" * done + as_written(NEW)[done:])) == "whole"

    @given(st.integers(1, 31))
    def test_not_of_the_plaintext(self, done: int) -> None:
        """What a board leaves that writes plaintext, or whose erased sectors read as blank."""
        assert self.trust(PENDING[:done] + b"\xff" * (32 - done)) == "no"
        assert self.trust(b"\xff" * 32) == "no"
        assert self.trust(as_read(PENDING[:done] + b"\xff" * (32 - done))) == "no"

    @given(st.binary(min_size=32, max_size=32))
    def test_nor_just_any_noise(self, noise: bytes) -> None:
        assert self.trust(noise) == "no"

    def test_nor_a_change_of_the_other_entry(self) -> None:
        assert self.trust(PENDING, first=ERASED[0]) == "no"

    def test_nor_what_another_key_wrote(self) -> None:
        assert self.trust(as_read(OTHER.encrypt(OTADATA + 0x1000, PENDING))) == "no"

    def test_single_bits_left_behind_are_doubtful(self) -> None:
        some = bytes(byte | 0x11 for byte in as_written(PENDING))
        assert self.trust(as_read(some)) == "torn"


def test_an_entry_in_words() -> None:
    def words(second: bytes) -> str:
        return entry_words.words((VALID, second), 1, CIPHER, OTADATA)

    assert words(NEW) == "seq 0x2 NEW"
    assert words(ERASED[1]) == entry_words.ERASED
    assert words(as_read(NEW)) == "seq 0x2 NEW, in plaintext, reads as noise"
    assert "CRC" in words(as_read(bytes(32)))


# --- on a board ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def running(bench: Bench) -> Trial:
    trial = bench.trial()
    trial.install("flash_encryption", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    return trial


def test_a_board_that_writes_otadata_in_plaintext_is_found(running: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    otadata = running.offset("otadata")
    sound = EncryptedFlash.program

    def program(self: EncryptedFlash, offset: int, data: bytes) -> None:
        if otadata <= offset < otadata + 0x2000:
            self._raw.program(offset, data)
        else:
            sound(self, offset, data)

    monkeypatch.setattr(EncryptedFlash, "program", program)
    running.update("2.0.0")
    running.power_cycle()
    found = running.judge()
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert "seq 0x2 NEW, in plaintext, reads as noise" in found.reason


def test_a_board_that_runs_a_plaintext_image_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = bench.trial()
    trial.install("flash_encryption", otadata=(entry(1, "VALID"), entry(2, "VALID")))
    slot = trial.offset("ota_1")
    trial.cable.write("ota_1", trial.image_of("flash_encryption", "2.0.0"))
    sound = EncryptedFlash.read

    def read(self: EncryptedFlash, offset: int, size: int) -> bytes:
        return self._raw.read(offset, size) if offset >= slot else sound(self, offset, size)

    monkeypatch.setattr(EncryptedFlash, "read", read)
    assert trial.boot().slot == "ota_1"
    found = trial.judge()
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert plaintext_in_slot("ota_1") in found.hazards


def test_a_board_that_leaves_an_update_in_plaintext_shows_it(running: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge sees a good boot; it is the slot read by cable, as ENC-11 does, that tells."""
    slot = running.offset("ota_1")
    sound = EncryptedFlash.read, EncryptedFlash.program

    def read(self: EncryptedFlash, offset: int, size: int) -> bytes:
        return self._raw.read(offset, size) if offset >= slot else sound[0](self, offset, size)

    def program(self: EncryptedFlash, offset: int, data: bytes) -> None:
        self._raw.program(offset, data) if offset >= slot else sound[1](self, offset, data)

    monkeypatch.setattr(EncryptedFlash, "read", read)
    monkeypatch.setattr(EncryptedFlash, "program", program)
    running.update("2.0.0")
    image = running.image_of("flash_encryption", "2.0.0")
    assert running.cable.read("ota_1", len(image)) == image
    assert running.cable.read_as_chip("ota_1", len(image)) != image


def test_a_board_whose_erased_flash_reads_as_blank_is_found(running: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hide what a real chip does with otadata that was erased by cable."""
    trial = running
    trial.install("flash_encryption")
    trial.cable.write("otadata", b"\xff" * 0x2000)
    sound = EncryptedFlash.read

    def read(self: EncryptedFlash, offset: int, size: int) -> bytes:
        raw = self._raw.read(offset, size)
        return raw if raw.count(0xFF) == size else sound(self, offset, size)

    monkeypatch.setattr(EncryptedFlash, "read", read)
    trial.boot()
    found = trial.judge()
    assert found.verdict is Verdict.FIRMWARE_FAIL
    assert "No factory image, trying OTA 0" in found.details
    assert "entry 0 before   |                                 | erased, reads as noise" in found.details
    trial.record()
    assert entry_words.ERASED in (trial.folder / "otadata.txt").read_text()


def test_the_next_test_gets_a_chip_without_encryption(running: Trial, bench: Bench) -> None:
    trial = bench.trial()
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
    assert trial.boot().slot == "ota_0"
    assert trial.cable.read("otadata", 32) == entry(1, "VALID")
    assert trial.finish().verdict is Verdict.PASS


def test_what_the_cable_refuses(running: Trial) -> None:
    with pytest.raises(UserError, match="right after"):
        running.cable.write("otadata", b"\xff" * 0x1000)
    with pytest.raises(UserError, match="do not fit into ota_1"):
        running.cable.write("ota_1", bytes(0x100001))


def test_no_crash_images_are_made_of_an_encrypted_flash(bench: Bench) -> None:
    scenario = replace(SCENARIOS["update-ok"], variant="flash_encryption")
    with pytest.raises(NotApplicable, match="none are made of an encrypted flash"):
        record(scenario, bench.trial())


def test_a_board_without_flash_encryption_says_so(bench: Bench) -> None:
    board = replace(bench.board, missing={"flash_encryption": "its eFuses are not to be burnt"})
    build = bench.shelf.build("flash_encryption", "1.0.0")
    with pytest.raises(NotApplicable, match="its eFuses are not to be burnt"):
        encryption.key_for(build, board)
    assert encryption.key_for(bench.shelf.build("rollback", "1.0.0"), board) is None
    assert encryption.key_for(build, replace(board, encryption_key=b"k" * 32)) == b"k" * 32


def test_keys_are_new_and_as_long_as_the_build_says(bench: Bench) -> None:
    build = bench.shelf.build("flash_encryption", "1.0.0")
    assert encryption.key_for(build, bench.board) != encryption.key_for(build, bench.board)
    wide = replace(build, sdkconfig={**build.sdkconfig, "SECURE_FLASH_ENCRYPTION_AES256": True})
    assert len(encryption.key_for(wide, bench.board) or b"") == 64
