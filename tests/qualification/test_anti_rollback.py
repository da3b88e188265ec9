"""Anti-rollback: the secure version in the eFuse only ever rises, and an app below it is never booted.

`anti_rollback` has secure version 0, `anti_rollback_1` and `_2` one and two more. ESP-IDF's own traps are hazards.
"""

import pytest

from rig.errors import Inconclusive
from rig.evidence.hazards import (
    ABORTED_APP_LEFT,
    BRICKED,
    BURNT_BEFORE_VERIFIED,
    CONFIRMED_ANOTHER_BRICKS,
    FALLBACK_APP_TOO_OLD,
    FIELD_FULL,
)
from rig.evidence.report_page.sweeps import reason
from rig.updates.agent_url import UrlOptions
from rig.updates.wrong_images import with_lower_secure_version
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
pytestmark = pytest.mark.needs("efuse")
RUNNING = (entry(1, "VALID"), BLANK)
BOTH = (entry(3, "VALID"), entry(2, "VALID"))


@pytest.fixture
def updating(trial):
    """A board that runs secure version 0 in ota_0, and whose next app waits to be told to confirm."""
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.diagnostics("manual")
    return trial


@requirement(
    "ARB-01",
    "An update whose secure version is below the eFuse's is refused when it is chosen, and its slot is erased.",
)
def test_a_lower_version_is_refused(trial):
    trial.install("anti_rollback_1", otadata=RUNNING, secure_version=1)
    trial.boot()
    assert trial.update_error(trial.image_of("anti_rollback", "2.0.0")) == "ESP_ERR_OTA_SMALL_SEC_VER"
    assert trial.slot_image("ota_1") == "empty"
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.secure_version == 1


@requirement("ARB-02", "An update whose secure version is equal to the eFuse's, or higher, is accepted.")
@pytest.mark.parametrize(("variant", "burnt"), [("anti_rollback_1", 1), ("anti_rollback_2", 2)])
def test_an_equal_or_higher_version_is_accepted(trial, variant, burnt):
    trial.install("anti_rollback_1", otadata=RUNNING, secure_version=1)
    trial.boot()
    trial.update(trial.image_of(variant, "2.0.0"))
    trial.restart()
    assert trial.secure_version() == burnt
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.secure_version == burnt


@requirement(
    "ARB-18",
    "A download whose secure version is below the eFuse's is refused by its header before anything is erased; an app that "
    "does not look there is refused when it chooses the slot, which is erased.",
)
@pytest.mark.needs("network")
@pytest.mark.parametrize("check", ["header", "none"])
def test_a_lower_version_is_refused_at_download(trial, plain_update_server, check):
    variant = "network_anti_rollback"
    image = with_lower_secure_version(trial.image_of(variant, "2.0.0"))
    plain_update_server.offer("app.bin", image)
    trial.install(variant, otadata=BOTH, slots={"ota_1": "1.0.0"}, secure_version=1)
    trial.boot()
    trial.network.connect()
    url = plain_update_server.url("app.bin", trial.network.access.host)
    error, written = trial.network.failed_download(url, image, UrlOptions(check=check))
    assert error == "ESP_ERR_OTA_SMALL_SEC_VER"
    if check == "header":
        assert written is None
        assert trial.slot_image("ota_1") == "ok"
        assert trial.agent.otadata().entries == BOTH
    else:
        assert written == len(image)
        assert trial.slot_image("ota_1") == "empty"
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.secure_version == 1


@requirement("ARB-03", "The secure version is burnt only once the new app has confirmed itself.")
def test_burnt_only_after_confirmation(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    assert updating.secure_version() == 0
    updating.restart()
    assert updating.secure_version() == 0
    updating.confirm()
    assert updating.secure_version() == 1
    trace = updating.finish()
    assert trace.secure_version == 1


@requirement("ARB-04", "An update that fails its diagnostics burns nothing, and the old app boots again.")
@pytest.mark.parametrize("outcome", ["fail", "panic"])
def test_a_failed_update_burns_nothing(trial, outcome):
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.diagnostics(outcome)
    trial.update(trial.image_of("anti_rollback_1", "2.0.0"))
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.secure_version == 0


@requirement(
    "ARB-05",
    "A valid app whose secure version is below the eFuse's is never booted: the bootloader takes the other slot.",
)
def test_a_valid_app_that_is_too_old_is_passed_over(trial):
    otadata = (entry(3, "VALID"), entry(2, "VALID"))
    slots = {"ota_1": trial.image_of("anti_rollback_1", "2.0.0")}
    trial.install("anti_rollback", otadata=otadata, slots=slots, secure_version=1)
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["ota_1"]
    assert trace.versions == ["2.0.0"]
    assert trace.otadata == otadata


@requirement("ARB-06", "With nothing but too old apps in the slots the board boots none of them: reported as a hazard.")
def test_too_old_apps_in_every_slot(trial):
    trial.install(
        "anti_rollback", otadata=(entry(1, "VALID"), entry(2, "NEW")), slots={"ota_1": "2.0.0"}, secure_version=1
    )
    trial.boot_without_app()
    trace = trial.finish()
    assert set(trace.booted) == {None}
    assert trace.otadata == (entry(1, "VALID"), entry(2, "NEW"))
    assert BRICKED in trace.hazards


@requirement(
    "ARB-07",
    "Once the eFuse is above the old app's version there is no way back: rejecting fails, the app stays on trial.",
)
def test_no_rollback_below_the_efuse(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    updating.restart()
    assert updating.burn(1) == "ESP_OK"
    assert updating.reject_error() == "ESP_ERR_OTA_ROLLBACK_FAILED"
    assert updating.state("ota_1") == "PENDING_VERIFY"
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "PENDING_VERIFY"))


