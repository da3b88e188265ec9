"""Pre-encrypted images: only the device can read them, and what was tampered with never becomes the next boot."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rig.errors import NotApplicable
from rig.idf.encrypted_image import HEADER_SIZE, encrypt
from rig.updates.agent import AgentError
from rig.updates.agent_url import UrlOptions
from rig.updates.faults import parse_fault
from tests.qualification.states import BLANK, entry
from tests.qualification.wire import Wire

requirement = pytest.mark.requirement
needs = pytest.mark.needs
pytestmark = needs("network")

FILE = "app.enc"
VARIANT, ON_ENCRYPTED_FLASH = "pre_encrypted", "pre_encrypted_flash_encryption"
FORMS = ("RSA-3072", "ECIES-P256")
KEY_BLOCK, IV, SIZE, TAG = 4, 388, 404, 408
"""Offsets in the header of the file; before them stands the magic, behind them bytes that nobody reads."""
UPDATED = [
    ("ota_1", "none", "NEW", "app"),
    ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
    ("ota_1", "PENDING_VERIFY", "VALID", "app"),
]
both_forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def device_keys():
    """The device's key for each form."""
    return {form: new_key(form) for form in FORMS}


def new_key(form):
    return rsa.generate_private_key(65537, 3072) if form == "RSA-3072" else ec.generate_private_key(ec.SECP256R1())


def pem(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def start(trial, key, variant=VARIANT):
    """A board that runs ota_0 and holds `key`."""
    trial.install(variant, otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.network.connect(key=pem(key))


def sealed(trial, key, version="2.0.0", variant=VARIANT):
    return encrypt(trial.image_of(variant, version), key.public_key())


def flipped(data, offset):
    changed = bytearray(data)
    changed[offset] ^= 0x01
    return bytes(changed)


def url(trial, server, data):
    server.offer(FILE, data)
    return server.url(FILE, trial.network.access.host)


def outcome(trial, server, data, options=None):
    """Error of a download of that file, and how many bytes of image are in the slot then."""
    given = {} if options is None else {"options": options}
    error, came = trial.network.failed_download(url(trial, server, data), "2.0.0", **given)
    if error == "ESP_ERR_NOT_SUPPORTED" and came is None:
        raise NotApplicable(
            "this app takes no such key from RAM", hint="ECIES on a chip derives it from an eFuse block"
        )
    return error, came


def accepted(trial, server, key, variant=VARIANT):
    """The right file is downloaded, boots and is confirmed."""
    assert outcome(trial, server, sealed(trial, key, variant=variant))[0] == "ESP_OK"
    start = trial.restart()
    assert (start.slot, start.version) == ("ota_1", "2.0.0")


def demand_recovered(trial, server, key, variant=VARIANT):
    """After refusals: the old app runs, otadata is as it was, and the right file is taken."""
    assert trial.restart().slot == "ota_0"
    trial.network.connect(key=pem(key))
    accepted(trial, server, key, variant)
    trace = trial.finish()
    assert trace.transitions == UPDATED
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]


@requirement("ENC-02", "A pre-encrypted image is accepted by the device whose key it was encrypted for, and confirms.")
@both_forms
def test_the_right_key_is_accepted(trial, plain_update_server, device_keys, form):
    start(trial, device_keys[form])
    accepted(trial, plain_update_server, device_keys[form])
    trace = trial.finish()
    assert trace.transitions == UPDATED
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "ENC-03", "Of a pre-encrypted image no plaintext goes over the wire, and what is in the slot is the plain image."
)
def test_no_plaintext_on_the_wire(trial, plain_update_server, device_keys):
    key = device_keys["RSA-3072"]
    image, data = trial.image_of(VARIANT, "2.0.0"), sealed(trial, key)
    start(trial, key)
    plain_update_server.offer(FILE, data)
    with Wire(trial.network.access.bind, plain_update_server.port) as wire:
        trial.network.download(f"http://{trial.network.access.host}:{wire.port}/{FILE}", "2.0.0")
        _, body = bytes(wire.to_device).split(b"\r\n\r\n", 1)
    assert body == data
    # every run of 31 bytes of the image has one of these in it; those of one byte repeated are in any file
    pieces = {image[start : start + 16] for start in range(0, len(image) - 15, 16)}
    seen = {body[start : start + 16] for start in range(len(body) - 15)}
    assert {piece for piece in pieces & seen if len(set(piece)) > 1} == set()
    assert trial.slot_hash("ota_1") == image[-32:].hex()
    trial.restart()
    assert trial.finish().booted == ["ota_0", "ota_1"]


