"""The host's side of the text protocol against a scripted device."""

import pytest

from rig.errors import BenchFault, FirmwareFault, UserError
from rig.protocol import Line, encode_line, parse_line
from rig.updates.agent import Agent, AgentError, AgentTimeout, DeviceRestarted
from rig.updates.agent_results import Gaps, Network
from rig.updates.agent_url import PIECE, UrlOptions, UrlUpdate

OK_HELLO = {
    "protocol": "1",
    "project": "p",
    "version": "1.0",
    "secure_version": "0",
    "elf_sha256": "ab",
    "idf": "v5.5",
    "chip": "esp32c3",
    "running": "ota_0",
    "state": "VALID",
    "reset": "SW",
    "boot": "7",
    "diag": "none",
    "rollback": "1",
    "anti_rollback": "0",
    "uptime_ms": "12",
}


class Script:
    """A `LineChannel`: each request is answered by the next entry, a function of the request giving console lines."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.console = []
        self.timeouts = []

    def write(self, data):
        request = parse_line(data)
        self.requests.append(request)
        if self.answers:
            self.console += self.answers.pop(0)(request)

    def expect_line(self, accept, timeout):
        self.timeouts.append(timeout)
        while self.console:
            raw = self.console.pop(0)
            if accept(raw):
                return raw
        raise TimeoutError


def ok(**fields):
    return lambda request: [encode_line(Line(request.id, "ok", fields)).rstrip()]


def err(error, text=None):
    fields = {"error": error} | ({"text": text} if text else {})
    return lambda request: [encode_line(Line(request.id, "err", fields)).rstrip()]


def silence(request):
    return []


def printing(*lines):
    return lambda request: list(lines)


def event(name, **fields):
    return encode_line(Line(None, name, fields)).rstrip()


def test_an_answer_is_found_among_log_output_echo_and_late_answers():
    def busy(request):
        echo = b"rig> " + encode_line(request).rstrip()
        late = encode_line(Line(request.id - 1, "ok", {"possible": "1"})).rstrip()
        answer = encode_line(Line(request.id, "ok", {"possible": "0"})).rstrip()
        return [echo, b"I (34) wifi: connected", late, answer[:20], event("ready"), b"\x1b[0mI (35) half" + answer]

    assert Agent(Script(busy)).rollback_possible() is False


def test_every_request_has_an_id_of_its_own():
    script = Script(*[ok(data="")] * 5)
    agent = Agent(script, first_id=0xFFFFFFFE)
    for _ in range(4):
        agent.ping()
    assert [request.id for request in script.requests] == [0xFFFFFFFE, 0xFFFFFFFF, 1, 2]


def test_hello_is_typed():
    hello = Agent(Script(ok(**OK_HELLO))).hello()
    assert (hello.version, hello.boot, hello.rollback, hello.anti_rollback) == ("1.0", 7, True, False)


def test_fields_that_are_not_known_are_ignored():
    assert Agent(Script(ok(**OK_HELLO, mood="good"))).hello().boot == 7


@pytest.mark.parametrize(("field", "value"), [("boot", "seven"), ("rollback", "yes"), ("version", None)])
def test_a_missing_or_garbled_field_is_the_firmwares_fault_and_is_named(field, value):
    fields = {key: text for key, text in (OK_HELLO | {field: value}).items() if text is not None}
    with pytest.raises(FirmwareFault, match=rf"(?s)'hello'.*{field}.*PROTOCOL.md"):
        Agent(Script(ok(**fields)), board="c3").hello()


def test_another_version_of_the_contract_is_refused():
    with pytest.raises(UserError, match=r"version 2 .* version 1"):
        Agent(Script(ok(**OK_HELLO | {"protocol": "2"}))).hello()
    script = Script()
    script.console = [event("ready", protocol="2")]
    with pytest.raises(UserError, match="version 2"):
        Agent(script).wait_ready(1)


def test_an_error_carries_the_name_esp_idf_gives_it():
    with pytest.raises(AgentError, match=r"'set_boot' with ESP_ERR_OTA_VALIDATE_FAILED: bad image \(board c3\)") as hit:
        Agent(Script(err("ESP_ERR_OTA_VALIDATE_FAILED", "bad image")), board="c3").set_boot("ota_1")
    assert (hit.value.command, hit.value.error, hit.value.text) == (
        "set_boot",
        "ESP_ERR_OTA_VALIDATE_FAILED",
        "bad image",
    )


def test_a_query_is_repeated_with_a_new_id_when_no_answer_comes():
    script = Script(silence, silence, ok(state="VALID"))
    assert Agent(script).get_state("ota_0") == "VALID"
    assert len({request.id for request in script.requests}) == 3


def test_a_query_the_device_could_not_read_is_repeated():
    script = Script(printing(event("bad_line")), ok(state="NEW"))
    assert Agent(script).get_state("ota_0") == "NEW"


@pytest.mark.parametrize(
    "call",
    [
        lambda agent: agent.confirm(),
        lambda agent: agent.reject(),
        lambda agent: agent.set_boot("ota_1"),
        lambda agent: agent.erase_previous(),
        lambda agent: agent.burn_secure_version(1),
        lambda agent: agent.reboot(),
        lambda agent: agent.update_begin(10),
    ],
)
def test_what_changes_the_device_is_never_sent_twice(call):
    script = Script(printing(event("bad_line")))
    with pytest.raises(AgentTimeout):
        call(Agent(script))
    assert len(script.requests) == 1


def test_silence_is_a_bench_fault_that_says_what_was_heard():
    with pytest.raises(AgentTimeout, match="nothing at all was heard") as mute:
        Agent(Script()).hello()
    with pytest.raises(AgentTimeout, match="prints but does not answer") as deaf:
        Agent(Script(printing(b"I (34) boot: hello"))).hello()
    assert isinstance(mute.value, BenchFault)
    assert (mute.value.heard, deaf.value.heard) == (False, True)


def test_a_start_of_the_app_ends_the_wait_for_an_answer():
    script = Script(printing(event("start", running="ota_0")))
    with pytest.raises(DeviceRestarted, match="before it answered 'set_boot'"):
        Agent(script).set_boot("ota_1")


def test_the_wait_is_as_long_as_the_contract_allows():
    script = Script(ok(state="VALID"), ok(boot="ota_1"))
    agent = Agent(script)
    agent.confirm()
    agent.set_boot("ota_1")
    assert script.timeouts == [10.0, 120.0]


@pytest.mark.parametrize(
    ("outcome", "seconds", "message"),
    [("explode", None, "allowed: pass, fail"), ("delay", None, "seconds"), ("pass", 3, "seconds")],
)
def test_a_wrong_outcome_is_refused_before_it_is_sent(outcome, seconds, message):
    script = Script()
    with pytest.raises(UserError, match=message):
        Agent(script).set_diagnostics(outcome, seconds)
    assert script.requests == []


def test_events_are_waited_for_by_name():
    script = Script()
    script.console = [b"I (1) boot: x", event("start", boot="4"), event("ready", protocol="1", boot="4")]
    agent = Agent(script)
    assert agent.wait_event("start", 1).fields == {"boot": "4"}
    assert agent.wait_ready(1).fields["boot"] == "4"
    with pytest.raises(AgentTimeout, match="no event 'ready' within 1 s"):
        agent.wait_ready(1)


def test_a_board_that_does_nothing_but_reset_is_not_waited_for():
    script = Script()
    script.console = [b"rst:0x3 (LP_SW_RESET),boot:0xc"] * 300 + [event("start", boot="4")]
    with pytest.raises(AgentTimeout, match="reset 201 times"):
        Agent(script).wait_event("start", 1)


def test_raw_otadata_must_be_thirty_two_bytes():
    with pytest.raises(FirmwareFault, match="32 bytes"):
        Agent(Script(ok(offset="0xd000", entry0="ff" * 31, entry1="ff" * 32))).otadata()


def test_two_agents_do_not_start_with_the_same_id():
    starts = set()
    for _ in range(5):
        script = Script(ok(data=""))
        Agent(script).ping()
        starts.add(script.requests[0].id)
    assert len(starts) > 1


# --- commands that an app may lack ---


def test_the_network_is_told_with_its_address_or_without():
    up = ok(kind="wifi", link="1", ip="10.0.2.15", power_save="min")
    down = ok(kind="ethernet", link="0", ip="0.0.0.0", power_save="-")
    script = Script(up, down)
    agent = Agent(script)
    assert agent.network("house", "secret", wait=5, time=1767225600) == Network("wifi", True, "10.0.2.15", "min")
    assert agent.network() == Network("ethernet", False, None, None)
    assert [dict(request.fields) for request in script.requests] == [
        {"ssid": "house", "password": "secret", "wait": "5", "time": "1767225600"},
        {},
    ]


@pytest.mark.parametrize(("command", "send"), [("ca", Agent.set_ca), ("image_key", Agent.set_image_key)])
def test_certificates_and_keys_of_any_length_go_in_pieces_that_fit_a_line(command, send):
    pem = b"-----BEGIN CERTIFICATE-----\n" + b"%*=@\n" * 100
    script = Script(*[ok(size="0")] * 10)
    send(Agent(script), pem)
    fields = [request.fields for request in script.requests]
    assert {request.word for request in script.requests} == {command}
    assert "".join(piece["data"] for piece in fields).encode() == pem
    assert [int(piece["offset"]) for piece in fields] == list(range(0, len(pem), PIECE))


def test_an_update_from_a_url_is_awaited_behind_its_progress():
    def downloads(request):
        progress = [encode_line(Line(request.id, "ack", {"offset": str(n)})).rstrip() for n in (32768, 65536)]
        done = ok(slot="ota_1", offset="0x1f0000", length="70000", boot="ota_1", power_save="none")
        return progress + done(request)

    script = Script(downloads)
    assert Agent(script).update_url("https://a/b?c=d") == UrlUpdate("ota_1", 0x1F0000, 70000, "ota_1", "none")
    assert script.requests[0].fields == {"url": "https://a/b?c=d"}


def test_what_is_wanted_of_an_update_from_a_url_is_sent():
    script = Script(err("ESP_FAIL", "why"))
    options = UrlOptions("house", timeout=5, check="none", request_size=4096, resume=True, power_save="keep")
    with pytest.raises(AgentError):
        Agent(script).update_url("http://a/b", options)
    assert script.requests[0].fields == {
        "url": "http://a/b",
        "common_name": "house",
        "timeout": "5",
        "check": "none",
        "request_size": "4096",
        "resume": "1",
        "power_save": "keep",
    }


@pytest.mark.parametrize(("said", "offset"), [({}, None), ({"offset": "0"}, 0), ({"offset": "40960"}, 40960)])
def test_a_failed_download_tells_how_far_it_came(said, offset):
    def fails(request):
        return [encode_line(Line(request.id, "err", {"error": "ESP_FAIL", **said})).rstrip()]

    with pytest.raises(AgentError) as hit:
        Agent(Script(fails)).update_url("http://a/b")
    assert hit.value.offset == offset


def test_an_update_from_a_url_is_never_asked_for_twice():
    script = Script(silence)
    with pytest.raises(AgentTimeout):
        Agent(script).update_url("http://a/b")
    assert len(script.requests) == 1


def test_gaps_are_numbers():
    measured = ok(iram_us="110", flash_us="48211", iram_count="9", flash_count="8", period_us="100")
    script = Script(ok(period_us="100"), measured)
    agent = Agent(script)
    assert agent.begin_gap_probe(100) == 100
    assert agent.end_gap_probe() == Gaps(110, 48211, 9, 8, 100)


def test_an_app_that_lacks_a_command_says_so():
    with pytest.raises(AgentError, match="ESP_ERR_NOT_SUPPORTED"):
        Agent(Script(err("ESP_ERR_NOT_SUPPORTED", "unknown command"))).network()
