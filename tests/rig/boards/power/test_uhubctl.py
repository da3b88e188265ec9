"""Power by uhubctl: the hub is asked after each switching, and a hub that only claims to switch is a bench fault.

There is no hub here, so the program is a script that prints what uhubctl 2.5.0 and 2.6.0 print (uhubctl.c,
print_port_status), and keeps what it switched in a file.
"""

import shutil
import stat
import subprocess
import sys

import pytest

from rig.boards import lease
from rig.boards.power.uhubctl import Keys, UhubctlPower, port_states
from rig.errors import BenchFault, UserError
from tests.rig.boards.wires import wait_until

HUB_SCRIPT = """\
#!/bin/sh
# uhubctl -l LOCATION -p PORT [-a on|off -r N]: a hub of four ports, of which the third has a bridge.
cd {folder}
echo "$@" >> calls
case " $* " in *" -p 9 "*) port= ;; *) port=3 ;; esac
status() {{
    echo "$1 status for hub 1-1.2 [2109:2817 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, {kind}]"
    [ -z "$port" ] || if [ "$(cat state)" = on ]
    then echo "  Port 3: 0103 power enable connect [10c4:ea60 Silicon Labs power bridge 0001]"
    else echo "  Port 3: 0000 off"
    fi
    {dual}
}}
action=; case " $* " in *" -a off "*) action=off ;; *" -a on "*) action=on ;; esac
status Current
if [ -n "$action" ]; then
    {switch}
    echo "Sent power $action request"
    status New
fi
"""
OBEYS = "echo $action > state"
IGNORES = "echo 'Failed to control port power!' >&2"
USB3 = """
    echo "$1 status for hub 2-1.2 [2109:0817 VIA Labs, Inc. USB3.0 Hub, USB 3.20, 4 ports, ppps]"
    if [ "$(cat state)" = on ] || [ {half} = yes ]
    then echo "  Port 3: 02a0 power 5gbps Rx.Detect"
    else echo "  Port 3: 0080 off"
    fi"""


@pytest.fixture
def hub(tmp_path):
    """Makes the switch of port 3 of a hub; `hub.calls()` is what uhubctl was called with."""

    class Hub:
        def __call__(self, *, kind="ppps", switch=OBEYS, dual=":", state="on", port=3, repeat=10) -> UhubctlPower:
            (tmp_path / "state").write_text(state)
            return self.program(HUB_SCRIPT.format(folder=tmp_path, kind=kind, switch=switch, dual=dual), port, repeat)

        def program(self, text, port=3, repeat=10, timeout=60) -> UhubctlPower:
            path = tmp_path / "uhubctl"
            path.write_text(text)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
            keys = Keys(location="1-1.2", port=port, program=str(path), repeat=repeat)
            return UhubctlPower("c3", keys, timeout)

        def state(self) -> str:
            return (tmp_path / "state").read_text().strip()

        def calls(self) -> list[str]:
            return (tmp_path / "calls").read_text().splitlines()

    return Hub()


def test_the_port_is_switched_and_the_hub_asked_afterwards(hub):
    power = hub(repeat=25)
    power.off()
    assert hub.state() == "off"
    assert hub.calls() == ["-l 1-1.2 -p 3 -a off -r 25", "-l 1-1.2 -p 3"]
    power.on()
    assert hub.state() == "on"


def test_switching_on_twice_or_by_a_new_switch_after_the_old_one_died_is_fine(hub):
    hub(state="off").on()
    assert hub.state() == "on"
    again = hub()
    again.on()
    again.on()
    assert hub.state() == "on"


