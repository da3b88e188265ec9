"""rig.toml: what is wrong is named by its key, with what is allowed."""

from pathlib import Path

import pytest

from rig.boards import inventory
from rig.errors import UserError

GOOD = """
[bench]
name = "desk"

[[board]]
name = "one"
kind = "virtual"
chip = "esp32c6"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_committed_bench_is_valid_and_has_one_virtual_board():
    bench = inventory.load(Path(__file__).parents[2] / "rig.toml")
    assert [board.kind for board in bench.board] == ["virtual"]


def test_a_good_file_is_read(tmp_path):
    bench = inventory.load(write(tmp_path, GOOD))
    assert bench.bench.name == "desk"
    assert bench.find("one").chip == "esp32c6"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[bench]", "[bench]\ncolour = 1"), r"bench\.colour: unknown key; allowed here: name, reports"),
        (('chip = "esp32c6"', 'chip = "esp8266"'), r"board\[0\]\.chip = 'esp8266': Input should be 'esp32c3'"),
        (('kind = "virtual"', 'kind = "real"'), r"board\[0\]\.kind = 'real': Input should be 'virtual'"),
        (('name = "one"\n', ""), r"board\[0\]\.name: missing"),
        (('name = "desk"', "name = 3"), r"bench\.name = 3: Input should be a valid string"),
        (('chip = "esp32c6"', "time_scale = 0.5"), r"board\[0\]\.time_scale = 0\.5: .*greater than or equal to 1"),
        (("[[board]]", "[[boards]]"), r"boards: unknown key; allowed here: bench, firmware, board"),
        (("[bench]", "[bench"), "not valid TOML"),
    ],
)
def test_a_wrong_key_type_or_value_is_named(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        inventory.load(write(tmp_path, GOOD.replace(*change)))


def test_two_boards_of_one_name_are_refused(tmp_path):
    twice = GOOD + GOOD[GOOD.index("[[board]]") :]
    with pytest.raises(UserError, match="used more than once: one"):
        inventory.load(write(tmp_path, twice))


def test_a_file_torn_in_a_character_is_refused(tmp_path):
    path = tmp_path / "rig.toml"
    path.write_bytes(GOOD.encode() + "ä".encode()[:1])
    with pytest.raises(UserError, match="cannot be read"):
        inventory.load(path)


def test_an_absent_file_says_how_to_name_one(tmp_path):
    with pytest.raises(UserError, match="--config"):
        inventory.load(tmp_path / "rig.toml")


def test_an_unknown_board_lists_the_known(tmp_path):
    with pytest.raises(UserError, match="one of: one"):
        inventory.load(write(tmp_path, GOOD)).find("two")
