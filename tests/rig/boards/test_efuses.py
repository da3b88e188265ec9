"""eFuses from outside: read and burnt by espefuse through the modelled loader, or kept in flash as ESP-IDF does it.

Hardware's ways (`efuse = "burn"` and `"virtual"`) work here on the virtual chip, which holds its bits as silicon does.
"""

from __future__ import annotations

import pytest

from rig.boards import kinds, serial
from rig.boards.board import Capability, EfuseState, powered
from rig.boards.efuses import BurntEfuse, EmulatedEfuse, layout
from rig.boards.firmware import FirmwareBuild
from rig.boards.install import flash_content
from rig.boards.inventory import SerialBoardSection, VirtualBoardSection
from rig.boards.shelf import EmulatedEfuses, SynthesisedShelf
from rig.errors import NotApplicable, UserError
from rig.idf.chips import CHIPS
from rig.virtual.builds import make_build
from rig.virtual.chips import SPECS
from tests.rig.bench import close_board, open_board

DESK = SerialBoardSection(name="desk", kind="serial", chip="esp32c3", port="/dev/ttyUSB0")
SPARE = DESK.model_copy(update={"efuse": "burn"})
SAFE = DESK.model_copy(update={"efuse": "virtual"})


@pytest.fixture
def pair():
    board, chip = open_board()
    with powered(board):
        yield board, chip
    close_board(chip)


def holds(version):
    return EfuseState(secure_version=version)


# --- a chip that can be replaced -------------------------------------------------------------------------------------


def test_every_test_gets_a_chip_with_the_version_it_asks_for(pair):
    board, chip = pair
    for version in (2, 0, 16):
        board.efuse.prepare(holds(version))
        assert board.efuse.secure_version() == chip.efuse.secure_version == version
    with pytest.raises(NotApplicable, match="17 does not fit into the 16 eFuse bits of esp32c3"):
        board.efuse.prepare(holds(17))
    assert board.efuse.spent == ()


# --- a chip that is spent --------------------------------------------------------------------------------------------


def test_what_a_test_needs_is_burnt_for_good_and_counted(pair):
    board, chip = pair
    efuse = BurntEfuse(board.flash)
    efuse.prepare(holds(0))
    efuse.prepare(holds(2))
    assert chip.efuse.secure_version == efuse.secure_version() == 2
    assert efuse.spent == [0, 0, 2, 2]


def test_a_chip_that_is_past_what_a_test_needs_is_not_for_that_test(pair):
    board, chip = pair
    chip.efuse.burn_secure_version(3)
    efuse = BurntEfuse(board.flash)
    with pytest.raises(NotApplicable, match="at secure version 3 already, this test needs 1"):
        efuse.prepare(holds(1))
    assert chip.efuse.secure_version == 3
    efuse.prepare(holds(3))


def test_what_does_not_matter_is_not_even_looked_at(pair):
    board, _ = pair
    for efuse in (BurntEfuse(board.flash), EmulatedEfuse(board.flash)):
        said = len(board.flash.transcript)
        efuse.prepare(holds(None))
        assert len(board.flash.transcript) == said


# --- eFuses that ESP-IDF keeps in flash ------------------------------------------------------------------------------


def with_table(board, tmp_path, variant):
    build = FirmwareBuild.load(make_build(tmp_path, variant=variant, chip="esp32c3", version="1.0.0"))
    board.flash.restore({0: flash_content(build, build, (b"", b""), {})})
    return build


def test_emulated_efuses_are_a_copy_of_the_chips_own_in_flash(pair, tmp_path):
    board, chip = pair
    build = with_table(board, tmp_path, "anti_rollback_1_emulated")
    part = next(entry for entry in build.table.entries if entry.label == "efuse_em")
    efuse = EmulatedEfuse(board.flash)
    assert efuse.secure_version() == 0, "an erased partition: firmware will take the chip's own"
    efuse.prepare(holds(3))
    assert efuse.secure_version() == 3
    assert chip.efuse.secure_version == 0
    content = board.flash.read(part.offset, 11 * 32)
    for number, block in enumerate(layout("esp32c3").blocks):
        words = [int.from_bytes(content[32 * number + 4 * at :][:4], "little") for at in range(block.words)]
        own = [chip.efuse.word(number, at) for at in range(block.words)]
        assert [a ^ b for a, b in zip(words, own, strict=True)] == [
            0b111 << 14 if (number, at) == (0, 4) else 0 for at in range(block.words)
        ]
    efuse.prepare(holds(1))
    assert efuse.secure_version() == 1, "they can be cleared"