def test_the_board_of_a_killed_run_gets_its_power_back(hub, tmp_path, monkeypatch):
    monkeypatch.setenv(lease.FOLDER, str(tmp_path / "leases"))
    program = (
        "import sys, time; from rig.boards.lease import Lease; from rig.boards.power.uhubctl import Keys\n"
        "power = Keys.model_validate_json(sys.argv[1])\n"
        "with Lease('c3', ['/dev/c3'], power)(): power.open('c3').off(); print('off', flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", program, hub()._keys.model_dump_json()]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "off\n"
    assert hub.state() == "off"
    run.kill()
    run.communicate()
    wait_until(lambda: lease.holder(["/dev/c3"]) is None, "the guardian had given the board back")
    assert hub.state() == "on"


@pytest.mark.parametrize(("state", "wanted", "says"), [("on", "off", "power enable connect"), ("off", "on", "off")])
def test_a_hub_that_claims_to_switch_and_does_not_is_a_bench_fault_with_what_it_says(hub, state, wanted, says):
    power = hub(switch=IGNORES, state=state)
    with pytest.raises(BenchFault, match=f"switched {wanted} and says `{says}`") as caught:
        getattr(power, wanted)()
    assert "(board c3)" in str(caught.value)
    assert f"Sent power {wanted} request" in str(caught.value.evidence)
    assert "Failed to control port power!" in str(caught.value.evidence)


def test_a_usb_3_hub_is_off_only_when_both_of_its_halves_say_so(hub):
    hub(dual=USB3.format(half="no")).off()
    with pytest.raises(BenchFault, match=r"port 3 of hub 2-1.2 .*says `power 5gbps Rx.Detect`"):
        hub(dual=USB3.format(half="yes")).off()


@pytest.mark.parametrize("kind", ["ganged", "nops"])
def test_a_hub_that_switches_all_ports_together_or_none_is_a_bench_fault(hub, kind):
    with pytest.raises(BenchFault, match=r"hub 1-1\.2 does not switch its ports one by one"):
        hub(kind=kind).off()


def test_a_port_that_the_hub_does_not_have_is_a_bench_fault_that_shows_the_hub(hub):
    with pytest.raises(BenchFault, match="has no port 9") as caught:
        hub(port=9).off()
    assert "VIA Labs" in str(caught.value.evidence)


def test_a_program_that_does_not_end_is_a_bench_fault(hub):
    with pytest.raises(BenchFault, match=r"did not end within 0\.2 s"):
        hub.program("#!/bin/sh\nexec sleep 600\n", timeout=0.2).off()


def test_a_program_that_is_none_is_a_user_error(hub):
    with pytest.raises(UserError, match="cannot be started"):
        hub.program("no program at all").off()
    with pytest.raises(UserError, match="there is no program uhubctl-of-nowhere"):
        Keys(location="1-1", port=1, program="uhubctl-of-nowhere").check("c3", {"PATH": "/usr/bin"})


def test_doctor_is_told_what_the_port_says_without_switching(hub):
    power = hub()
    assert power._keys.check("c3", {}) == "port 3 of hub 1-1.2: power enable connect (not switched)"
    assert hub.calls() == ["-l 1-1.2 -p 3"]


@pytest.mark.parametrize("location", ["", "1-", "1.2", "usb1", "1-1 -a off", "../1"])
def test_what_is_no_location_is_refused_with_its_key(location):
    with pytest.raises(ValueError, match="location"):
        Keys(location=location, port=1)


def test_a_device_that_calls_itself_power_does_not_make_a_port_powered():
    text = "Current status for hub 1-1 [x]\n  Port 2: 0101 connect [1234:5678 power 100%]\n  Port 12: 0100 power\n"
    assert [state.powered for state in port_states(text, 2)] == [False]


def test_of_the_real_program_the_answer_that_there_is_no_such_hub_is_a_bench_fault():
    program = shutil.which("uhubctl", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    if program is None:
        pytest.skip("uhubctl is not installed")
    power = Keys(location="99-1", port=1, program=program).open("c3")
    with pytest.raises(BenchFault, match="uhubctl cannot switch port 1 of hub 99-1") as caught:
        power.off()
    assert "No compatible devices detected at location 99-1" in str(caught.value.evidence)
    assert "root or a udev rule" in str(caught.value.hint)
