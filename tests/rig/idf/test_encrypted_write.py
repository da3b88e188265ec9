"""Updates in whole blocks: what esp_ota_write holds back, and what the end makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rig.idf import ota_ops
from rig.idf.config import BootConfig
from rig.idf.effects import Program
from rig.idf.encrypted_layout import encrypted_content, is_encrypted
from rig.idf.encrypted_write import PartialBlock
from rig.idf.flash_cipher import PLAIN, XtsAes
from rig.idf.image import build_image
from rig.idf.memory import FlashImage, complete
from rig.idf.ota_queries import AppContext
from rig.idf.partitions import Partition, PartitionTable

KEY = bytes(range(32))
TABLE = PartitionTable.from_csv(
    """
    otadata,  data, ota,      0xd000,  0x2000
    keys,     data, nvs_keys, 0xf000,  0x1000
    ota_0,    app,  ota_0,    0x10000, 0x10000
    ota_1,    app,  ota_1,    0x20000, 0x10000
    nvs,      data, nvs,      0x30000, 0x4000
    secrets,  data, fat,      0x34000, 0x1000, encrypted
    """
)


@given(st.lists(st.binary(min_size=1, max_size=70), max_size=12))
def test_whatever_the_pieces_whole_blocks_are_written_in_order(pieces: list[bytes]) -> None:
    partial = PartialBlock()
    written = b""
    for piece in pieces:
        for write in partial.cut(piece):
            assert write
            assert len(write) % 16 == 0
            written += write
    everything = b"".join(pieces)
    assert partial.filled == len(everything) % 16
    rest = partial.flush() if partial.filled else b""
    assert (written + rest)[: len(everything)] == everything
    assert len(written + rest) == len(everything) + -len(everything) % 16


def test_the_last_block_is_filled_with_zeros_until_one_was_written_for_itself() -> None:
    """calloc, then memset in esp_ota_write."""
    partial = PartialBlock()
    partial.cut(b"x" * 17)
    assert partial.flush() == b"x" + bytes(15)
    partial = PartialBlock()
    assert partial.cut(b"x") == []
    assert partial.cut(b"y" * 16) == [b"x" + b"y" * 15]
    assert partial.flush() == b"y" + b"\xff" * 15


def app(*, encrypted: bool) -> AppContext:
    flash = FlashImage.erased(0x40000)
    return AppContext(flash, TABLE, BootConfig(), "ota_0", encrypted=encrypted)


def update(context: AppContext, image: bytes, piece: int) -> tuple[str, list[Program]]:
    flash = context.memory
    assert isinstance(flash, FlashImage)
    (_, handle), _ = complete(ota_ops.esp_ota_begin(context, "ota_1", ota_ops.OTA_SIZE_UNKNOWN), flash)
    assert handle is not None
    effects = []
    for start in range(0, len(image), piece):
        error, done = complete(ota_ops.esp_ota_write(context, handle, image[start : start + piece]), flash)
        assert error == "ESP_OK"
        effects += done
    error, done = complete(ota_ops.esp_ota_end(context, handle), flash)
    return error, [effect for effect in [*effects, *done] if isinstance(effect, Program)]


def test_an_update_in_odd_pieces_arrives_whole() -> None:
    image = build_image(chip="esp32", version="2.0.0")
    context = app(encrypted=True)
    error, programs = update(context, image, 37)
    assert error == "ESP_OK"
    assert all(program.offset % 16 == len(program.data) % 16 == 0 for program in programs)
    assert context.memory.read(0x20000, len(image)) == image
    assert {len(program.data) for program in update(app(encrypted=False), image, 37)[1]} == {37, len(image) % 37}


def test_an_update_of_less_than_a_block_wrote_nothing() -> None:
    assert update(app(encrypted=True), b"\xe9" * 15, 15) == ("ESP_ERR_INVALID_ARG", [])


def test_which_partitions_are_encrypted() -> None:
    assert [part.label for part in TABLE.entries if is_encrypted(part)] == [
        "otadata",
        "keys",
        "ota_0",
        "ota_1",
        "secrets",
    ]
    assert is_encrypted(Partition("second", 0x02, 0x01, 0, 0x1000))


def test_the_host_encrypts_what_the_chip_deciphers_and_leaves_the_rest() -> None:
    cipher = XtsAes(KEY)
    content = bytearray(b"\xff" * 0x40000)
    image = b"image of no whole number of blocks"
    for offset, data in ((0, b"bootloader" * 20), (0x8000, TABLE.to_binary()), (0x10000, image), (0x30000, b"values")):
        content[offset : offset + len(data)] = data
    raw = encrypted_content(bytes(content), cipher, TABLE, 0x8000)

    def seen(offset: int, size: int) -> bytes:
        return cipher.decrypt(offset, raw[offset : offset + size])

    assert seen(0, 208) == bytes(content[:208])
    assert seen(0x8000, 0x1000) == bytes(content[0x8000:0x9000])
    assert seen(0xD000, 0x2000) == b"\xff" * 0x2000
    assert seen(0x10000, 48) == image.ljust(48, b"\xff")
    assert raw[0x10030:0x34000].replace(b"values", b"\xff" * 6) == b"\xff" * (0x34000 - 0x10030)
    assert encrypted_content(bytes(content), PLAIN, TABLE, 0x8000) == content
