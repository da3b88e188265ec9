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


def test_the_committed_bench_starts_with_a_virtual_board_that_needs_nothing():
    bench = inventory.load(Path(__file__).parents[2] / "rig.toml")
    assert [(board.kind, board.firmware) for board in bench.board] == [("virtual", "synthesised"), ("qemu", "built")]


def test_a_good_file_is_read(tmp_path):
    bench = inventory.load(write(tmp_path, GOOD))
    assert bench.bench.name == "desk"
    assert bench.find("one").chip == "esp32c6"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[bench]", "[bench]\ncolour = 1"), r"bench\.colour: unknown key; allowed here: name, reports"),
        (('chip = "esp32c6"', 'chip = "esp8266"'), r"board\[0\]\.chip = 'esp8266': Input should be 'esp32c3'"),
        (('kind = "virtual"', 'kind = "real"'), r"board\[0\]\.kind = 'real': allowed: virtual, qemu, serial"),
        (('kind = "virtual"\n', ""), r"board\[0\]\.kind: missing; allowed: virtual, qemu, serial"),
        (('chip = "esp32c6"', "colour = 1"), r"board\[0\]\.colour: unknown key; allowed here: name, tags, kind, chip"),
        (('kind = "virtual"', 'kind = "qemu"'), r"board\[0\]\.chip = 'esp32c6': Input should be 'esp32', 'esp32s3'"),
        (('kind = "virtual"', 'kind = "serial"'), r"board\[0\]: name the port by exactly one of: port, serial_number"),
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


def test_every_kind_of_board_is_read(tmp_path):
    more = """
    [[board]]
    name = "emulated"
    kind = "qemu"
    chip = "esp32c3"

    [[board]]
    name = "attached"
    kind = "serial"
    chip = "esp32h2"
    mac = "60:55:f9:00:00:01"
    power = { on = "relay 1 on", off = "relay 1 off" }
    """
    bench = inventory.load(write(tmp_path, GOOD + more))
    assert [(board.kind, board.firmware) for board in bench.board] == [
        ("virtual", "synthesised"),
        ("qemu", "built"),
        ("serial", "built"),
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('port = "/dev/ttyUSB0"\nmac = "60:55:f9:00:00:01"', "exactly one of"),
        ('mac = "60:55"', r"board\[1\]\.mac = '60:55'"),
        ('port = "x"\npower = { on = "a" }', r"board\[1\]\.power\.off: missing"),
        (
            'port = "x"\npower = { on = "a", off = "b", cycle = "c" }',
            r"power\.cycle: unknown key; allowed here: on, off",
        ),
    ],
)
def test_a_serial_board_with_wrong_keys_is_refused(tmp_path, keys, said):
    board = f'\n[[board]]\nname = "two"\nkind = "serial"\nchip = "esp32"\n{keys}\n'
    with pytest.raises(UserError, match=said):
        inventory.load(write(tmp_path, GOOD + board))


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
