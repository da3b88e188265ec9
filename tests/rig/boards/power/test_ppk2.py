"""Power by a PPK2: the real ppk2-api at one end of a pseudo terminal, at the other a program that obeys its bytes.

Bytes and their meaning: ppk2_api.PPK2_Command, and src/constants.ts and src/device of Nordic's pc-nrfconnect-ppk.
"""

import os
import threading

import pytest
import serial

from rig.boards.power.ppk2 import Keys, Ppk2Power
from rig.errors import BenchFault, UserError
from tests.rig.boards.wires import UsbPort, wait_until

LENGTHS = {0x07: 1, 0x0C: 2, 0x0D: 3, 0x11: 2, 0x19: 1}
"""Of a command with its arguments: stop measuring, device running, regulator, power mode, metadata."""
METADATA = "Calibrated: 0\nR0: 1003.3506\nR4: 0.0500\nVDD: {}\nHW: 9173\nmode: {}\nIA: 56\nEND\n"


class Kit:
    """Obeys commands that come by `line`; `outputs` are the millivolts at VOUT, 0 without power, after each command."""

    def __init__(self, line, *, answers=True, pieces=1, measures=False, late=0) -> None:
        self.regulator, self.mode, self.running = 3000, 1, False
        self.outputs: list[int] = []
        self.codes: list[int] = []
        self._line, self._answers, self._pieces = line, answers, pieces
        self._measures, self._late = measures, late
        threading.Thread(target=self._obey, daemon=True).start()

    @property
    def output(self) -> int:
        return self.regulator if self.running and self.mode == 2 else 0

    def _obey(self) -> None:
        data = b""
        try:
            while True:
                data += os.read(self._line.far, 64)
                while data and len(data) >= LENGTHS[data[0]]:
                    command, data = data[: LENGTHS[data[0]]], data[LENGTHS[data[0]] :]
                    self._do(*command)
        except (OSError, TypeError):
            return

    def _do(self, code: int, *arguments: int) -> None:
        self.codes.append(code)
        if self._measures or (code == 0x19 and self._late):
            self._measures = self._measures and code != 0x07
            self._late = 0
            os.write(self._line.far, b"\xff\xfe\x00\x01" * 200)
        match code, arguments:
            case 0x0C, (running,):
                self.running = running == 1
            case 0x0D, (high, low):
                self.regulator = (high - 3) * 256 + low - 32 + 800
            case 0x11, (mode,):
                self.mode = mode
            case 0x19, () if self._answers:
                text = METADATA.format(self.regulator, self.mode).encode()
                if self._pieces > 1:
                    self._pieces -= 1
                    text = text[:20]
                os.write(self._line.far, text)
        self.outputs.append(self.output)


@pytest.fixture
def usb(tmp_path):
    pytest.importorskip("ppk2_api", reason="ppk2-api is not installed")
    port = UsbPort(tmp_path)
    yield port
    port.close()


def switch(usb, millivolts=3300, patience_s=5.0) -> Ppk2Power:
    return Ppk2Power("c3", Keys(port=str(usb.link), millivolts=millivolts), patience_s)


@pytest.mark.parametrize("millivolts", [800, 1056, 3300, 5000])
def test_it_supplies_the_voltage_of_rig_toml_and_none(usb, millivolts):
    kit, power = Kit(usb.line), switch(usb, millivolts)
    power.on()
    assert kit.output == millivolts
    power.off()
    assert kit.output == 0
    power.close()


def test_off_first_and_on_twice_are_fine(usb):
    kit, power = Kit(usb.line), switch(usb)
    power.off()
    power.on()
    power.on()
    assert kit.output == 3300
    power.close()


def test_a_sag_lowers_the_supply_and_brings_it_back(usb):
    kit, power = Kit(usb.line), switch(usb)
    power.on()
    del kit.outputs[:]
    power.sag(1900, 0.01)
    levels = [level for level, before in zip(kit.outputs, [0, *kit.outputs], strict=False) if level != before]
    assert levels == [1900, 3300]
    power.close()


def test_after_a_sag_that_was_broken_off_the_supply_is_back(usb, monkeypatch):
    kit, power = Kit(usb.line), switch(usb)
    power.on()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rig.boards.power.ppk2.time.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            power.sag(1900, 10)
    wait_until(lambda: kit.outputs[-2:] == [1900, 3300], "the supply was lowered and back")
    power.close()