@requirement("ENC-04", "A pre-encrypted image for another device is refused before anything is written.")
@both_forms
def test_another_devices_image_is_refused(trial, plain_update_server, device_keys, form):
    start(trial, device_keys[form])
    other = sealed(trial, new_key(form))
    assert outcome(trial, plain_update_server, other) == ("ESP_FAIL", 0)
    demand_recovered(trial, plain_update_server, device_keys[form])


@requirement(
    "ENC-05", "A pre-encrypted image is refused when any field of its header or a byte of its content was changed."
)
@both_forms
def test_a_tampered_image_is_refused(trial, plain_update_server, device_keys, form):
    key = device_keys[form]
    data = sealed(trial, key)
    size = len(data) - HEADER_SIZE
    start(trial, key)

    def tampered(offset):
        return outcome(trial, plain_update_server, flipped(data, offset))

    # what is wrong from the first byte on is refused before it is written
    assert [tampered(offset) for offset in (0, KEY_BLOCK, IV)] == [("ESP_FAIL", 0)] * 3
    # the tag is compared when all is in the slot; a wrong size keeps back the last bytes that make no whole block
    assert [tampered(offset) for offset in (TAG, -1)] == [("ESP_FAIL", size)] * 2
    assert tampered(SIZE) == ("ESP_FAIL", size - size % 16)
    demand_recovered(trial, plain_update_server, key)


@requirement(
    "ENC-06", "A pre-encrypted image that was cut off, and a plain one, are refused by a device that decrypts."
)
def test_a_truncated_or_plain_image_is_refused(trial, plain_update_server, device_keys):
    key = device_keys["RSA-3072"]
    data = sealed(trial, key)
    start(trial, key)
    assert outcome(trial, plain_update_server, data[: len(data) // 2])[0] == "ESP_FAIL"
    assert outcome(trial, plain_update_server, data[:700]) == ("ESP_FAIL", 0)
    assert outcome(trial, plain_update_server, trial.image_of(VARIANT, "2.0.0")) == ("ESP_FAIL", 0)
    demand_recovered(trial, plain_update_server, key)


@requirement(
    "ENC-07", "A download of a pre-encrypted image that breaks off is not resumed: it begins anew and succeeds."
)
def test_a_broken_download_begins_anew(trial, plain_update_server, device_keys):
    key = device_keys["RSA-3072"]
    start(trial, key)
    where = url(trial, plain_update_server, sealed(trial, key))
    plain_update_server.inject(parse_fault("disconnect@50%"), times=1)
    error, came = trial.network.failed_download(where, "2.0.0")
    assert error == "ESP_FAIL"
    assert came
    with pytest.raises(AgentError) as refused:
        trial.network.download(where, "2.0.0", UrlOptions(resume=True))
    assert (refused.value.error, refused.value.offset) == ("ESP_ERR_NOT_SUPPORTED", None)
    trial.network.download(where, "2.0.0", UrlOptions(request_size=16384))
    trial.restart()
    assert trial.finish().booted == ["ota_0", "ota_1"]


@requirement("ENC-08", "On a chip with flash encryption a pre-encrypted image is decrypted once and encrypted once.")
@needs("flash_encryption")
def test_with_flash_encryption(trial, plain_update_server, device_keys):
    key, variant = device_keys["RSA-3072"], ON_ENCRYPTED_FLASH
    image = trial.image_of(variant, "2.0.0")
    start(trial, key, variant)
    assert outcome(trial, plain_update_server, flipped(sealed(trial, key, variant=variant), TAG))[0] == "ESP_FAIL"
    accepted(trial, plain_update_server, key, variant)
    raw = trial.cable.read("ota_1", len(image))
    assert image[:1024] not in raw
    assert trial.cable.read_as_chip("ota_1", len(image)) == image
    assert trial.finish().booted == ["ota_0", "ota_1"]
