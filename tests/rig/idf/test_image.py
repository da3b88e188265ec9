"""Images: what is built here is what esptool reads, and verifying finds what the bootloader would find."""

import hashlib
import struct
from contextlib import suppress

import pytest
from esptool.bin_image import LoadFirmwareImage
from esptool.cmds import image_info
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.chips import CHIPS, chip
from rig.idf.config import BootConfig
from rig.idf.errors import FormatError
from rig.idf.image import (
    build_bootloader,
    build_image,
    check_image,
    pack_image,
    parse,
    secure_version,
    segment_lines,
    xor_bytes,
)

NAMES = sorted(CHIPS)
SLOT, SIZE = 0x20000, 0x10000
SEGMENTS = [("dram", b"d" * 40), ("iram", b"i" * 41), ("irom", b"r" * 200)]


def app(name="esp32c3", **options):
    options = {"version": "1.2.3", "segments": SEGMENTS, "rodata": b"o" * 100, "secure_version": 7, **options}
    return build_image(chip=name, **options)


class Flash:
    """Only what is read: one image in erased flash."""

    secure_version = 0

    def __init__(self, image, offset=SLOT):
        self.image = bytes(image)
        self.offset = offset

    def read(self, offset, size):
        start = offset - self.offset
        data = self.image[start : start + size] if start >= 0 else b""
        return data + b"\xff" * (size - len(data))


def config_of(name="esp32c3", version="v5.5", **options):
    target = chip(name)
    return BootConfig(idf_version=version, chip=name, chip_revision=target.revision, **options)


def check(image, *, size=SIZE, offset=SLOT, **options):
    return check_image(Flash(image, offset), offset, size, config_of(**options))


def lines(result):
    return [f"{line.level} {line.tag}: {line.text}" for line in result.logs]


def patched(image, offset, data, *, rehash=False):
    changed = bytearray(image)
    changed[offset : offset + len(data)] = data
    if rehash:
        changed[-32:] = hashlib.sha256(changed[:-32]).digest()
    return bytes(changed)


# building


@pytest.mark.parametrize("name", NAMES)
def test_esptool_finds_checksum_and_hash_of_an_app_valid(name, capsys):
    image_info(app(name), name)
    shown = capsys.readouterr().out
    assert shown.count("(valid)") == 2
    assert "invalid" not in shown.lower()
    for line in ("Project name: rig_test_app", "App version: 1.2.3", "Secure version: 7", "ESP-IDF: v5.5"):
        assert line in shown


@pytest.mark.parametrize("name", NAMES)
def test_esptool_finds_checksum_and_hash_of_a_bootloader_valid(name, capsys):
    image_info(build_bootloader(chip=name, idf_version="v5.4.2"), name)
    shown = capsys.readouterr().out
    assert shown.count("(valid)") == 2
    assert "Bootloader Information" in shown
    assert "ESP-IDF: v5.4.2" in shown


@pytest.mark.parametrize("name", NAMES)
def test_esptool_and_parse_read_the_same_segments(name):
    image = app(name)
    theirs = [(segment.addr, bytes(segment.data)) for segment in LoadFirmwareImage(name, image).segments]
    ours = [(segment.load_address, segment.data) for segment in parse(image).segments]
    assert ours == theirs
    assert len(ours) == 4


def test_same_input_gives_same_bytes_and_another_version_another_image_and_elf_hash():
    assert app() == app()
    first, second = parse(app()), parse(app(version="1.2.4"))
    assert first.desc.elf_sha != second.desc.elf_sha
    assert first.sha256 != second.sha256


def test_descriptor_is_read_back():
    desc = parse(app(project="demo", date="Feb 29 2024", time="01:02:03", idf_version="v5.5.1")).desc
    assert (desc.version, desc.project, desc.secure_version) == ("1.2.3", "demo", 7)
    assert (desc.date, desc.time, desc.idf_ver, desc.mmu_page_size) == ("Feb 29 2024", "01:02:03", "v5.5.1", 0x10000)


