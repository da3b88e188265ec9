"""Power drivers: found by name, in this package or another one, and their keys refused in words for rig.toml."""

import textwrap
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from rig.boards import power
from rig.boards.inventory import BenchConfig
from rig.boards.lease import Wanted
from rig.boards.power import PowerKeys, cycle, drivers
from rig.errors import BenchFault

DOCS = Path(__file__).parents[4] / "docs" / "power.md"
CARD = """
class CardError(Exception): ...

class Card:
    told = []

    def set(self, relay, contact):
        if relay == 9:
            raise CardError("eight relays")
        self.told.append((relay, contact))
"""


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


def announce(folder, points):
    """As pip leaves a package that has these entry points."""
    info = folder / "a_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-lab\nVersion: 1.0\n")
    lines = [f"{name} = {where}" for name, where in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{drivers.GROUP}]", *lines]) + "\n")


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
    announce(tmp_path, {"shelf": "our_lab:Keys", "gone": "our_lab.gone:Keys", "number": "our_lab:number"})
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


@every_driver
def test_every_driver_and_each_of_its_keys_is_in_the_docs(name):
    keys = DOCS.read_text().split("## Keys")[1].split("## A driver of your own")[0]
    rows = keys.split(f"\n| `{name}`")[1].split("\n| `")[0]
    own = set(drivers.find(name).model_fields) - set(PowerKeys.model_fields)
    assert {key for key in own if f"`{key}`" not in rows} == set()
    assert set(PowerKeys.model_fields) == {key for key in PowerKeys.model_fields if f"`{key}`" in keys}


def test_the_driver_in_the_docs_switches(tmp_path, monkeypatch):
    """The page's own code, over a card that keeps what it was told."""
    package = tmp_path / "shelf_lab"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "card.py").write_text(CARD)
    python, toml = (DOCS.read_text().split(f"```{language}\n")[1].split("```")[0] for language in ("python", "toml"))
    (package / "shelf_relay.py").write_text(python)
    announce(tmp_path, tomllib.loads(toml)["project"]["entry-points"][drivers.GROUP])
    monkeypatch.syspath_prepend(str(tmp_path))
    power = read('{ driver = "shelf-relay", relay = 3 }').open("c3")
    cycle(power, 0)
    assert import_module("shelf_lab.card").Card.told == [(3, "open"), (3, "closed")]
    with pytest.raises(BenchFault, match=r"relay 9 does not switch \(board c3\)"):
        read('{ driver = "shelf-relay", relay = 9 }').open("c3").off()


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