def test_a_fresh_switch_mends_what_another_one_left_when_it_was_killed(usb):
    kit = Kit(usb.line)
    killed = switch(usb, 1900)
    killed.on()
    killed.off()
    killed.close()
    assert kit.regulator == 1900
    power = switch(usb)
    power.on()
    assert kit.output == 3300
    power.close()


@pytest.mark.parametrize(("millivolts", "seconds"), [(799, 1), (5001, 1), (0, 1), (1900, -1), (1900, 3600)])
def test_a_sag_that_the_kit_cannot_do_is_refused_and_nothing_is_sent(usb, millivolts, seconds):
    kit = Kit(usb.line)
    with pytest.raises(UserError, match=f"cannot sag to {millivolts} mV"):
        switch(usb).sag(millivolts, seconds)
    assert kit.outputs == []


def test_what_does_not_answer_is_a_bench_fault_and_is_told_nothing_as_it_may_be_no_kit(usb):
    kit = Kit(usb.line, answers=False)
    power = switch(usb)
    with pytest.raises(BenchFault, match=r"the PPK2 does not answer, so power may not be switched \(board c3\)"):
        power.off()
    assert 0x19 in kit.codes
    assert set(kit.codes) <= {0x07, 0x19}, "nothing that would switch"


def test_an_answer_in_two_pieces_is_asked_for_again(usb):
    kit, power = Kit(usb.line, pieces=2), switch(usb)
    power.on()
    assert kit.output == 3300
    power.close()


@pytest.mark.parametrize("how", [{"measures": True}, {"late": 1}])
def test_measurements_that_somebody_left_running_are_stopped_and_are_no_answers(usb, how):
    kit, power = Kit(usb.line, **how), switch(usb)
    power.on()
    assert kit.output == 3300
    power.close()


def test_a_kit_that_was_plugged_in_anew_is_found_and_set_up_again(usb):
    Kit(usb.line)
    power = switch(usb)
    power.on()
    usb.unplug()
    usb.plug()
    kit = Kit(usb.line)
    power.on()
    assert kit.output == 3300
    power.close()


def test_a_kit_that_was_plugged_in_anew_supplies_nothing_that_could_sag(usb):
    Kit(usb.line)
    power = switch(usb)
    power.on()
    usb.unplug()
    usb.plug()
    kit = Kit(usb.line)
    with pytest.raises(BenchFault, match="does not answer"):
        power.sag(1900, 0)
    assert kit.outputs == []


def test_a_kit_that_was_pulled_out_is_a_bench_fault(usb):
    Kit(usb.line)
    power = switch(usb)
    power.on()
    usb.unplug()
    with pytest.raises(BenchFault):
        power.off()


def test_a_kit_that_another_program_holds_is_a_bench_fault(usb):
    Kit(usb.line)
    with serial.Serial(str(usb.link), exclusive=True), pytest.raises(BenchFault, match="is in use") as caught:
        switch(usb, patience_s=0.1).on()
    assert "nRF Connect" in str(caught.value)


def test_a_kit_that_is_not_there_is_a_bench_fault_in_doctor_too(usb):
    usb.unplug()
    for keys in (Keys(port=str(usb.link), millivolts=3300), Keys(serial_number="C0FFEE", millivolts=3300)):
        with pytest.raises(BenchFault):
            keys.check("c3", {})


def test_doctor_names_kit_and_voltage_without_touching_it(usb):
    kit = Kit(usb.line)
    said = Keys(port=str(usb.link), millivolts=3300).check("c3", {})
    assert said == f"PPK2 at {usb.line.path}, 3300 mV (not switched)"
    assert kit.outputs == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"millivolts": 3300}, "exactly one of"),
        ({"port": "/dev/x", "serial_number": "1", "millivolts": 3300}, "exactly one of"),
        ({"port": "/dev/x", "millivolts": 799}, "millivolts"),
        ({"port": "/dev/x", "millivolts": 5001}, "millivolts"),
        ({"port": "/dev/x"}, "millivolts"),
    ],
)
def test_keys_that_are_wrong_are_named(keys, said):
    with pytest.raises(ValueError, match=said):
        Keys(**keys)
