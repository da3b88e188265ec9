"""Flash through the ROM loader of the virtual chip by the real esptool: little written, and every failure in words."""

import random
import re
import time

import pytest

from rig.boards.loader import LoaderFlash
from rig.errors import BenchFault, UserError
from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.virtual import port
from tests.rig.bench import virtual_bench

SECTORS = 16
BASE = 0x10000


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def content():
    return bytearray(random.Random(1).randbytes(SECTORS * SECTOR_SIZE))


@pytest.fixture
def filled(bench, content):
    bench.chip.flash.load(BASE, bytes(content))
    return bench.board.flash


def recorded(bench, work):
    bench.chip.tap.start_recording()
    result = work()
    mutations = [record.mutation for record in bench.chip.tap.stop_recording()]
    erased = [mutation.offset for mutation in mutations if isinstance(mutation, Erase)]
    programmed = {mutation.offset // SECTOR_SIZE for mutation in mutations if isinstance(mutation, Program)}
    return result, erased, sorted(sector * SECTOR_SIZE for sector in programmed)


def test_reading_gives_the_bytes_of_flash_and_changes_nothing(bench, filled, content):
    data, erased, programmed = recorded(bench, lambda: filled.read(BASE + 0x123, 0x2345))
    assert data == content[0x123 : 0x123 + 0x2345]
    assert (erased, programmed) == ([], [])


def test_restoring_what_is_there_writes_nothing(bench, filled, content):
    assert recorded(bench, lambda: filled.restore({BASE: bytes(content)})) == (0, [], [])


@pytest.mark.parametrize("seed", range(3))
def test_restoring_writes_exactly_the_sectors_that_differ(bench, filled, content, seed):
    source = random.Random(seed)
    sectors = sorted(source.sample(range(SECTORS), source.randint(1, 6)))
    for sector in sectors:
        content[sector * SECTOR_SIZE + source.randrange(SECTOR_SIZE)] ^= 0x40
    offsets = [BASE + sector * SECTOR_SIZE for sector in sectors]
    assert recorded(bench, lambda: filled.restore({BASE: bytes(content)})) == (len(sectors), offsets, offsets)
    assert bench.chip.flash.read(BASE, len(content)) == content


def test_a_sector_that_shall_be_empty_is_only_erased(bench, filled, content):
    content[2 * SECTOR_SIZE : 4 * SECTOR_SIZE] = b"\xff" * (2 * SECTOR_SIZE)
    erased = [BASE + 2 * SECTOR_SIZE, BASE + 3 * SECTOR_SIZE]
    assert recorded(bench, lambda: filled.restore({BASE: bytes(content)})) == (2, erased, [])


def test_several_regions_are_restored_and_what_lies_between_is_left(bench, filled, content):
    junk = b"\x00" * SECTOR_SIZE
    first, last = BASE, BASE + 15 * SECTOR_SIZE
    written, erased, _ = recorded(bench, lambda: filled.restore({last: junk, first: junk}))
    assert (written, erased) == (2, [first, last])
    assert bench.chip.flash.read(BASE, len(content)) == junk + content[SECTOR_SIZE:-SECTOR_SIZE] + junk


@pytest.mark.parametrize(("offset", "size"), [(BASE + 1, SECTOR_SIZE), (BASE, SECTOR_SIZE - 1)])
def test_a_region_that_is_not_made_of_sectors_is_refused_before_anything_is_written(bench, filled, offset, size):
    with pytest.raises(ValueError, match=rf"region at 0x{offset:x} of {size} bytes is not made of whole sectors"):
        recorded(bench, lambda: filled.restore({offset: bytes(size)}))
    assert bench.chip.tap.stop_recording() == ()


def test_the_console_goes_on_after_the_loader_was_used(bench, filled):
    filled.read(BASE, 16)
    console = bench.board.console
    before = console.position
    assert console.port.baudrate == 115200
    console.skip()
    bench.board.reset()
    assert console.expect(re.compile(rb"rst:0x1 \(POWERON\)"), timeout=20)
    assert console.chunks_since(before)[0].data.startswith(b"ESP-ROM:esp32c3"), "the first byte is not lost"


def test_a_wrong_chip_in_rig_toml_is_a_user_error_that_names_both(bench):
    wrong = LoaderFlash(bench.board.console, "esp32s3")
    with pytest.raises(UserError) as caught:
        wrong.read(0, 16)
    text = str(caught.value)
    assert "this board is an esp32c3, rig.toml says esp32s3" in text
    assert f"board {bench.board.name}" in text
    assert "mend `chip` in rig.toml" in text
    assert bench.board.flash.read(0, 16), "the port works on"


def test_a_chip_that_does_not_answer_is_a_bench_fault_and_the_port_that_esptool_closed_is_open_again(bench, filled):
    console = bench.board.console
    before, uses = console.port, len(filled.transcript)
    bench.board.power.off()
    with pytest.raises(BenchFault) as caught:
        filled.read(0, 16)
    text = str(caught.value)
    assert "esptool failed: Failed to connect to Espressif device" in text
    assert f"board {console.board}" in text
    assert "Connecting..." in text, "esptool's own words are the evidence"
    assert "check cable, boot strap wiring and that nothing else holds the port" in text
    assert "Connecting..." in "".join(filled.transcript[uses:])
    assert not before.is_open
    assert console.port.is_open
    bench.board.power.on()
    assert filled.read(0, 16) == bench.chip.flash.read(0, 16)


def test_a_port_that_vanishes_under_esptool_is_a_bench_fault_and_works_when_it_is_back(bench, filled, monkeypatch):
    def pull_the_plug(*_, **__):
        port.unplug(bench.chip)
        return bench.board.console.port.read(1)

    monkeypatch.setattr("rig.boards.loader.esptool.cmds.read_flash", pull_the_plug)
    with pytest.raises(BenchFault, match=r"the port failed under esptool: .*disconnected .*board bench"):
        filled.read(0, 16)
    monkeypatch.undo()
    port.plug(bench.chip)
    while bench.board.console.lost:
        time.sleep(0.01)
    assert filled.read(0, 16) == bench.chip.flash.read(0, 16)


def test_each_use_leaves_what_esptool_said(bench, filled):
    uses = len(filled.transcript)
    filled.read(BASE, 16)
    filled.restore({BASE: bench.chip.flash.read(BASE, SECTOR_SIZE)})
    assert len(filled.transcript) == uses + 2
    assert "Read 16 bytes from 0x00010000" in filled.transcript[uses]
