"""Updates over the console's UART to the virtual device, with every fault."""

import pytest

from rig.errors import BenchFault, UserError
from rig.protocol import Line, encode_line, parse_line
from rig.updates import uart
from rig.updates.agent import Agent, AgentError, DeviceRestarted
from rig.updates.uart import UartFaults, abort_transfer, install_image, send_image, transfer_image
from tests.rig.device import PATIENCE_S, app, make_device

__all__ = ["make_device"]


@pytest.fixture
def device(make_device):
    device = make_device()
    device.start()
    return device


def in_slot(device, size):
    return device.chip.flash.read(0x110000, size)


def test_an_image_is_written_verified_and_chosen(device):
    image = app("rollback", "2.0.0")
    seen = []
    transfer = install_image(device.agent, image, on_progress=lambda done, total: seen.append((done, total)))
    assert (transfer.slot, transfer.size, transfer.acked, transfer.stopped) == ("ota_1", len(image), len(image), False)
    assert seen[-1] == (len(image), len(image))
    assert seen == sorted(seen)
    assert in_slot(device, len(image)) == image
    assert device.agent.slots().boot == "ota_1"


def test_sending_alone_does_not_choose_the_boot_slot(device):
    send_image(device.agent, app("rollback", "2.0.0"))
    assert device.agent.slots().boot == "ota_0"
    assert device.states() == ["VALID", "-"]


@pytest.mark.parametrize("mode", ["unknown", "size", "seq"])
def test_every_way_of_erasing_gives_the_same_image(device, mode):
    device.chip.flash.load(0x110000, bytes(0x20000))
    image = app("rollback", "2.0.0")
    send_image(device.agent, image, slot="ota_1", mode=mode)
    assert in_slot(device, len(image)) == image
    rest = device.chip.flash.read(0x120000, 0x1000)
    assert rest == (b"\xff" * 0x1000 if mode == "unknown" else bytes(0x1000))


@pytest.mark.parametrize(
    "faults",
    [
        UartFaults(drop_frames={0}),
        UartFaults(drop_frames={3, 4, 9}),
        UartFaults(drop_frames={10}),
        UartFaults(damage_frames={0}),
        UartFaults(damage_frames={2, 5, 10}),
        UartFaults(duplicate_frames={0, 1, 7, 10}),
        UartFaults(pause_before={4: 0.05}),
        UartFaults(drop_frames={1}, damage_frames={2}, duplicate_frames={3}, pause_before={5: 0.01}),
    ],
)
def test_faults_of_the_line_are_recovered_from(device, faults, monkeypatch):
    monkeypatch.setattr(uart, "ACK_TIMEOUT", 0.2)
    image = app("rollback", "2.0.0")
    transfer = install_image(device.agent, image, faults=faults)
    assert in_slot(device, len(image)) == image
    assert (transfer.frames_resent > 0) is bool(faults.drop_frames or faults.damage_frames)


@pytest.mark.parametrize(
    "faults",
    [
        UartFaults(flip={0x4000: 0x01}),
        UartFaults(flip={100: 0xFF, 200: 0xFF}),
        UartFaults(truncate=0x4000),
        UartFaults(truncate=24),
    ],
)
def test_a_wrong_image_passes_every_frame_check_and_fails_at_the_end(device, faults):
    with pytest.raises(AgentError, match="'update_end' with ESP_ERR_OTA_VALIDATE_FAILED"):
        install_image(device.agent, app("rollback", "2.0.0"), faults=faults)
    assert device.states() == ["VALID", "-"]
    assert device.agent.slots().boot == "ota_0"


def test_a_wrong_first_byte_is_refused_at_the_first_write(device):
    with pytest.raises(AgentError, match="'update_begin' with ESP_ERR_OTA_VALIDATE_FAILED"):
        install_image(device.agent, app("rollback", "2.0.0"), faults=UartFaults(flip={0: 0xFF}))
    assert device.agent.ping("text again")
    with pytest.raises(AgentError, match="ESP_ERR_INVALID_STATE"):
        device.agent.update_end()


def test_a_wrong_hash_is_noticed_by_the_device(device):
    with pytest.raises(AgentError, match="ESP_ERR_INVALID_CRC"):
        send_image(device.agent, app("rollback", "2.0.0"), sha256="00" * 32)


def test_a_transfer_that_stops_can_be_ended_at_once(device):
    transfer = install_image(device.agent, app("rollback", "2.0.0"), faults=UartFaults(stop_after=10_000))
    assert (transfer.stopped, transfer.acked) == (True, 10_000)
    abort_transfer(device.agent, transfer.request_id)
    assert device.agent.ping("text again")
    assert device.states() == ["VALID", "-"]


def test_a_transfer_that_stops_is_given_up_by_the_device(device):
    started = device.agent.update_begin(100, timeout=2)
    line = device.agent.wait_progress(started.request_id, PATIENCE_S)
    assert line is not None
    assert (line.word, line.fields) == ("fail", {"error": "ESP_ERR_TIMEOUT", "offset": "0"})
    assert device.agent.ping("text again")


