"""Firmware that deviates from ESP-IDF in what it burns or boots with anti-rollback is found out, by whichever witness.

The virtual chip runs it (tests/rig/faulty.py), the judge's model stays right.
"""

from __future__ import annotations

import pytest

from rig.evidence.records import Verdict
from rig.idf import ota_ops
from rig.idf.effects import BurnSecureVersion, Erase, Log, Program
from rig.idf.otadata import ImageState, parse
from rig.idf.secure_version import update_secure_version
from rig.virtual.agent import COMMANDS
from rig.virtual.command import Reply
from tests.qualification.states import BLANK, entry
from tests.rig import faulty
from tests.rig.stories import names, verdict_of

FAIL, UNSURE = Verdict.FIRMWARE_FAIL, Verdict.INCONCLUSIVE
RUNNING = (entry(1, "VALID"), BLANK)
SET = "Anti-rollback is set. eFuse field is updated"


# --- what happens on the board ---------------------------------------------------------------------------------------


def starts_for_the_first_time(trial):
    trial.install("anti_rollback_1")
    trial.boot()


def is_on_probation(trial):
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.diagnostics("manual")
    trial.update(trial.image_of("anti_rollback_1", "2.0.0"))
    trial.restart()


def is_confirmed(trial):
    is_on_probation(trial)
    trial.confirm()


def confirms_itself(trial):
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.update(trial.image_of("anti_rollback_1", "2.0.0"))
    trial.restart()


def is_pinged_on_probation(trial):
    is_on_probation(trial)
    trial.secure_version()
    trial.agent.ping()


def loses_power_before_it_burns(trial):
    is_on_probation(trial)
    with trial.power_lost_at("otadata", kind="program", phase="after"):
        trial.confirm()
    trial.power_on()


def loses_power_before_it_is_confirmed(trial):
    is_on_probation(trial)
    with trial.power_lost_at("otadata", kind="erase", phase="before"):
        trial.confirm()
    trial.power_on()


def holds_a_newer_entry_for_an_older_app(trial):
    slots = {"ota_1": trial.image_of("anti_rollback_1", "2.0.0")}
    trial.install(
        "anti_rollback", otadata=(entry(3, "VALID"), entry(2, "VALID")), slots=slots, secure_version=1
    )  # fmt: skip
    trial.boot()


def is_offered_an_older_version(trial):
    trial.install("anti_rollback_1", otadata=RUNNING, secure_version=1)
    trial.boot()
    trial.update_error(trial.image_of("anti_rollback", "2.0.0"))


def burns(trial):
    is_on_probation(trial)
    trial.burn(1)


# --- bootloaders -----------------------------------------------------------------------------------------------------


def is_burn(effect):
    return isinstance(effect, BurnSecureVersion)


def is_said(effect):
    return isinstance(effect, Log) and effect.text.startswith(SET)


def burnt_with(first):
    """Everything stays, and a burn to 1 comes right after the first effect for which `first` holds."""

    def change(effect):
        yield effect
        if first(effect):
            yield BurnSecureVersion(0, 1)

    return faulty.changed(change)


def marks_pending(effect):
    return isinstance(effect, Program) and parse(effect.data[:32]).state == ImageState.PENDING_VERIFY


class Unburnt:
    """Memory whose eFuse looks as if nobody had burnt it."""

    secure_version = 0

    def __init__(self, memory):
        self.read = memory.read


blind = faulty.bootloader(lambda memory, config, pins=faulty.NONE: faulty.sound(Unburnt(memory), config, pins))
as_if_it_saw = faulty.disguised(
    "Secure version (from eFuse) = 0",
    "Secure version (from eFuse) = 1",
    faulty.disguised("Loaded app from", "Loaded app from partition at offset 0x110000", blind),
)

BOOTLOADERS = [
    (
        "does not burn, but says so",
        faulty.changed(lambda effect: [] if is_burn(effect) else [effect]),
        loses_power_before_it_burns,
        ["boot 2: eFuse secure version is 0, the model has 1"],
    ),
    (
        "burns a version that is not confirmed",
        burnt_with(marks_pending),
        is_on_probation,
        ["boot 1: eFuse secure version is 1, the model has 0"],
    ),
    (
        "boots an app that is too old",
        blind,
        holds_a_newer_entry_for_an_older_app,
        ["log and model disagree: 'boot: Secure version (from eFuse) = 0' is not what the model prints"],
    ),
    (
        "boots an app that is too old and prints what it should",
        as_if_it_saw,
        holds_a_newer_entry_for_an_older_app,
        ["boot 0: the app says it runs from ota_0, the model boots ota_1"],
    ),
    (
        "prints another number than the eFuse's",
        faulty.saying("Secure version (from eFuse) = 0", "Secure version (from eFuse) = 3"),
        is_on_probation,
        ["'boot: Secure version (from eFuse) = 3' is not what the model prints"],
    ),
    (
        "says that it burnt and has not",
        faulty.changed(lambda e: [e, Log("I", "efuse", f"{SET}(1).")] if marks_pending(e) else [e]),
        is_on_probation,
        [f"'efuse: {SET}(1).' is not what the model prints"],
    ),
]