def test_they_are_found_where_the_partition_table_lies_elsewhere(pair, tmp_path):
    board, _ = pair
    with_table(board, tmp_path, "anti_rollback_1_emulated")
    table = board.flash.read(0x8000, 0x1000)
    board.flash.restore({0x8000: b"\xff" * 0x1000 + table})
    efuse = EmulatedEfuse(board.flash)
    efuse.prepare(holds(2))
    assert efuse.secure_version() == 2


def test_a_build_that_would_burn_the_chip_has_no_place_for_them(pair, tmp_path):
    board, _ = pair
    with_table(board, tmp_path, "anti_rollback")
    with pytest.raises(UserError, match="no partition for emulated eFuses: it would burn those of the chip"):
        EmulatedEfuse(board.flash).prepare(holds(1))


def test_the_shelf_of_such_a_board_gives_builds_that_burn_nothing(tmp_path):
    shelf = EmulatedEfuses(SynthesisedShelf(tmp_path, "esp32c3", "v5.5"))
    build = shelf.build("anti_rollback_1", "1.0.0")
    assert build.sdkconfig["EFUSE_VIRTUAL_KEEP_IN_FLASH"] is True
    assert build.secure_version == 1
    assert shelf.app("anti_rollback_1", "1.0.0") == build.app_path.read_bytes()
    assert not shelf.build("rollback", "1.0.0").boot_config.anti_rollback
    with pytest.raises(NotApplicable, match="anti_rollback_narrow would burn eFuses of the chip"):
        shelf.build("anti_rollback_narrow", "1.0.0")


# --- what rig.toml and the command line allow ------------------------------------------------------------------------


def test_an_attached_board_keeps_its_efuses_unless_both_rig_toml_and_the_command_line_say_otherwise():
    for section, words in ((DESK, "rig.toml does not say `efuse`"), (SPARE, "--burn-efuses does not name it")):
        board = serial.open_board(section)
        assert board.efuse is None
        assert words in board.missing[Capability.EFUSE]
    spent = kinds.with_burning(serial.open_board(SPARE), SPARE)
    assert isinstance(spent.efuse, BurntEfuse)
    assert Capability.EFUSE in spent.capabilities
    emulated = serial.open_board(SAFE)
    assert isinstance(emulated.efuse, EmulatedEfuse)
    assert Capability.EFUSE in emulated.capabilities


@pytest.mark.parametrize("section", [DESK, SAFE, VirtualBoardSection(name="v", kind="virtual")])
def test_only_a_board_that_rig_toml_gives_up_can_be_named_for_burning(section):
    with pytest.raises(UserError, match="--burn-efuses names"):
        kinds.with_burning(serial.open_board(DESK), section)


def test_a_board_that_cannot_be_brought_into_its_loader_has_no_efuses():
    raw = SAFE.model_copy(update={"port": "socket://127.0.0.1:1"})
    assert "no DTR and RTS" in serial.open_board(raw).missing[Capability.EFUSE]


# --- every chip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", SPECS)
def test_the_modelled_field_lies_where_espefuse_reads_it(model):
    field, place = layout(model).field, SPECS[model].efuse_fields["SECURE_VERSION"]
    assert (field.block, 32 * field.word + field.bit, field.width) == place
    assert SPECS[model].efuse_blocks[field.block].read_address + 4 * field.word == field.address


def test_an_unknown_chip_is_refused():
    with pytest.raises(UserError, match="espefuse does not know the eFuses of esp99"):
        layout("esp99")


@pytest.mark.parametrize("name", ["esp32c2", "esp32c5"])
def test_narrow_fields_are_as_wide_as_espefuse_says(name):
    assert layout(name).field.width == CHIPS[name].secure_version_bits
