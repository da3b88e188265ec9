"""A board as a state machine, with the reference model as oracle: any order of steps, shrunk by Hypothesis."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rig.fieldkit import steps
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.firmware import MadeToMeasure
from rig.fieldkit.fuzz import Found, shortest
from rig.fieldkit.lockstep import Walk
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.pairs import small_partitions
from rig.fieldkit.scenario import Firmware, Scenario, Start
from rig.fieldkit.steps import Image
from rig.virtual.builds import SMALL_APP_SIZE
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.wrong_bootloaders import WRONG

VARIANTS = ("rollback", "factory", "three_slots", "no_rollback")
VERSION = "v6.0"
PARTITIONS = small_partitions(VARIANTS)
SCRATCH = tempfile.TemporaryDirectory()
SHELVES = {}


def shelf_for(firmware):
    if firmware not in SHELVES:
        SHELVES[firmware] = MadeToMeasure(
            firmware, "esp32c3", VERSION, Path(SCRATCH.name) / str(len(SHELVES)), SMALL_APP_SIZE
        )
    return SHELVES[firmware]


def pair(shelf, bootloader):
    return at_once_subject(VirtualFirmware(bootloader=bootloader), shelf), ModelSubject(shelf)


states = st.sampled_from(["NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED", "UNDEFINED"])
entries = st.just("erased") | st.builds(
    "seq {} {}{}".format, st.integers(0, 5), states, st.sampled_from(["", ", bad CRC"])
)
slots = st.sampled_from(["ota_0", "ota_1"])
places = st.sampled_from(["otadata[0]", "otadata[1]", "ota_0", "ota_1"])
images = st.builds(
    Image,
    version=st.sampled_from(["1.0.0", "2.0.0", "3.0.0"]),
    keep=st.sampled_from([1.0, 1.0, 1.0, 0.5]),
    flip=st.sampled_from([(), (), (), (200,)]),
)
outcomes = st.sampled_from(["pass", "fail", "hang", "panic", "watchdog", "reboot", "manual"])


class BoardMachine(RuleBasedStateMachine):
    """`bootloader`: what is planted in the chip, if anything. `found`: the last disagreement."""

    bootloader = None
    found = None
    done = 0

    @initialize(variant=st.sampled_from(VARIANTS), first=entries, second=entries)
    def begin(self, variant, first, second):
        firmware = Firmware(variant=variant, partitions=PARTITIONS[variant])
        scenario = Scenario(name="walk", summary="By chance.", firmware=firmware, start=Start(otadata=(first, second)))
        shelf = shelf_for(firmware)
        self.subject, self.model = pair(shelf, self.bootloader)
        self.walk = Walk(scenario, VERSION, self.subject, self.model)
        self.walk.begin()

    def do(self, step):
        found = self.walk.step(step)
        type(self).done += 1
        if found is not None:
            type(self).found = Found(self.walk.told("walk", str(found)[:200]), found)
        assert found is None, str(found)

    def runs(self):
        return self.model.running is not None

    @rule(how=st.sampled_from(["power", "line"]))
    def reset(self, how):
        self.do(steps.Reset(how=how))

    @precondition(runs)
    @rule(image=images)
    def update(self, image):
        self.do(steps.Update(image=image))

    @precondition(runs)
    @rule(share=st.sampled_from([0.2, 0.8]))
    def give_up_an_update(self, share):
        self.do(steps.Update(stop_after=share))

    @precondition(runs)
    @rule(outcome=outcomes)
    def diagnostics(self, outcome):
        self.do(steps.Diagnose(outcome=outcome))

    @precondition(runs)
    @rule(call=st.sampled_from([steps.Confirm(), steps.Reject(), steps.ErasePrevious(), steps.Restart()]))
    def call(self, call):
        self.do(call)

    @precondition(runs)
    @rule(slot=slots)
    def set_boot(self, slot):
        self.do(steps.SetBoot(slot=slot))

    @precondition(runs)
    @rule(how=st.sampled_from(["panic", "watchdog", "hang"]))
    def crash(self, how):
        self.do(steps.Crash(how=how))

    @precondition(runs)
    @rule(
        during=st.sampled_from(
            [steps.Update(), steps.Confirm(), steps.Reject(), steps.Restart(), steps.SetBoot(slot="ota_1")]
        ),
        phase=st.sampled_from(["before", "torn", "after"]),
        nth=st.integers(0, 3),
    )
    def cut(self, during, phase, nth):
        there = self.model.mutations(during, "otadata", "any")
        if there:
            self.do(steps.Cut(during=during, nth=nth % there + 1, phase=phase))

    @rule(phase=st.sampled_from(["before", "torn", "after"]), nth=st.integers(0, 3))
    def cut_while_booting(self, phase, nth):
        there = self.model.mutations(steps.Boot(), "otadata", "any")
        if there:
            self.do(steps.Cut(during=steps.Boot(), nth=nth % there + 1, phase=phase))

    @rule(where=places, seed=st.integers(0, 99))
    def corrupt(self, where, seed):
        self.do(steps.Corrupt(where=where, seed=seed))

    @rule(where=places)
    def erase(self, where):
        self.do(steps.Erase(where=where))

    @rule(slot=slots, image=images)
    def cable(self, slot, image):
        self.do(steps.Cable(slot=slot, image=image))

    def teardown(self):
        if hasattr(self, "subject"):
            self.subject.close()


def explore(machine, examples, steps_each, phases=tuple(Phase)):
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=True,
            database=None,
            max_examples=examples,
            stateful_step_count=steps_each,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            phases=phases,
        ),
    )


def test_firmware_and_model_agree_whatever_is_done():
    class Right(BoardMachine):
        pass

    explore(Right, 100, 50)
    assert Right.done >= 2000


@pytest.mark.parametrize("name", ["confirms_new", "never_aborts"])
def test_a_planted_bug_is_found_and_comes_out_as_five_steps_or_fewer(name):
    class Wrong(BoardMachine):
        bootloader = staticmethod(WRONG[name])

    with pytest.raises(AssertionError, match="ESP-IDF has"):
        # our own shrinker is the one that users have, and does not have to play as much
        explore(Wrong, 300, 25, phases=(Phase.generate,))
    short = shortest(
        Wrong.found, lambda scenario: pair(shelf_for(scenario.firmware), WRONG[name]), VERSION, lambda _: None
    )
    assert short.disagreement.what == Wrong.found.disagreement.what
    assert len(short.scenario.steps) <= 5