@pytest.mark.parametrize(("what", "fault", "story", "words"), BOOTLOADERS, ids=names(BOOTLOADERS))
def test_a_bootloader_that_deviates_fails(trial, monkeypatch, what, fault, story, words):
    fault(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert [word for word in words if word not in reason.splitlines()[0]] == []


def test_a_lost_line_about_a_burn_is_inconclusive(trial, monkeypatch):
    faulty.changed(lambda effect: [] if is_said(effect) else [effect])(monkeypatch)
    verdict, reason = verdict_of(trial, loses_power_before_it_burns)
    assert verdict is UNSURE
    assert f"lines of the bootloader are missing (efuse: {SET}(1).)" in reason


# --- apps ------------------------------------------------------------------------------------------------------------


def confirm_by(change):
    """The app confirms with other effects than esp_ota_mark_app_valid_cancel_rollback."""

    def confirm(self):
        def steps():
            inner = ota_ops.esp_ota_mark_app_valid_cancel_rollback(self.context)
            effects = []
            while True:
                try:
                    effects.append(next(inner))
                except StopIteration as stop:
                    yield from change(effects)
                    return stop.value

        return self.run(steps())

    return faulty.ota(confirm=confirm)


def burns_first(effects):
    return sorted(effects, key=lambda effect: isinstance(effect, Erase | Program))


def burn_when_pinged(self):
    self.run(update_secure_version(self.memory, self.image.config, 1))


def telling(efuse):
    real = COMMANDS["secver"]

    def secver(self, args):
        fields = real(self, args).fields
        return Reply(fields | {"efuse": efuse})

    return lambda monkeypatch: monkeypatch.setitem(COMMANDS, "secver", secver)


APPS = [
    (
        "confirms and does not burn",
        confirm_by(lambda effects: [e for e in effects if not is_burn(e) and not is_said(e)]),
        is_confirmed,
        ["the eFuse's secure version is 0 after confirm (app in ota_1), the model has 1"],
    ),
    (
        "confirms itself and does not burn",
        confirm_by(lambda effects: [e for e in effects if not is_burn(e)]),
        confirms_itself,
        ["the eFuse's secure version is 0 after confirm (app in ota_1), the model has 1"],
    ),
    (
        "burns too much",
        confirm_by(lambda effects: [BurnSecureVersion(0, 2) if is_burn(e) else e for e in effects]),
        is_confirmed,
        ["the eFuse's secure version is 2 after confirm (app in ota_1), the model has 1"],
    ),
    (
        "says another version than it burns",
        confirm_by(lambda effects: [e._replace(text=f"{SET}(7).") if is_said(e) else e for e in effects]),
        is_confirmed,
        [f"'{SET}(7).' in confirm (app in ota_1) is not what the model prints"],
    ),
    (
        "burns before it has written its confirmation",
        confirm_by(burns_first),
        loses_power_before_it_is_confirmed,
        ["no power cut in confirm (app in ota_1) leaves this otadata with an eFuse of 1"],
    ),
    (
        "burns on probation",
        faulty.on_ping(burn_when_pinged),
        is_pinged_on_probation,
        ["the eFuse's secure version went from 0 to 1 although nothing was asked of the app"],
    ),
    (
        "tells another version than the eFuse holds",
        telling("1"),
        is_on_probation,
        ["eFuse"],
    ),
    (
        "accepts an update that is too old",
        faulty.ota(set_boot=lambda self, slot: "ESP_OK"),
        is_offered_an_older_version,
        ["update ota_1 (app in ota_0) returned ESP_OK, the model ESP_ERR_OTA_SMALL_SEC_VER"],
    ),
    (
        "says it burnt when asked, and has not",
        faulty.ota(burn=lambda self, version: "ESP_OK"),
        burns,
        ["the eFuse's secure version is 0 after burn 1 (app in ota_1), the model has 1"],
    ),
]


@pytest.mark.parametrize(("what", "fault", "story", "words"), APPS, ids=names(APPS))
def test_an_app_that_deviates_fails(trial, monkeypatch, what, fault, story, words):
    fault(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert [word for word in words if word not in reason.splitlines()[0]] == []


def test_a_lie_about_the_efuse_is_told_from_a_change_of_it(trial, monkeypatch):
    def lie_at_the_end(trial):
        is_confirmed(trial)
        telling("3")(monkeypatch)

    verdict, reason = verdict_of(trial, lie_at_the_end)
    assert verdict is FAIL
    assert "app reported 3" in reason
    assert "read from outside 1" in reason
