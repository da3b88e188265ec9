"""Power by a lab supply over SCPI: commands in order, and the supply is believed only when it says the same."""

import socket
import threading

import pytest

from rig.boards.power.scpi import Keys, ScpiPower
from rig.errors import BenchFault, UserError

LAN = "TCPIP::192.0.2.5::5025::SOCKET"
DEVICES = """
spec: "1.1"
devices:
  supply:
    eom: {TCPIP SOCKET: {q: "\\n", r: "\\n"}, ASRL INSTR: {q: "\\n", r: "\\n"}}
    error: ERROR
    properties:
      selected_channel:
        default: 1
        getter: {q: "INST:NSEL?", r: "{}"}
        setter: {q: "INST:NSEL {}"}
    channels:
      output:
        ids: [1, 2]
        can_select: False
        properties:
          state:
            default: "OFF"
            getter: {q: "OUTP?", r: "{}"}
            setter: {q: "OUTP {}"}
            specs: {type: str, valid: ["ON", "OFF"]}
  tripped:
    eom: {TCPIP SOCKET: {q: "\\n", r: "\\n"}}
    dialogues: [{q: "OUTP ON"}, {q: "OUTP OFF"}, {q: "OUTP?", r: "0"}]
  foreign:
    eom: {TCPIP SOCKET: {q: "\\n", r: "\\n"}}
    dialogues: [{q: "OUTP ON"}, {q: "OUTP?", r: "CV"}]
resources:
  TCPIP::192.0.2.5::5025::SOCKET: {device: supply}
  ASRL7::INSTR: {device: supply}
  TCPIP::192.0.2.6::5025::SOCKET: {device: tripped}
  TCPIP::192.0.2.7::5025::SOCKET: {device: foreign}
"""


@pytest.fixture
def lab(tmp_path):
    """Makes switches of the supplies above, simulated by pyvisa-sim."""
    pytest.importorskip("pyvisa_sim", reason="pyvisa-sim is not installed")
    (tmp_path / "lab.yaml").write_text(DEVICES)
    backend = f"{tmp_path / 'lab.yaml'}@sim"
    return lambda resource=LAN, **keys: ScpiPower("c3", Keys(resource=resource, backend=backend, **keys))


@pytest.fixture
def listening():
    """A supply on a TCP port; it keeps the lines it is told, and how often it was called."""
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")

    class Supply:
        def __init__(self) -> None:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.told: list[list[str]] = []
            self.output = "0"
            self.thread = threading.Thread(target=self.serve, daemon=True)
            self.thread.start()

        def serve(self) -> None:
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return
                self.told.append([])
                with connection, connection.makefile("rw", newline="\n") as stream:
                    for line in stream:
                        self.told[-1].append(line)
                        if line.startswith("OUTP?"):
                            stream.write(self.output + "\n")
                            stream.flush()
                        elif line.startswith("OUTP "):
                            self.output = {"ON": "1", "OFF": "0"}[line.strip().rpartition(",")[2].split()[-1]]

        def switch(self, **keys) -> ScpiPower:
            port = self.listener.getsockname()[1]
            return ScpiPower("c3", Keys(resource=f"TCPIP::127.0.0.1::{port}::SOCKET", **keys))

    supply = Supply()
    yield supply
    supply.listener.shutdown(socket.SHUT_RDWR)
    supply.listener.close()
    supply.thread.join()


def test_the_output_is_switched_and_says_so(lab):
    power = lab()
    power.on()
    assert power.state() == "on"
    power.off()
    assert power.state() == "off"


def test_each_board_has_its_own_channel_whatever_was_selected_before(lab):
    first, second = lab(channel=1), lab(channel=2)
    first.on()
    second.off()
    assert (first.state(), second.state()) == ("on", "off")
    first.off()
    second.on()
    assert (first.state(), second.state()) == ("off", "on")


def test_on_again_and_by_another_switch_is_fine(lab):
    lab().on()
    lab().on()
    lab("ASRL7::INSTR", baud=115200).on()
    assert lab().state() == "on"


def test_a_supply_that_says_otherwise_is_a_bench_fault_with_command_and_answer(lab):
    power = lab("TCPIP::192.0.2.6::5025::SOCKET")
    power.off()
    with pytest.raises(BenchFault, match=r"told `OUTP ON` and says that its output is off \(board c3\)"):
        power.on()


def test_an_answer_that_is_neither_on_nor_off_is_a_bench_fault_that_shows_it(lab):
    with pytest.raises(BenchFault, match="answers `OUTP\\?` with 'CV'"):
        lab("TCPIP::192.0.2.7::5025::SOCKET").on()


def test_over_a_real_connection_the_lines_are_those_of_the_programming_guide(listening):
    listening.switch(channel=2).on()
    assert listening.told == [["INST:NSEL 2\n", "OUTP ON\n", "OUTP?\n"]]


def test_other_commands_take_the_channel_where_they_want_it(listening):
    power = listening.switch(
        channel=3, select="", on="OUTP CH{channel},ON", off="OUTP CH{channel},OFF", ask="OUTP? CH{channel}"
    )
    power.on()
    power.off()
    assert listening.told == [["OUTP CH3,ON\n", "OUTP? CH3\n"], ["OUTP CH3,OFF\n", "OUTP? CH3\n"]]


def test_doctor_asks_and_does_not_switch(listening):
    power = listening.switch()
    assert power._keys.check("c3", {}).endswith("output off (not switched)")
    assert listening.told == [["OUTP?\n"]]


def test_a_supply_that_is_not_there_is_a_bench_fault_that_names_it():
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BenchFault, match=f"TCPIP::127.0.0.1::{port}::SOCKET cannot be talked to: .*refused"):
        Keys(resource=f"TCPIP::127.0.0.1::{port}::SOCKET").open("c3").on()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"resource": "192.0.2.5"}, "192.0.2.5 is no VISA resource name"),
        ({"resource": LAN, "backend": "nowhere.yaml@sim"}, "PyVISA has no backend nowhere.yaml@sim"),
    ],
)
def test_what_can_never_work_is_a_user_error(keys, said):
    pytest.importorskip("pyvisa_sim", reason="pyvisa-sim is not installed")
    with pytest.raises(UserError, match=said):
        Keys(**keys).open("c3").on()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"on": "OUTP CH{channel},ON"}, "needs the key channel"),
        ({"off": "OUTP {output}"}, "only {channel} can stand in braces"),
        ({"ask": "OUTP? {0}"}, "only {channel} can stand in braces"),
        ({"ask": "OUTP? {"}, "only {channel} can stand in braces"),
        ({"channel": 0}, "channel"),
    ],
)
def test_commands_that_cannot_be_filled_in_are_refused_at_once(keys, said):
    with pytest.raises(ValueError, match=said):
        Keys(resource=LAN, **keys)
