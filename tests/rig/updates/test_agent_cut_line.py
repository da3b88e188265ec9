"""`cut_line` from the host's side: what is sent, and what the answer says."""

import pytest

from rig.errors import FirmwareFault
from rig.updates.agent import Agent, AgentError, AgentTimeout
from rig.updates.agent_results import CutLine
from tests.rig.updates.test_agent import Script, err, ok, silence

ARMED = {"op": "otadata_erase", "in": "bootloader", "nth": "2", "delay_us": "450000", "gpio": "10"}


def test_all_of_it_is_sent_and_what_is_armed_is_typed():
    script = Script(ok(**ARMED))
    armed = Agent(script).arm_cut_line("otadata_erase", "bootloader", 2, 450_000)
    assert armed == CutLine(op="otadata_erase", where="bootloader", nth=2, delay_us=450_000, gpio=10)
    (request,) = script.requests
    assert request.word == "cut_line"
    assert request.fields == {name: text for name, text in ARMED.items() if name != "gpio"}


def test_by_default_it_is_the_first_operation_of_the_app_at_once():
    script = Script(ok(**ARMED))
    Agent(script).arm_cut_line("slot_program")
    assert script.requests[0].fields == {"op": "slot_program", "in": "app", "nth": "1", "delay_us": "0"}


def test_off_names_nothing_else():
    script = Script(ok(op="off", gpio="10"))
    Agent(script).disarm_cut_line()
    assert script.requests[0].fields == {"op": "off"}


@pytest.mark.parametrize("field", ARMED)
def test_a_field_that_is_missing_is_the_firmwares_fault_and_is_named(field):
    fields = {name: text for name, text in ARMED.items() if name != field}
    with pytest.raises(FirmwareFault, match=rf"(?s)'cut_line' lacks the field '{field}'.*PROTOCOL.md"):
        Agent(Script(ok(**fields))).arm_cut_line("otadata_erase")


@pytest.mark.parametrize("field", ["nth", "delay_us", "gpio"])
def test_a_number_that_is_none_is_the_firmwares_fault(field):
    with pytest.raises(FirmwareFault, match=f"{field}='many'"):
        Agent(Script(ok(**ARMED | {field: "many"}))).arm_cut_line("otadata_erase")


def test_an_app_without_it_and_bad_arguments_are_told_by_esp_idfs_name():
    for error in ("ESP_ERR_NOT_SUPPORTED", "ESP_ERR_INVALID_ARG"):
        with pytest.raises(AgentError) as hit:
            Agent(Script(err(error, "why"))).arm_cut_line("otadata_erase")
        assert (hit.value.error, hit.value.text) == (error, "why")


def test_it_may_be_sent_again_for_nothing_was_counted_yet():
    script = Script(silence, ok(**ARMED))
    assert Agent(script).arm_cut_line("otadata_erase").gpio == 10
    assert len(script.requests) == 2
    assert script.timeouts == [3.0, 3.0]
    with pytest.raises(AgentTimeout):
        Agent(Script()).disarm_cut_line()
