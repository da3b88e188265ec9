"""Power drivers: found by name, in this package or another one, and their keys refused in words for rig.toml."""

import textwrap
import tomllib
from pathlib import Path

import pytest

from rig.boards import power
from rig.boards.inventory import BenchConfig
from rig.boards.lease import Wanted
from rig.boards.power import PowerKeys, cycle, drivers
from rig.errors import BenchFault


class Recorded:
    """A switch that keeps what was asked of it; `fails` names what it cannot do."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self._fails = fails

    def on(self) -> None:
        self._do("on")

    def off(self) -> None:
        self._do("off")

    def _do(self, what: str) -> None:
        self.asked.append(what)
        if what == self._fails:
            raise BenchFault(f"{what} failed")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab's own package, installed beside ours: a driver, one that cannot be imported, and one that is none."""
    (tmp_path / "our_lab.py").write_text(
        textwrap.dedent(
            """
            from rig.boards.power import PowerKeys

            class Keys(PowerKeys):
                CUT_LATENCY_S = 0.02
                shelf: int

                def open(self, board):
                    return f"switch {self.shelf} of {board}"

            number = 5
            """
        )
    )
    info = tmp_path / "our_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-lab\nVersion: 1.0\n")
    points = {"shelf": "our_lab:Keys", "gone": "our_lab.gone:Keys", "number": "our_lab:number"}
    lines = [f"{name} = {where}" for name, where in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{drivers.GROUP}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def read(table: str) -> PowerKeys:
    return drivers.read(tomllib.loads(f"power = {table}")["power"])


def test_a_lab_adds_a_driver_in_its_own_package(lab):
    keys = read('{ driver = "shelf", shelf = 3 }')
    assert keys.open("c3") == "switch 3 of c3"
    assert keys.cut_latency_s == 0.02
    assert "shelf" in drivers.names()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('{ driver = "shelf", shelf = "two" }', r"shelf = 'two': .*integer"),
        ('{ driver = "shelf" }', "shelf: missing"),
        ('{ driver = "shelf", shelf = 1, board = 2 }', "board: unknown key; allowed here: shelf, cut_latency"),
        ('{ driver = "shelv", shelf = 1 }', "no such power driver, did you mean shelf; there are: .*command"),
        ('{ driver = "gone" }', "driver = 'gone': cannot be loaded: ModuleNotFoundError"),
        ('{ driver = "number" }', "names no PowerKeys but 5"),
        ('{ driver = 7 }', "no such power driver"),
        ('{ on = "a", off = "b", cut_latency_ms = 0 }', "cut_latency_ms = 0"),
    ],
)  # fmt: skip
def test_wrong_keys_are_said_with_what_is_allowed(lab, table, said):
    with pytest.raises(ValueError, match=said):
        read(table)


def test_without_a_driver_the_keys_are_command_lines():
    assert read('{ on = "relay on", off = "relay off" }').on == "relay on"


def test_a_measured_latency_in_rig_toml_counts_more_than_the_drivers_own(lab):
    assert read('{ driver = "shelf", shelf = 1, cut_latency_ms = 400 }').cut_latency_s == 0.4


def example_of(name: str) -> PowerKeys:
    """The switch of the example in a driver's docstring."""
    text = __import__(drivers.find(name).__module__, fromlist=["Keys"]).__doc__
    lines = text.split("::\n", 1)[1].splitlines()
    example = "\n".join(line.strip() for line in lines if line.startswith("    "))
    return BenchConfig.model_validate(tomllib.loads(example)).board[0].power


every_driver = pytest.mark.parametrize("name", [name for name in drivers.names() if name != "shelf"])


@every_driver
def test_every_drivers_docstring_has_an_example_that_rig_toml_takes(name):
    keys = example_of(name)
    assert type(keys) is drivers.find(name)
    assert hasattr(keys.open("c3"), "off")


@every_driver
def test_every_drivers_keys_reach_the_guardian_who_gives_power_back_for_a_killed_run(name):
    keys = example_of(name)
    assert Wanted.decoded(Wanted("c3", (), Path("x"), keys).encoded()).power == keys


@every_driver
def test_a_driver_that_says_it_sags_can(name):
    keys = example_of(name)
    assert hasattr(keys.open("c3"), "sag") == keys.SAGS


@pytest.mark.parametrize("fails", ["", "off"])
def test_a_power_cycle_ends_with_power_on_whatever_happens(fails):
    switch = Recorded(fails)
    if fails:
        with pytest.raises(BenchFault):
            cycle(switch, 0)
    else:
        cycle(switch, 0)
    assert switch.asked == ["off", "on"]


def test_drivers_lie_beside_the_protocol_and_need_no_list():
    assert "command" in drivers.names()
    assert power.drivers.__name__.rpartition(".")[2] not in drivers.names()