def test_header_says_chip_flash_size_and_revisions():
    image = parse(app("esp32c3", flash_size="16MB", min_revision=101, max_revision=199))
    assert image.chip.name == "esp32c3"
    assert image.flash_size == 16 << 20
    assert (image.header.min_revision, image.header.max_revision) == (101, 199)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"version": "v" * 32}, "version .* is 32 bytes long; allowed: 31"),
        ({"project": "p" * 40}, "project .* is 40 bytes long; allowed: 31"),
        ({"time": "t" * 16}, "time .* allowed: 15"),
        ({"name": "esp99"}, "unknown chip 'esp99'"),
        ({"flash_size": "3MB"}, "flash size '3MB'; allowed: 1MB, 2MB"),
        ({"segments": [("irom", b"")] * 16}, "17 segments; allowed: 16"),
    ],
)
def test_what_does_not_fit_an_image_is_refused(options, said):
    with pytest.raises(FormatError, match=said):
        app(**options)


@given(st.binary(max_size=300))
def test_xor_is_that_of_all_bytes(data):
    expected = 0
    for byte in data:
        expected ^= byte
    assert xor_bytes(data) == expected


# reading


@given(st.data())
def test_image_cut_anywhere_is_refused_by_parse_and_by_the_bootloader(data):
    image = app()
    cut = data.draw(st.integers(0, len(image) - 1))
    with pytest.raises(FormatError, match="cut off"):
        parse(image[:cut])
    assert not check(image[:cut]).ok


@pytest.mark.parametrize(
    ("cut", "where"),
    [
        (0, "the header"),
        (23, "the header"),
        (24, "the header of segment 0"),
        (31, "the header of segment 0"),
        (32, "segment 0"),
        (-33, "the checksum"),
        (-32, "the SHA-256"),
        (-1, "the SHA-256"),
    ],
)
def test_message_says_where_a_cut_image_ends(cut, where):
    image = app()
    kept = image[:cut] if cut else b""
    with pytest.raises(FormatError, match=rf"cut off in {where}.*: {len(kept)} bytes of at least"):
        parse(kept)


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data):
    image = bytearray(app())
    bit = data.draw(st.integers(0, len(image) * 8 - 1))
    image[bit // 8] ^= 1 << bit % 8
    # without its flag no hash is looked at; nothing but the flag itself changes then
    if bit == 23 * 8:
        assert parse(bytes(image)).length == len(image) - 32
        return
    with pytest.raises(FormatError):
        parse(bytes(image))
    assert not check(image).ok


def test_what_follows_an_image_is_not_looked_at():
    image = app()
    assert parse(image + b"\xff" * 100).length == len(image)


@given(st.binary(max_size=400))
def test_any_bytes_give_an_image_or_a_format_error(data):
    for content in (data, b"\xe9" + data, app()[:32] + data):
        with suppress(FormatError):
            parse(content)
        check(content)


@pytest.mark.parametrize(
    ("offset", "data", "said"),
    [
        (0, b"\x00", "first byte is 0x00; an image starts with 0xe9"),
        (1, b"\x11", "17 segments; allowed: 16"),
        (28, b"\x03\x00\x00\x00", "length 0x3; allowed: multiples of 4"),
        (40, b"!", "checksum is"),
        (-1, b"\x00", "SHA-256 is"),
    ],
)
def test_broken_image_is_refused(offset, data, said):
    image = app()
    at = offset % len(image)
    with pytest.raises(FormatError, match=said):
        parse(patched(image, at, bytes(value ^ 1 if data == image[at : at + 1] else value for value in data)))


def test_any_value_of_the_hash_flag_but_zero_means_that_a_hash_follows():
    image = patched(app(), 23, b"\x02")
    with pytest.raises(FormatError, match="SHA-256"):
        parse(image)
    assert parse(patched(image, 0, b"", rehash=True)).length == len(image)
    assert check(patched(image, 0, b"", rehash=True)).ok


# verifying in flash


@pytest.mark.parametrize("version", ["v4.4", "v5.1", "v5.5", "v6.0", "v6.1"])
@pytest.mark.parametrize("name", NAMES)
def test_built_app_verifies_on_its_chip_with_every_release(name, version):
    image = app(name)
    result = check(image, name=name, version=version)
    assert result.ok
    assert lines(result) == []
    assert (result.length, result.secure_version) == (len(image), 7)


def test_erased_and_foreign_content_has_no_magic_byte():
    for content in (b"", bytes(64)):
        assert lines(check(content)) == ["E esp_image: image at 0x20000 has invalid magic byte (nothing flashed here?)"]


def test_image_of_another_chip_is_refused():
    assert lines(check(app("esp32s3"))) == ["E boot_comm: mismatch chip ID, expected 5, found 9"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            "v5.4",
            [
                "E boot_comm: Image requires chip rev >= v2.0, but chip is v0.4",
                "E boot_comm: Image requires chip rev <= v0.3, but chip is v0.4",
            ],
        ),
        ("v5.5", ["E boot_comm: chip revision check failed. Required >= v2.0, found v0.4."]),
    ],
)
def test_chip_revision_lines_changed_with_v5_5(version, expected):
    family = "v5.1" if version == "v5.4" else version
    assert lines(check(app(min_revision=200, max_revision=3), version=family)) == expected