@requirement(
    "ARB-08", "An app aborted with the eFuse above the old one boots again, as nothing else may: reported as a hazard."
)
def test_an_aborted_app_boots_when_the_old_one_is_too_old(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    updating.restart()
    updating.burn(1)
    updating.reset()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))
    assert ABORTED_APP_LEFT in trace.hazards


@requirement("ARB-09", "A confirmed app cannot be rejected any more when the old one is too old; it stays VALID.")
def test_no_rejection_after_the_burn(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    updating.restart()
    updating.confirm()
    assert updating.reject_error() == "ESP_ERR_OTA_ROLLBACK_FAILED"
    trace = updating.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))
    assert trace.secure_version == 1


@requirement("ARB-10", "Power lost between confirmation and burn: the bootloader burns at the next boot.")
@pytest.mark.needs("power_cut", "flash_mutations")
def test_a_burn_that_was_cut_off_is_made_up_for(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    updating.restart()
    with updating.power_lost_at("otadata", kind="program", phase="after"):
        updating.confirm()
    if updating.read_back_secure_version() != 0:
        raise Inconclusive("the app had burnt its version before power was gone", board=updating.board.name)
    updating.power_on()
    assert updating.secure_version() == 1
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement("ARB-11", "Power lost before the confirmation is written: nothing is burnt, and the old app boots.")
@pytest.mark.needs("power_cut", "flash_mutations")
@pytest.mark.parametrize(("kind", "phase"), [("erase", "before"), ("erase", "after")])
def test_nothing_is_burnt_by_half_a_confirmation(updating, kind, phase):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    updating.restart()
    with updating.power_lost_at("otadata", kind=kind, phase=phase):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.secure_version == 0


@requirement("ARB-12", "At the first boot with erased otadata the version of the app that boots is burnt.")
def test_the_first_boot_burns(trial):
    trial.install("anti_rollback_1")
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
    assert trace.secure_version == 1


@requirement(
    "ARB-13", "A version that the eFuse field cannot hold is never burnt, and confirming says so: reported as a hazard."
)
def test_a_full_field(trial):
    trial.install("anti_rollback_narrow", otadata=RUNNING, secure_version=2)
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    assert trial.confirm_error() == "ESP_ERR_INVALID_ARG"
    assert trial.state("ota_1") == "VALID"
    trace = trial.finish()
    assert trace.secure_version == 2
    assert FIELD_FULL in trace.hazards


@requirement(
    "ARB-14", "A partition table with a factory app and anti-rollback do not go together: reported as a hazard."
)
def test_a_factory_app_does_not_go_with_it(trial):
    trial.install("anti_rollback", table_of="factory", secure_version=1, slots={"ota_0": b""})
    trial.boot_without_app()
    trace = trial.finish()
    assert set(trace.booted) == {None}
    assert FALLBACK_APP_TOO_OLD in trace.hazards


@requirement(
    "ARB-15",
    "The way into a brick without an attacker (power lost in a second download, fallback, confirmation): each step is what ESP-IDF does, and reported as a hazard.",
)
@pytest.mark.needs("power_cut", "flash_mutations")
def test_confirming_after_a_fallback_bricks(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    with updating.power_lost_at("ota_1", kind="program", nth=20):
        updating.update(updating.image_of("anti_rollback_1", "3.0.0"))
    start = updating.power_on()
    assert (start.slot, start.version) == ("ota_0", "1.0.0")
    updating.confirm()
    updating.start_restart()
    updating.wait_given_up()
    trace = updating.finish()
    assert trace.booted[:3] == ["ota_0", "ota_0", None]
    assert trace.secure_version == 1
    assert {CONFIRMED_ANOTHER_BRICKS, BURNT_BEFORE_VERIFIED, BRICKED} <= set(trace.hazards)


@requirement("ARB-16", "An app that confirms only itself survives the same power cut: the entry becomes ABORTED.")
@pytest.mark.needs("power_cut", "flash_mutations")
def test_not_confirming_after_a_fallback_survives(updating):
    updating.update(updating.image_of("anti_rollback_1", "2.0.0"))
    with updating.power_lost_at("ota_1", kind="program", nth=20):
        updating.update(updating.image_of("anti_rollback_1", "3.0.0"))
    updating.power_on()
    updating.restart()
    updating.update(updating.image_of("anti_rollback_1", "3.0.0"))
    updating.restart()
    updating.confirm()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_0", "ota_1"]
    assert trace.secure_version == 1
    assert BRICKED not in trace.hazards


@requirement(
    "ARB-17",
    "Wherever an update that raises the secure version loses power, an intact app that is not too old boots.",
)
@pytest.mark.needs("power_cut", "flash_mutations", "crash_images")
@pytest.mark.timeout(900)
def test_every_power_cut_while_the_version_is_raised(every_power_cut):
    sweep = every_power_cut("secure-version-raised")
    assert sweep.verdict == "pass", reason(sweep)
    assert {outcome.name: outcome.images for outcome in sweep.outcomes}["unbootable"] == 0
