"""Images with one thing wrong are right in everything else: checksum and SHA-256 fit, which `parse` checks."""

import pytest

from rig.idf.errors import FormatError
from rig.idf.image import parse
from rig.idf.image_build import build_bootloader, build_image
from rig.updates import wrong_images

IMAGE = build_image(chip="esp32c3", version="2.0.0", project="pump", secure_version=3, segments=[("irom", bytes(96))])


def differences(left, right):
    return {at for at, (one, other) in enumerate(zip(left, right, strict=True)) if one != other}


def described(data):
    image = parse(data)  # raises if checksum or SHA-256 is wrong
    return image.chip.name, image.desc.project, image.desc.version, image.desc.secure_version


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda data: wrong_images.for_other_chip(data, "esp32s3"), ("esp32s3", "pump", "2.0.0", 3)),
        (wrong_images.for_other_chip, ("esp32", "pump", "2.0.0", 3)),
        (wrong_images.of_other_project, ("esp32c3", "not_pump", "2.0.0", 3)),
        (lambda data: wrong_images.of_other_project(data, "fan"), ("esp32c3", "fan", "2.0.0", 3)),
        (lambda data: wrong_images.with_version(data, "0.0.1"), ("esp32c3", "pump", "0.0.1", 3)),
        (wrong_images.with_lower_secure_version, ("esp32c3", "pump", "2.0.0", 2)),
        (lambda data: wrong_images.with_lower_secure_version(data, 0), ("esp32c3", "pump", "2.0.0", 0)),
    ],
)
def test_one_thing_is_wrong_and_the_seals_are_right(make, says):
    assert described(make(IMAGE)) == says


def test_what_follows_an_image_stays_as_it_is():
    signed = IMAGE + b"a signature block"
    assert wrong_images.of_other_project(signed).endswith(b"a signature block")


def test_an_image_without_appended_hash_keeps_none():
    plain = build_image(chip="esp32c3", version="2.0.0", project="pump", hash_appended=False)
    changed = wrong_images.with_version(plain, "0.0.1")
    assert described(changed)[2] == "0.0.1"
    assert len(changed) == len(plain)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: wrong_images.for_other_chip(IMAGE, "esp32c3"), "is for esp32c3 already"),
        (lambda: wrong_images.of_other_project(IMAGE, parse(IMAGE).desc.project), "already"),
        (lambda: wrong_images.with_version(IMAGE, parse(IMAGE).desc.version), "already"),
        (lambda: wrong_images.for_other_chip(IMAGE, "z80"), "there is no chip 'z80'"),
        (lambda: wrong_images.with_lower_secure_version(IMAGE, 3), "secure version 3"),
        (lambda: wrong_images.with_lower_secure_version(build_image(chip="esp32", version="1")), "secure version 0"),
        (lambda: wrong_images.of_other_project(IMAGE, "x" * 32), "has 32 bytes"),
        (lambda: wrong_images.of_other_project(build_bootloader(chip="esp32")), "is no app image"),
        (lambda: wrong_images.of_other_project(b"<html>"), "first byte"),
        (lambda: wrong_images.of_other_project(b""), "0 bytes"),
    ],
)
def test_what_cannot_be_made_is_said(make, says):
    with pytest.raises(FormatError, match=says):
        make()