@pytest.mark.parametrize("unset", [0, 0xFFFF])
def test_unset_maximum_revision_is_no_limit(unset):
    assert check(app(max_revision=unset)).ok
    assert lines(check(app(max_revision=3))) == [
        "E boot_comm: chip revision check failed. Required <= v0.3, found v0.4."
    ]


def test_too_many_segments_are_refused():
    assert lines(check(patched(app(), 1, b"\x11"))) == ["E esp_image: image at 0x20000 segment count 17 exceeds max 16"]


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x01000000, 0x102])
def test_impossible_segment_length_is_refused(length):
    image = patched(app(), 28, struct.pack("<I", length))
    assert lines(check(image)) == [f"E esp_image: invalid segment length 0x{length:x}"]


def test_chips_that_map_large_flash_allow_longer_segments_from_v5_5():
    image = patched(app("esp32s3"), 28, struct.pack("<I", 0x01000000))
    refused = ["E esp_image: invalid segment length 0x1000000"]
    assert lines(check(image, name="esp32s3", version="v5.1")) == refused
    assert lines(check(image, name="esp32s3", version="v5.5")) != refused


def test_partition_above_16_mib_is_refused_where_it_cannot_be_mapped():
    text = "E esp_image: partition size 0x2000000 invalid, larger than 16MB"
    assert lines(check(app(), size=0x2000000)) == [text]
    assert check(app("esp32p4"), name="esp32p4", size=0x2000000).ok


def test_mapped_segment_must_fit_its_page():
    image = patched(app(), 24, struct.pack("<I", 0x3C000024), rehash=True)
    assert lines(check(image)) == ["E esp_image: Segment 0 load address 0x3c000024, doesn't match data 0x00020020"]


def test_wrong_checksum_is_refused_with_both_values():
    image = app()
    result = check(patched(image, -33 % len(image), bytes([image[-33] ^ 0x5A])))
    assert lines(result) == [f"E esp_image: Checksum failed. Calculated 0x{image[-33]:x} read 0x{image[-33] ^ 0x5A:x}"]


def test_wrong_hash_is_refused_also_when_silent():
    image = app()
    result = check(patched(image, len(image) - 1, bytes([image[-1] ^ 1])))
    assert lines(result) == ["E esp_image: Image hash failed - image is corrupt"]
    assert result.silent_logs == result.logs


def test_image_longer_than_its_partition_is_refused():
    image = app()
    result = check(image, size=len(image) - 1)
    assert lines(result) == [f"E esp_image: Image length {len(image)} doesn't fit in partition length {len(image) - 1}"]
    assert result.silent_logs == ()
    assert check(image, size=len(image)).ok


def test_image_without_appended_hash_verifies():
    image = app(hash_appended=False)
    assert check(image).length == len(image)


def test_efuse_block_revision_is_checked_from_v5_1_but_not_on_esp32():
    def image(name):
        plain = app(name)
        return patched(plain, 32 + 176, struct.pack("<HH", 300, 399))

    refused = ["E boot_comm: Image requires efuse blk rev >= v3.0, but chip is v0.0"]
    assert lines(check(image("esp32c3"), version="v5.5")) == refused
    assert lines(check(image("esp32c3"), version="v5.1")) == ["E boot_comm: efuse blk rev = v0.0 < min rev v3.0"]
    assert "boot_comm" not in str(lines(check(image("esp32c3"), version="v4.4")))
    assert "boot_comm" not in str(lines(check(image("esp32"), name="esp32")))


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("v5.1", "efuse blk rev = v1.2 > max rev v0.99"),
        ("v5.5", "Image requires efuse blk rev <= v0.99, but chip is v1.2"),
    ],
)
def test_an_efuse_block_revision_above_the_maximum_is_worded_anew_after_v5_1(version, line):
    # bootloader_common_check_efuse_blk_validity
    image = patched(app("esp32c3"), 32 + 176, struct.pack("<HH", 0, 99))
    result = check(image, version=version, efuse_block_revision=102)
    assert lines(result) == [f"E boot_comm: {line}"]


