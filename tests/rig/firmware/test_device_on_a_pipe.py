"""The host's own agent and sender against the C code, over a pipe: every fault of the line, and noise."""

import os
import random
import select
import subprocess
import time
from hashlib import sha256

import pytest

from rig.protocol import Line, encode_line, parse_line
from rig.updates import uart
from rig.updates.agent import Agent
from rig.updates.uart import UartFaults, abort_transfer, send_image, transfer_image
from tests.rig.firmware.c_side import environment

PATIENCE_S = 20.0
IMAGE = random.Random(3).randbytes(45_678)


class Pipe:
    """A process as a `LineChannel`."""

    def __init__(self, program, folder, frame, window):
        self.flash = folder / "flash.bin"
        self._errors = folder / "errors"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(program), str(self.flash), str(frame), str(window)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
            )
        self.console = b""

    def write(self, data):
        # The device answers while we write; a pipe holds less than a window.
        sink, source = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(sink, False)
        while data:
            readable, writable, _ = select.select([source], [sink], [], PATIENCE_S)
            if readable:
                self._read()
            if writable:
                data = data[os.write(sink, data) :]

    def expect_line(self, accept, timeout):
        deadline = time.monotonic() + timeout
        while True:
            while b"\n" in self.console:
                raw, _, self.console = self.console.partition(b"\n")
                if accept(raw):
                    return raw
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if select.select([self._process.stdout], [], [], left)[0]:
                self._read()

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(PATIENCE_S) == 0, self._errors.read_text(errors="replace")

    def _read(self):
        data = os.read(self._process.stdout.fileno(), 65536)
        assert data, self._errors.read_text(errors="replace")
        self.console += data


@pytest.fixture
def make_device(pipe_device, tmp_path):
    made = []

    def make(frame=4096, window=16384):
        made.append(Pipe(pipe_device, tmp_path, frame, window))
        return made[-1]

    yield make
    for device in made:
        device.close()


def arrived(device):
    return device.flash.read_bytes()


@pytest.mark.parametrize(("frame", "window"), [(4096, 16384), (1000, 1000), (256, 2048)])
def test_an_image_arrives_whole(make_device, frame, window):
    device = make_device(frame, window)
    agent = Agent(device)
    transfer = transfer_image(agent, IMAGE)
    assert (transfer.acked, transfer.frames_resent) == (len(IMAGE), 0)
    assert arrived(device) == IMAGE
    assert agent.request("update_end").data("sha256", 32) == sha256(IMAGE).digest()


@pytest.mark.parametrize(
    "faults",
    [
        UartFaults(drop_frames={0}),
        UartFaults(drop_frames={3, 4, 9}),
        UartFaults(damage_frames={0}),
        UartFaults(damage_frames={2, 5, 11}),
        UartFaults(duplicate_frames={0, 1, 7, 11}),
        UartFaults(drop_frames={1}, damage_frames={2}, duplicate_frames={3}, pause_before={5: 0.01}),
    ],
)
def test_faults_of_the_line_are_recovered_from(make_device, faults, monkeypatch):
    monkeypatch.setattr(uart, "ACK_TIMEOUT", 0.3)
    device = make_device()
    transfer = send_image(Agent(device), IMAGE, faults=faults)
    assert arrived(device) == IMAGE
    assert (transfer.frames_resent > 0) is bool(faults.drop_frames or faults.damage_frames)


def test_text_is_understood_again_behind_an_abandoned_transfer(make_device):
    device = make_device()
    agent = Agent(device)
    transfer = send_image(agent, IMAGE, faults=UartFaults(stop_after=10_000))
    abort_transfer(agent, transfer.request_id)
    assert agent.ping("text again")
    assert arrived(device) == IMAGE[:10_000]


def test_a_transfer_in_which_nothing_comes_is_given_up(make_device):
    device = make_device()
    agent = Agent(device)
    started = agent.update_begin(100, timeout=1)
    line = agent.wait_progress(started.request_id, PATIENCE_S)
    assert (line.word, line.fields) == ("fail", {"error": "ESP_ERR_TIMEOUT", "offset": "0"})
    assert agent.ping("text again")


def test_requests_torn_repeated_and_damaged_do_not_disturb_the_next(make_device):
    device = make_device()
    agent = Agent(device, first_id=1000)
    request = encode_line(Line(7, "ping", {"data": "x"}))
    for cut in range(1, len(request), 5):
        device.write(request[:cut] + b"\n" + request[cut:] + request * 2 + request[:-2] + b"\n")
        assert agent.ping("still here")
    assert agent.ping("and here")


@pytest.mark.parametrize("seed", range(4))
def test_noise_neither_hurts_nor_is_taken_for_anything(make_device, seed):
    """Random bytes, most of them ones that lines and frames are made of, in text and in a transfer."""
    chance = random.Random(seed)
    device = make_device()
    agent = Agent(device)
    alphabet = [b"@rig ", b"\n", b"\xa5\x5a", b"\x01\x00", b"7 ", b"ping", b" *", b"0", b"=", b"%", b"\0", b"\xff" * 9]
    for _ in range(30):
        noise = b"".join(chance.choice([*alphabet, chance.randbytes(chance.randrange(40))]) for _ in range(60))
        # Not by the agent: it would take the noise's `bad_line` for that of its own request.
        device.write(noise + b"\n" + encode_line(Line(99, "ping", {"data": "text"})))
        device.expect_line(lambda raw: parse_line(raw) == Line(99, "ok", {"data": "text"}), PATIENCE_S)
    started = agent.update_begin(1000, timeout=60)
    for _ in range(30):
        device.write(b"".join(chance.choice([*alphabet, chance.randbytes(9)]) for _ in range(60)))
    device.write(bytes(2 * 4110))
    abort_transfer(agent)
    while (line := agent.wait_progress(started.request_id, PATIENCE_S)) is not None and line.word != "fail":
        assert line.fields == {"offset": "0"}
    assert line is not None
    assert agent.ping("text again")
