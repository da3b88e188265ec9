"""Recordings on disk: what was saved is what is loaded, and no error leaves half a file."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.recording import SUFFIX, Recording, base_path, load
from rig.idf.config import IDF_VERSIONS, BootConfig, FactoryReset
from rig.idf.effects import BurnSecureVersion, Erase, Mutation, Program
from tests.rig.crash.hand import FLASH_SIZE, SECTOR, VALID, device, entry, examples, recording, small_update

START = device((entry(1, VALID), b""))
END = len(START)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
MUTATIONS = st.lists(
    st.one_of(
        st.builds(Erase, st.integers(0, FLASH_SIZE // SECTOR - 1).map(lambda number: number * SECTOR)),
        st.builds(Program, st.integers(0, END - 64), st.binary(max_size=64)),
        st.builds(BurnSecureVersion, st.integers(0, 31), st.integers(0, 32)),
    ),
    max_size=8,
)
CONFIGS = st.builds(
    BootConfig,
    idf_version=st.sampled_from(IDF_VERSIONS),
    rollback=st.booleans(),
    anti_rollback=st.booleans(),
    factory_reset=st.one_of(st.none(), st.builds(FactoryReset, st.just(("nvs", "phy")), st.booleans())),
    log_level=st.sampled_from(["WARN", "INFO", "DEBUG"]),
)


def sha(made: Recording) -> str:
    return made.header.base_sha256


def same(one: Recording, other: Recording) -> bool:
    """Said without printing two flash images."""
    headers = [made.header.model_dump_json() for made in (one, other)]
    return headers[0] == headers[1] and one.base == other.base and one.mutations == other.mutations


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return small_update().save(tmp_path)


@given(MUTATIONS, CONFIGS, TEXT, st.integers(0, 32), st.integers(0, 8))
@examples(60)
def test_what_was_saved_is_loaded(
    mutations: list[Mutation], config: BootConfig, text: str, burnt: int, begin: int
) -> None:
    made = recording(
        device((entry(1, VALID), b""), burnt=burnt),
        mutations,
        config=config,
        begin=min(begin, len(mutations)),
        board=text,
        variant=text,
    )
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(made.save(Path(folder)))
    assert same(loaded, made)
    assert loaded.fingerprint == made.fingerprint
    assert loaded.boot_config == config
    assert loaded.start().secure_version == burnt


def test_a_recording_is_one_file_beside_its_base(tmp_path: Path) -> None:
    path = small_update().save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / f"by-hand{SUFFIX}"
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        base_path(path.parent, sha(small_update())).name,
    }


def test_recordings_with_the_same_base_share_it(tmp_path: Path) -> None:
    first, second = (recording(START, small_update().mutations[:2], scenario=name) for name in ("first", "second"))
    first.save(tmp_path)
    second.save(tmp_path)
    assert len(list(tmp_path.glob("*.base.gz"))) == 1
    assert all(same(load(tmp_path / f"{made.name}{SUFFIX}"), made) for made in (first, second))


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    """So that a recording can be compared and kept under version control."""
    one, other = small_update().save(tmp_path / "one"), small_update().save(tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_recording_again_mends_a_damaged_base(saved: Path) -> None:
    base = base_path(saved.parent, sha(small_update()))
    base.write_bytes(base.read_bytes()[:100])
    assert same(load(small_update().save(saved.parent)), small_update())


@pytest.mark.parametrize(
    "other",
    [
        recording(START, small_update().mutations[:-1]),
        recording(START, small_update().mutations[::-1]),
        recording(device((entry(1, VALID), b""), diagnostics="fail"), small_update().mutations),
        recording(START, small_update().mutations, diagnostics="fail"),
        recording(START, small_update().mutations, begin=1),
        recording(device((entry(1, VALID), b""), burnt=1), small_update().mutations),
    ],
    ids=["fewer mutations", "another order", "another base", "other diagnostics", "another beginning", "another eFuse"],
)
def test_different_recordings_have_different_fingerprints(other: Recording) -> None:
    assert other.fingerprint != recording(START, small_update().mutations).fingerprint


# --- errors while saving ---------------------------------------------------------------------------------------------


class DiskFull:
    """`Path.write_bytes` of a disk that takes half of the `nth` file from now on, and then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self._left = nth
        self._write = Path.write_bytes
        monkeypatch.setattr(Path, "write_bytes", lambda path, data: self.write(path, data))

    def write(self, path: Path, data: bytes) -> int:
        self._left -= 1
        if self._left:
            return self._write(path, data)
        self._write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("nth", [1, 2], ids=["base", "recording"])
def test_a_full_disk_leaves_no_half_file(nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DiskFull(monkeypatch, nth)
    with pytest.raises(OSError, match="No space left"):
        small_update().save(tmp_path)
    left = [file.name for file in tmp_path.iterdir()]
    assert left == ([] if nth == 1 else [base_path(tmp_path, sha(small_update())).name])
    monkeypatch.undo()
    assert same(load(small_update().save(tmp_path)), small_update())


def test_a_full_disk_leaves_the_recording_from_before(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    DiskFull(monkeypatch, 1)
    with pytest.raises(OSError, match="No space left"):
        recording(small_update().start(), ()).save(saved.parent)
    assert saved.read_bytes() == before
    assert sorted(file.suffix for file in saved.parent.iterdir()) == [".gz", ".gz"]
