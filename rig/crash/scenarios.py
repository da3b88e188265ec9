"""Runs worth recording, by name: what is installed, what happens before the part that matters, and that part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rig.errors import UserError
from rig.evidence.trial import Trial
from rig.idf.otadata import ImageState, make_entry

Steps = Callable[[Trial], None]
NEW_VERSION = "2.0.0"
BLANK = b""


@dataclass(frozen=True)
class Scenario:
    """One run. `diagnostics`: the outcome of an app on probation. `prepare` comes before what is recorded, `run` is it.

    `otadata`: the select entries that are installed; `slots`: versions in further slots.
    """

    name: str
    summary: str
    prepare: Steps
    run: Steps
    variant: str = "rollback"
    diagnostics: str = "pass"
    otadata: tuple[bytes, bytes] = (BLANK, BLANK)
    slots: Mapping[str, str] | None = None

    def install(self, trial: Trial) -> None:
        """Put the board into the state in which the run begins."""
        trial.install(self.variant, otadata=self.otadata, slots=self.slots)


def _entry(seq: int, state: ImageState) -> bytes:
    return make_entry(seq, state).pack()


def _boot(trial: Trial) -> None:
    trial.boot()


def _nothing(trial: Trial) -> None:
    pass


def _boot_to_fail(outcome: str) -> Steps:
    def steps(trial: Trial) -> None:
        trial.boot()
        trial.diagnostics(outcome)

    return steps


def _update(trial: Trial) -> None:
    trial.update(NEW_VERSION)
    trial.restart()
    trial.wait_confirmed(30)


def _update_with_higher_secure_version(trial: Trial) -> None:
    trial.update(trial.image_of("anti_rollback_1", NEW_VERSION))
    trial.restart()
    trial.wait_confirmed(30)


def _update_and_come_back(trial: Trial) -> None:
    trial.update(NEW_VERSION)
    trial.restart()
    trial.wait_start()


def _first_boot_and_update(trial: Trial) -> None:
    trial.boot()
    _update(trial)


def _choose_again(trial: Trial) -> None:
    trial.set_boot("ota_1")


def _to_factory(trial: Trial) -> None:
    trial.set_boot("factory")
    trial.restart()


_RUNNING = (_entry(1, ImageState.VALID), BLANK)

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("update-ok", "an update that is confirmed", _boot, _update, otadata=_RUNNING),
        Scenario(
            "update-rejected",
            "an update whose diagnostics fail: the new app rejects itself",
            _boot_to_fail("fail"),
            _update_and_come_back,
            diagnostics="fail",
            otadata=_RUNNING,
        ),
        Scenario(
            "rollback",
            "an update that restarts on probation: the bootloader rolls it back",
            _boot_to_fail("reboot"),
            _update_and_come_back,
            diagnostics="reboot",
            otadata=_RUNNING,
        ),
        Scenario(
            "update-erased-otadata",
            "first boot with erased otadata and no factory app, then an update",
            _nothing,
            _first_boot_and_update,
        ),
        Scenario("update-from-factory", "the first update of a device that runs its factory app", _boot, _update,
                 variant="factory"),
        Scenario(
            "secure-version-raised",
            "an update with a higher secure version, which its confirmation burns into the eFuse",
            _boot,
            _update_with_higher_secure_version,
            variant="anti_rollback",
            otadata=_RUNNING,
        ),
        Scenario(
            "update-stale-otadata",
            "an update over the record of an earlier one that was aborted",
            _boot,
            _update,
            otadata=(_entry(3, ImageState.VALID), _entry(2, ImageState.ABORTED)),
            slots={"ota_1": NEW_VERSION},
        ),
        Scenario(
            "choose-again",
            "esp_ota_set_boot_partition() for the slot that is active already",
            _boot,
            _choose_again,
            otadata=(_entry(1, ImageState.VALID), _entry(2, ImageState.VALID)),
            slots={"ota_1": NEW_VERSION},
        ),
        Scenario(
            "back-to-factory",
            "esp_ota_set_boot_partition(factory) after two updates",
            _boot,
            _to_factory,
            variant="factory",
            otadata=(_entry(3, ImageState.VALID), _entry(2, ImageState.VALID)),
            slots={"ota_0": NEW_VERSION, "ota_1": "1.0.0"},
        ),
    )
}  # fmt: skip


def find(name: str) -> Scenario:
    """The scenario of that name; UserError lists them."""
    if name not in SCENARIOS:
        raise UserError(f"no scenario is called {name!r}", hint=f"one of: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
