"""Booting an image until it is settled: how many power-ups that takes, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import pytest

from rig.boards.image_boots import BootSeen, End, PowerUp
from rig.crash.chain import MOST_POWER_UPS, Boot, Chain, Record, Stage, follow, otadata_offset, record
from rig.idf.config import BootConfig
from rig.idf.effects import BurnSecureVersion, Erase, Mutation, Program
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import (
    ABORTED,
    ANTI_ROLLBACK,
    CONFIG,
    ENTRY_1,
    ERASED,
    INVALID,
    NEW,
    OTADATA,
    PENDING,
    TWO,
    UNDEFINED,
    VALID,
    WITH_FACTORY,
    app,
    corrupt,
    device,
    entry,
    model,
    table,
    write,
)

STATES = [None, NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED]


def watched(first: bytes = b"", second: bytes = b"", **options: object) -> WatchedFlash:
    return WatchedFlash.of(device((first, second), **options))  # type: ignore[arg-type]


@dataclass
class Script:
    """A booter that writes what it is told, one power-up after the other, and nothing more afterwards."""

    writes: list[list[Mutation]]
    end: End = "runs"
    boots: int = field(default=0)

    def boot(self, flash: WatchedFlash) -> PowerUp:
        mutations = self.writes[self.boots] if self.boots < len(self.writes) else []
        for mutation in mutations:
            flash.apply(mutation)
        self.boots += 1
        seen = BootSeen("ota_0", "1.0.0", "VALID", self.end, tuple(mutations))
        return PowerUp((seen,), f"power-up {self.boots}\n".encode())

    def close(self) -> None:
        pass


# --- until it is settled ---------------------------------------------------------------------------------------------


def test_a_power_up_that_changes_no_record_is_the_last() -> None:
    booter = Script([])
    chain = follow(booter, watched(entry(1, VALID)), OTADATA).chain
    assert (len(chain.stages), chain.settled, booter.boots) == (1, True, 1)


def test_as_long_as_the_record_changes_power_goes_on_again() -> None:
    booter = Script([write(1, entry(2, PENDING)), write(1, entry(2, ABORTED))])
    chain = follow(booter, watched(entry(1, VALID), entry(2, NEW)), OTADATA).chain
    assert [stage.left.entries[1] for stage in chain.stages] == [
        entry(2, PENDING),
        entry(2, ABORTED),
        entry(2, ABORTED),
    ]
    assert chain.settled
    assert booter.boots == 3


def test_after_so_many_power_ups_it_is_not_settled() -> None:
    booter = Script([write(1, entry(2, number % 2)) for number in range(1, 20)])
    chain = follow(booter, watched(entry(1, VALID), entry(2, NEW)), OTADATA).chain
    assert (len(chain.stages), chain.settled, booter.boots) == (MOST_POWER_UPS, False, MOST_POWER_UPS)


def test_what_is_written_elsewhere_does_not_count() -> None:
    """An app that counts its boots in its own store would never settle."""
    booter = Script([[Program(0x9040 + number, b"\0")] for number in range(20)])
    assert follow(booter, watched(entry(1, VALID)), OTADATA).chain.settled
    assert booter.boots == 1


def test_a_burnt_efuse_counts() -> None:
    flash = watched(entry(1, VALID), slots={"ota_0": app("1.0.0", 1)})
    chain = follow(model(ANTI_ROLLBACK), flash, OTADATA).chain
    assert [stage.left.secure_version for stage in chain.stages] == [1, 1]
    assert chain.settled


@pytest.mark.parametrize("diagnostics", ["pass", "fail", "hang", "panic", "reboot", "manual"])
@pytest.mark.parametrize("config", [CONFIG, ANTI_ROLLBACK], ids=["rollback", "anti-rollback"])
@pytest.mark.parametrize("layout", [TWO, WITH_FACTORY], ids=["without factory", "with factory"])
def test_no_way_of_esp_idf_takes_more_than_four_power_ups(
    diagnostics: str, config: BootConfig, layout: PartitionTable
) -> None:
    booter = model(config, layout, diagnostics)
    for first, second, sequence in product(STATES, STATES, [(1, 2), (2, 2)]):
        for image in (app("x", 1), corrupt(app("x", 1))):
            pair = zip((first, second), sequence, strict=True)
            entries = [b"" if state is None else entry(seq, state) for state, seq in pair]
            flash = watched(*entries, layout=layout, slots={"ota_1": image})
            chain = follow(booter, flash, OTADATA).chain
            assert chain.settled
            assert len(chain.stages) <= 4 < MOST_POWER_UPS, (first, second, sequence)


def test_two_updates_that_both_hang_take_four() -> None:
    """BOOTLOADER.md 7.1: after two updates without a restart both entries are NEW."""
    chain = follow(model(diagnostics="hang"), watched(entry(1, NEW), entry(2, NEW)), OTADATA).chain
    assert [stage.left.entries for stage in chain.stages] == [
        (entry(1, NEW), entry(2, PENDING)),
        (entry(1, PENDING), entry(2, ABORTED)),
        (entry(1, ABORTED), entry(2, ABORTED)),
        (entry(1, ABORTED), entry(2, ABORTED)),
    ]
    assert [boot.end for stage in chain.stages for boot in stage.boots] == ["hangs", "hangs", "runs", "runs"]
    assert chain.last == Boot("ota_0", "ABORTED", "runs")
    assert chain.record == Record((entry(1, ABORTED), entry(2, ABORTED)), 0)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_log_and_mutations_are_those_of_the_first_power_up() -> None:
    writes = [write(1, entry(2, PENDING)), write(1, entry(2, ABORTED))]
    found = follow(Script(writes), watched(entry(1, VALID), entry(2, NEW)), OTADATA)
    assert found.log == b"power-up 1\n"
    assert found.mutations == tuple(writes[0])


def test_mutations_of_all_boots_of_that_power_up_in_order() -> None:
    found = follow(model(diagnostics="fail"), watched(entry(1, VALID), entry(2, NEW)), OTADATA)
    assert [boot.slot for boot in found.chain.stages[0].boots] == ["ota_1", "ota_0"]
    assert found.mutations == (*write(1, entry(2, PENDING)), *write(1, entry(2, INVALID)))


def test_what_each_power_up_did_to_otadata_and_efuse_is_told() -> None:
    new = entry(2, NEW)
    in_parts = [Erase(ENTRY_1), Program(ENTRY_1, new[:16]), Program(ENTRY_1 + 16, new[16:])]
    booter = Script([[*in_parts, Program(0x9040, b"\0")], [Erase(OTADATA), BurnSecureVersion(0, 2)]])
    assert follow(booter, watched(entry(1, VALID)), OTADATA).writes == (
        ("erase otadata[1]", "write otadata[1]"),
        ("erase otadata[0]", "burn 2"),
        (),
    )


def test_a_board_whose_mutations_nobody_sees_tells_of_no_writes() -> None:
    class Blind(Script):
        def boot(self, flash: WatchedFlash) -> PowerUp:
            return super().boot(flash)._replace(watched=False)

    assert follow(Blind([write(1, entry(2, PENDING))]), watched(entry(1, VALID)), OTADATA).writes == ()


def test_a_chain_says_how_it_ended_and_what_states_were_seen_on_the_way() -> None:
    chain = follow(model(diagnostics="reboot"), watched(entry(1, VALID), entry(2, NEW)), OTADATA).chain
    assert chain.states == ("PENDING_VERIFY", "VALID", "VALID")
    assert chain.last == Boot("ota_0", "VALID", "runs")
    assert chain.record == Record((entry(1, VALID), entry(2, ABORTED)), 0)


def test_a_state_that_no_app_read_is_left_out() -> None:
    stage = Stage((Boot(None, None, "nothing bootable"), Boot("ota_0", "VALID", "runs")), Record((b"", b""), 0))
    assert Chain((stage,), True).states == ("VALID",)


# --- the record ------------------------------------------------------------------------------------------------------


def test_the_record_is_both_entries_and_the_efuse() -> None:
    flash = device((entry(1, VALID), b""), burnt=3)
    assert record(flash, OTADATA) == Record((entry(1, VALID), ERASED), 3)
    flash.load(ENTRY_1 + 32, b"\0")
    assert record(flash, OTADATA) == Record((entry(1, VALID), ERASED), 3)


def test_without_otadata_there_are_no_entries() -> None:
    assert record(device(burnt=1), None) == Record((b"", b""), 1)
    bare = PartitionTable(tuple(part for part in table("factory").entries if not part.is_otadata))
    assert otadata_offset(bare) is None
    flash = WatchedFlash.of(device(layout=bare))
    assert follow(model(layout=bare), flash, None).chain.last == Boot("factory", "ESP_ERR_NOT_SUPPORTED", "runs")


def test_of_two_otadata_partitions_the_bootloader_goes_by_the_last() -> None:
    second = Partition("second", 1, 0, 0x40000, 0x2000)
    assert otadata_offset(PartitionTable((*TWO.entries, second))) == 0x40000
    assert otadata_offset(TWO) == OTADATA