@pytest.mark.parametrize("limits", [(0, 0), (0xFFFF, 0xFFFF)])
def test_unset_efuse_block_revisions_are_no_limit(limits):
    plain = app(hash_appended=False)
    image = bytearray(patched(plain, 32 + 176, struct.pack("<HH", *limits)))
    image[-1] ^= xor_bytes(plain[208:212]) ^ xor_bytes(image[208:212])
    assert check(image).ok


@pytest.mark.parametrize(
    ("name", "version", "refused"),
    [("esp32c6", "v5.5", True), ("esp32c6", "v5.1", False), ("esp32c3", "v5.5", False)],
)
def test_missing_descriptor_matters_where_it_says_the_mmu_page_size(name, version, refused):
    image = patched(app(name), 32, b"\0\0\0\0")
    changed = bytearray(image)
    changed[-33] ^= xor_bytes(app(name)[32:36])
    result = check(patched(bytes(changed), 0, b"", rehash=True), name=name, version=version)
    assert result.ok is not refused
    assert result.secure_version is None
    if refused:
        assert lines(result) == ["E esp_image: Failed to fetch app description header!"]


def test_app_says_its_mmu_page_size_where_that_is_configurable():
    # 0x8000 more than the 64 KiB page allows, right for 32 KiB pages
    image = parse(app("esp32c6", mmu_page_size=0x8000))
    segments = [(segment.load_address, segment.data) for segment in image.segments]
    moved = pack_image(chip="esp32c6", segments=[(segments[0][0] + 0x8000, segments[0][1]), *segments[1:]])
    assert check(moved, name="esp32c6").ok
    assert not check(moved, name="esp32c6", version="v5.1").ok


def test_anti_rollback_asserts_on_a_missing_descriptor():
    plain = app(hash_appended=False)
    image = bytearray(patched(plain, 32, b"\0\0\0\0"))
    image[-1] ^= xor_bytes(plain[32:36])
    assert check(image).ok
    result = check(image, anti_rollback=True, rollback=True)
    assert (result.ok, result.asserts, result.logs) == (False, True, ())


def test_secure_version_is_read_from_broken_images_too():
    broken = patched(app(), 1, b"\x11")
    assert check(broken).secure_version == 7
    assert secure_version(Flash(broken), SLOT) == 7
    assert secure_version(Flash(b""), SLOT) is None


def test_bootloader_in_its_place_is_held_to_its_checksum_only():
    image = build_bootloader(chip="esp32", code=b"c" * 64)
    esptool_changed_the_header = patched(image, 2, b"\x00")
    assert check(esptool_changed_the_header, offset=0x1000, name="esp32", size=0x7000).ok
    assert not check(esptool_changed_the_header, name="esp32").ok


def test_bootloader_may_be_older_than_the_chip():
    old = pack_image(chip="esp32", segments=[(0x3FFF0030, bytes(80))], max_revision=100)
    assert check(old, offset=0x1000, name="esp32", size=0x7000).ok
    assert not check(old, name="esp32").ok


def test_segments_are_listed_as_the_bootloader_prints_them():
    result = check(app())
    printed = [f"{line.level} {line.tag}: {line.text}" for line in segment_lines(result, config_of())]
    assert printed == [
        "I esp_image: segment 0: paddr=00020020 vaddr=3c000020 size=00164h (   356) map",
        "I esp_image: segment 1: paddr=0002018c vaddr=3fc80000 size=00028h (    40) load",
        "I esp_image: segment 2: paddr=000201bc vaddr=4037c000 size=0002ch (    44) load",
        "I esp_image: segment 3: paddr=000201f0 vaddr=420001f0 size=000c8h (   200) map",
    ]


def test_segments_before_the_broken_one_are_listed():
    at = parse(app()).segments[2].file_offset - 4
    result = check(patched(app(), at, b"\xff\xff\xff\xff"))
    assert len(segment_lines(result, config_of())) == 2
    assert lines(result) == ["E esp_image: invalid segment length 0xffffffff"]
