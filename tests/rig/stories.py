"""What is done to a board in tests of the judge, each told once, and what a report would say of it."""

from __future__ import annotations

import pytest

from fixtures.reporting import classify, weigh
from rig.evidence.records import Verdict
from tests.qualification.states import BLANK, entry

NEW, PENDING, VALID, ABORTED = "NEW", "PENDING_VERIFY", "VALID", "ABORTED"


def verdict_of(trial, story):
    """What the report says of a test that tells this story and then asks the judge."""
    try:
        story(trial)
        trial.finish()
    except Exception:
        broken = pytest.ExceptionInfo.from_current()
        return weigh(*classify(broken), trial.so_far())
    return Verdict.PASS, ""


def starts_for_the_first_time(trial, variant="rollback"):
    trial.install(variant)
    trial.boot()


def updates_itself(trial, variant="rollback"):
    trial.install(variant, otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.update("2.0.0")
    trial.restart()


def updates_itself_and_says_all(trial):
    updates_itself(trial, "rollback_debug")


def updates_itself_and_says_little(trial):
    updates_itself(trial, "rollback_quiet")


def waits_to_be_confirmed(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()


def is_confirmed(trial):
    waits_to_be_confirmed(trial)
    trial.confirm()


def is_pinged_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.agent.ping()


def confirms_late(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("delay", seconds=60)
    trial.update("2.0.0")
    trial.restart()
    trial.agent.otadata()
    trial.wait_confirmed(20)


def is_reset_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.reset()


def panics_on_probation(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("panic")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()


def hangs_on_probation(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("hang")
    trial.update("2.0.0")
    trial.restart()
    trial.power_cycle()


def fails_its_diagnostics(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("fail")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()


def holds_an_aborted_app(trial, variant="rollback"):
    trial.install(variant, otadata=(entry(1, VALID), entry(2, ABORTED)), slots={"ota_1": "2.0.0"})
    trial.boot()


def holds_a_new_app(trial):
    trial.install("rollback", otadata=(entry(1, VALID), entry(2, NEW)), slots={"ota_1": "2.0.0"}, diagnostics="manual")
    trial.boot()


def is_offered_a_corrupt_image(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.update_error(trial.corrupt_image("2.0.0"))


def is_told_to_reject_its_only_app(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.reject_error()


def is_updated_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.update_error("3.0.0")


def has_nothing_to_boot(trial):
    trial.install("rollback", slots={"ota_0": trial.corrupt_image("1.0.0"), "ota_1": b""})
    trial.boot_without_app()


def loses_power_while_pending_is_written(trial):
    waits_to_be_confirmed_before_restart(trial)
    with trial.power_lost_at("otadata", kind="program", phase="before"):
        trial.start_restart()
    trial.power_on()


def waits_to_be_confirmed_before_restart(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")


def loses_power_while_it_is_confirmed(trial):
    waits_to_be_confirmed(trial)
    with trial.power_lost_at("otadata", kind="program", phase="torn"):
        trial.confirm()
    trial.power_on()


def names(cases):
    return [case[0] for case in cases]