def test_an_update_is_refused_while_the_running_one_is_on_probation(device):
    device.agent.set_diagnostics("manual")
    install_image(device.agent, app("rollback", "2.0.0"))
    device.agent.reboot()
    device.agent.wait_ready(PATIENCE_S)
    with pytest.raises(AgentError, match="ESP_ERR_OTA_ROLLBACK_INVALID_STATE"):
        install_image(device.agent, app("rollback", "3.0.0"))
    assert device.states() == ["VALID", "PENDING_VERIFY"]


def test_a_second_begin_drops_the_first(device):
    transfer_image(device.agent, app("rollback", "2.0.0"))
    with pytest.raises(AgentError, match="ESP_ERR_INVALID_ARG"):
        device.agent.update_begin(10, slot="factory")
    image = app("rollback", "3.0.0")
    install_image(device.agent, image)
    assert in_slot(device, len(image)) == image


def test_v6_1_refuses_a_second_begin_on_the_same_slot(make_device):
    device = make_device(idf="v6.1")
    device.start()
    transfer_image(device.agent, app("rollback", "2.0.0", idf="v6.1"))
    with pytest.raises(AgentError, match="ESP_ERR_OTA_ALREADY_IN_PROGRESS"):
        device.agent.update_begin(10)
    assert device.agent.update_end() == len(app("rollback", "2.0.0", idf="v6.1"))


def test_an_update_that_was_replaced_does_not_keep_its_slot_open(make_device):
    device = make_device("three_slots", idf="v6.1")
    device.start()
    for slot in ("ota_1", "ota_2", "ota_1"):
        assert transfer_image(device.agent, app("rollback", "2.0.0", idf="v6.1"), slot=slot).slot == slot


def test_a_power_cut_in_the_middle_leaves_the_old_app(device):
    image = app("rollback", "2.0.0")

    class Cut(Exception):
        pass

    def cut(done, total):
        if done > total // 2:
            device.chip.power_off()
            raise Cut

    with pytest.raises(Cut):
        install_image(device.agent, image, on_progress=cut)
    device.cycle()
    assert device.agent.hello().running == "ota_0"


class Ideal:
    """A device that acknowledges everything, on which one thing goes wrong."""

    def __init__(self, on_frame):
        self.on_frame = on_frame
        self.console = []
        self.frames = 0
        self.request_id = 0
        self.timeouts = 0

    def write(self, data):
        line = parse_line(data)
        if line is None:
            self.frames += 1
            self.console += self.on_frame(self)
            return
        self.request_id = line.id
        place = {"slot": "ota_1", "offset": "0x110000", "frame": "16", "window": "32"}
        self.console.append(encode_line(Line(line.id, "ok", place)).rstrip())

    def expect_line(self, accept, timeout):
        while self.console:
            raw = self.console.pop(0)
            if accept(raw):
                return raw
        self.timeouts += 1
        raise TimeoutError

    def says(self, word, **fields):
        return [encode_line(Line(self.request_id, word, fields)).rstrip()]


def test_no_more_than_the_window_is_ever_under_way():
    mute = Ideal(lambda device: [])
    with pytest.raises(BenchFault, match="acknowledged 0 of 100 bytes"):
        transfer_image(Agent(mute), bytes(100))
    assert mute.frames == 2 * (uart.MAX_REPEATS + 1)


def test_a_nak_is_followed_at_once_without_waiting_for_the_time_limit():
    def first_two_lost(device):
        if device.frames == 2:
            return device.says("nak", offset="0")
        return device.says("ack", offset=str(16 * (device.frames - 2))) if device.frames > 2 else []

    device = Ideal(first_two_lost)
    transfer = transfer_image(Agent(device), bytes(64))
    assert (transfer.frames_sent, transfer.frames_resent, device.timeouts) == (6, 2, 0)


def test_acknowledgements_of_what_was_never_sent_are_ignored():
    liar = Ideal(lambda device: device.says("ack", offset="4096"))
    with pytest.raises(BenchFault, match="acknowledged 0 of 100 bytes"):
        transfer_image(Agent(liar), bytes(100))


def test_a_restart_of_the_device_ends_the_transfer():
    crashing = Ideal(lambda device: [encode_line(Line(None, "start", {})).rstrip()])
    with pytest.raises(DeviceRestarted, match="during the transfer"):
        transfer_image(Agent(crashing), bytes(100))


@pytest.mark.parametrize(
    ("image", "faults", "message"),
    [
        (b"", UartFaults(), "empty"),
        (b"abc", UartFaults(flip={3: 1}), "offset 0x3"),
        (b"abc", UartFaults(truncate=0), "empty"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_the_device_erases_anything(image, faults, message):
    device = Ideal(lambda device: [])
    with pytest.raises(UserError, match=message):
        transfer_image(Agent(device), image, faults=faults)
    assert device.request_id == 0
