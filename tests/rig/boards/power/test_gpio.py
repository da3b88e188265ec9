"""Power by a GPIO: a line of the kernel's gpio-sim where there is one, else what the real library says without."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig.boards.power.gpio import GpioPower, Keys
from rig.errors import BenchFault, UserError

CONFIGFS = Path("/sys/kernel/config/gpio-sim")


@pytest.fixture
def gpiod():
    return pytest.importorskip("gpiod", reason="the package gpiod is not installed")


class SimulatedChip:
    """A chip of gpio-sim with four lines, of which the third is called RELAY (kernel: admin-guide/gpio/gpio-sim)."""

    def __init__(self) -> None:
        self._group = CONFIGFS / f"rig-{os.getpid()}"
        self._bank = self._group / "bank0"

    def create(self) -> None:
        (self._bank / "line2").mkdir(parents=True)
        (self._bank / "num_lines").write_text("4")
        (self._bank / "line2" / "name").write_text("RELAY")
        (self._group / "live").write_text("1")
        self.name = (self._bank / "chip_name").read_text().strip()
        self.path = f"/dev/{self.name}"

    def level(self, line: int) -> str:
        """What a meter at the pin would read."""
        device = (self._group / "dev_name").read_text().strip()
        return Path(f"/sys/devices/platform/{device}/{self.name}/sim_gpio{line}/value").read_text().strip()

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            (self._group / "live").write_text("0")
        for folder in (self._bank / "line2", self._bank, self._group):
            with contextlib.suppress(OSError):
                folder.rmdir()


@pytest.fixture
def chip(gpiod):
    if not CONFIGFS.is_dir() or not os.access(CONFIGFS, os.W_OK):
        pytest.skip(f"no {CONFIGFS} to make a GPIO chip in: modprobe gpio-sim, mount configfs, and be root")
    simulated = SimulatedChip()
    try:
        simulated.create()
        yield simulated
    finally:
        simulated.remove()


@pytest.mark.parametrize("line", [2, "RELAY"])
@pytest.mark.parametrize(("active_low", "powered", "without"), [(False, "1", "0"), (True, "0", "1")])
def test_the_line_follows_the_switch(chip, line, active_low, powered, without):
    power = GpioPower("c3", Keys(chip=chip.path, line=line, active_low=active_low))
    levels = []
    for act in (power.on, power.off, power.off, power.on):
        act()
        levels.append(chip.level(2))
    power.close()
    assert levels == [powered, without, without, powered]


def test_a_fresh_process_gives_power_back_when_another_one_was_killed_without(chip):
    keys = {"chip": chip.path, "line": 2}
    program = (
        f"import time; from rig.boards.power.gpio import Keys; Keys(**{keys!r}).open('c3').off(); "
        "print('off', flush=True); time.sleep(600)"
    )
    killed = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert killed.stdout.readline() == "off\n"
    killed.send_signal(signal.SIGKILL)
    power = GpioPower("c3", Keys(**keys))
    power.on()
    killed.communicate()
    assert chip.level(2) == "1"
    power.close()


def test_a_line_that_is_taken_is_a_bench_fault(chip):
    first = GpioPower("c3", Keys(chip=chip.path, line=2))
    first.on()
    with pytest.raises(BenchFault, match=f"line 2 of {chip.path} is in use"):
        GpioPower("s3", Keys(chip=chip.path, line=2), 0.1).on()
    assert "in use by rig c3" in GpioPower("c3", Keys(chip=chip.path, line="RELAY")).describe()
    first.close()


def test_a_line_that_the_chip_lacks_is_a_bench_fault(chip):
    for line in (9, "NOWHERE"):
        with pytest.raises(BenchFault, match=f"line {line} of {chip.path} cannot be driven"):
            GpioPower("c3", Keys(chip=chip.path, line=line)).on()


@pytest.mark.parametrize("act", ["on", "off", "describe"])
def test_a_chip_that_is_not_there_is_a_bench_fault_that_names_it(gpiod, act):
    power = GpioPower("c3", Keys(chip="/dev/gpiochip-of-nowhere", line=2))
    with pytest.raises(BenchFault, match=r"there is no GPIO chip /dev/gpiochip-of-nowhere \(board c3\)") as caught:
        getattr(power, act)()
    assert "gpioinfo" in str(caught.value)


def test_a_device_that_is_no_gpio_chip_is_a_bench_fault(gpiod):
    with pytest.raises(BenchFault, match="line 2 of /dev/null cannot be driven"):
        Keys(chip="/dev/null", line=2).check("c3", {})


def test_version_1_of_the_package_is_a_user_error_that_says_what_to_install(tmp_path, monkeypatch):
    """The package of that name that many systems have had: no request_lines."""
    (tmp_path / "gpiod.py").write_text("class Chip: ...\nLINE_REQ_DIR_OUT = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gpiod", raising=False)
    with pytest.raises(UserError, match=r"gpiod is version 1[\s\S]*pip install 'gpiod>=2'"):
        Keys(line=2).open("c3").on()
    sys.modules.pop("gpiod", None)


@pytest.mark.parametrize(
    ("keys", "said"), [({}, "line"), ({"line": 2.5}, "line"), ({"line": 2, "active_low": 7}, "active_low")]
)
def test_keys_that_are_wrong_are_named(keys, said):
    with pytest.raises(ValueError, match=said):
        Keys(**keys)


def test_a_number_is_an_offset_and_a_word_a_name():
    assert (Keys(line=17).line, Keys(line="GPIO17").line) == (17, "GPIO17")
