"""Builds that demand signatures: the shelf signs them, with one key, and changes no build of the user's."""

import io
import shutil

import pytest

from rig.boards.shelf import BuiltShelf, SynthesisedShelf
from rig.boards.signing import is_signed, new_key, sign
from rig.errors import UserError
from rig.idf.signature_block import SignatureBlock
from rig.virtual.builds import make_build

SECTOR = 4096


def key_digest(image):
    return SignatureBlock.parse(image[-SECTOR:]).key_digest("rsa")


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory):
    """What `rig build` leaves: nothing is signed."""
    builds = tmp_path_factory.mktemp("builds")
    for version in ("1.0.0", "2.0.0"):
        folder = builds / "esp32c3" / "signed" / version
        make_build(folder, variant="signed", chip="esp32c3", version=version)
    return builds


@pytest.fixture
def builds(unsigned, tmp_path):
    return shutil.copytree(unsigned, tmp_path / "builds")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_synthesised_builds_are_signed_with_one_key_if_they_demand_it(tmp_path):
    shelf = SynthesisedShelf(tmp_path, "esp32c3", "v5.5")
    first, second = shelf.app("signed", "1.0.0"), shelf.app("signed", "2.0.0")
    assert is_signed(first)
    assert key_digest(first) == key_digest(second)
    assert shelf.build("signed", "1.0.0").app_path.read_bytes() == first
    assert not is_signed(shelf.app("rollback", "1.0.0"))


def test_built_ones_are_signed_in_a_copy_with_a_key_that_stays_beside_them(builds, tmp_path):
    before = contents(builds)
    apps = []
    for session in ("first", "second"):
        (tmp_path / session).mkdir()
        shelf = BuiltShelf(builds, "esp32c3", tmp_path / session)
        apps.append(shelf.app("signed", "1.0.0"))
    assert len({key_digest(app) for app in apps}) == 1
    after = contents(builds)
    assert {str(name) for name in after.keys() - before.keys()} == {"signing-key-rsa.pem"}
    assert all(after[name] == data for name, data in before.items())


def test_a_build_that_is_signed_already_is_left_as_it_is(builds, tmp_path):
    app = builds / "esp32c3" / "signed" / "1.0.0" / "rig_test_app.bin"
    app.write_bytes(sign(app.read_bytes(), new_key("rsa")))
    assert BuiltShelf(builds, "esp32c3", tmp_path).app("signed", "1.0.0") == app.read_bytes()
    assert not (builds / "signing-key-rsa.pem").exists()


def test_a_key_that_cannot_be_kept_or_used_is_told(builds, tmp_path):
    with pytest.raises(UserError, match="cannot be signed"):
        sign(b"image", b"rubbish")
    (builds / "signing-key-rsa.pem").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="is no private key"):
        BuiltShelf(builds, "esp32c3", tmp_path).app("signed", "1.0.0")


def test_espsecure_verifies_what_was_signed(tmp_path):
    import espsecure

    key = new_key("rsa")
    espsecure.verify_signature_v2(False, None, io.BytesIO(key), io.BytesIO(sign(b"image", key)))
