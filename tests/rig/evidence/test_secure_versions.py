"""The eFuse over a trial: readings agree with what the model makes of it, or the first that cannot be is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.secure_versions import SecureVersions, SeenVersion

BITS = 32


def seen(*readings):
    """Readings as (place, value, source)."""
    return SecureVersions([SeenVersion(value, source, place) for place, value, source in readings], BITS)


def test_without_anything_in_between_readings_agree():
    assert seen((0, 1, "installed"), (50, 1, "app"), (90, 1, "chip")).contradiction() is None
    reason, story = seen((0, 1, "installed"), (50, 2, "app")).contradiction()
    assert reason == "the eFuse's secure version went from 1 to 2 although nothing was asked of the app"
    assert story == "eFuse secure version\n  the bench set 1\n  app reported 2"


def test_an_app_that_lies_is_told_from_one_that_burns():
    reason, _ = seen((0, 1, "installed"), (40, 1, "app"), (50, 2, "chip")).contradiction()
    assert reason == "the app reports secure version 1 of the eFuse, which holds 2"


def test_a_boot_or_a_call_explains_what_the_model_makes_of_it_and_nothing_else():
    def after(value):
        versions = seen((0, 0, "installed"), (50, value, "chip"))
        versions.booted(10, "boot 0", (1,))
        return versions.contradiction()

    assert after(1) is None
    reason, story = after(0)
    assert reason == "the eFuse's secure version is 0 after boot 0, the model has 1"
    assert "boot 0: 1 for the model" in story


def test_after_a_power_cut_each_moment_is_possible_and_a_reading_settles_it():
    versions = seen((0, 0, "installed"), (50, 2, "chip"), (60, 0, "chip"))
    versions.called(20, "confirm", (0, 2))
    assert versions.before_boot(30) is None
    assert versions.before_boot(50) == 2
    assert "went from 2 to 0" in versions.contradiction()[0]


def test_what_nobody_can_follow_explains_everything_until_the_next_reading():
    versions = seen((0, 0, "installed"), (50, 7, "chip"))
    versions.booted(10, "boot 0", None)
    assert versions.before_call(20) is None
    assert versions.contradiction() is None


def test_at_one_place_a_reading_comes_after_the_call_and_before_the_boot():
    versions = seen((0, 0, "installed"), (50, 1, "chip"))
    versions.called(50, "confirm", (1,))
    assert versions.before_call(50) == 0
    assert versions.before_boot(50) == 1
    assert versions.contradiction() is None
    assert versions.after_call(50) == 1
    assert versions.after_boot(50, 90) is None
    assert versions.after_boot(10, 49) is None


def test_an_app_sees_no_more_than_its_own_bits():
    versions = SecureVersions(
        [SeenVersion(5, "installed", 0), SeenVersion(2, "app", 10), SeenVersion(5, "chip", 20)], bits=2
    )
    assert versions.contradiction() is None
    assert versions.before_boot(15) == 5
    assert SecureVersions([SeenVersion(5, "installed", 0), SeenVersion(1, "app", 9)], bits=2).contradiction()


@given(
    start=st.integers(0, 3),
    burns=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6),
    lie=st.none() | st.integers(0, 5),
)
def test_sound_firmware_is_never_blamed_and_a_wrong_last_reading_always(start, burns, lie):
    value, place, readings, steps = start, 0, [(0, start, "installed")], []
    for more, read in burns:
        place += 10
        value += more
        steps.append((place, value))
        if read:
            readings.append((place + 5, value, "app"))
    readings.append((place + 9, value if lie is None else lie, "chip"))
    versions = seen(*readings)
    for at, after in steps:
        versions.booted(at, "a boot", (after,))
    assert (versions.contradiction() is None) == (lie in (None, value))
