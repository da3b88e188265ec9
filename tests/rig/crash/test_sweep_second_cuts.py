"""Second cuts: those of the boot that follows a crash image, and what they lead to."""

from __future__ import annotations

from pathlib import Path

from rig.crash.images import CrashImages
from rig.idf.watched import WatchedFlash
from tests.rig.crash.hand import PENDING, VALID, choosing, device, entry, recording, virtual, write
from tests.rig.crash.sweeping import run


def test_second_cuts_are_those_of_the_boot_that_follows_each_image(tmp_path: Path) -> None:
    record = run(choosing(), tmp_path, depth=2)
    images = CrashImages.of(choosing())
    second_cuts = 0
    for point in images.points():
        flash = images.build(point)
        boot = recording(flash, virtual().boot(WatchedFlash.of(flash)).mutations)
        second_cuts += len(CrashImages.of(boot)) - 1
    assert (record.images, record.nested_images) == (len(images), second_cuts)
    assert sum(outcome.images for outcome in record.outcomes) == record.images + record.nested_images


def test_a_second_cut_reaches_what_the_first_one_is_too_early_for(tmp_path: Path) -> None:
    """The run ends with the choice: the windows of the boots after it are reached by second cuts alone."""
    one, two = run(choosing(), tmp_path), run(choosing(), tmp_path, depth=2)
    hurts = {"new app silently lost", "confirmation lost"}
    assert hurts & {outcome.name for outcome in one.outcomes if outcome.images} == set()
    assert hurts <= {outcome.name for outcome in two.outcomes if outcome.images}
    # Of the write that confirms only one form leaves a state that is no probation: all of it is a confirmed app.
    assert [finding.images for finding in two.findings if "/then/m0005" in finding.image] == [1]
    lost = {finding.what.split(",")[0]: finding.image for finding in two.findings}
    # After the whole choice: mutation 1 of the boot is the erase for PENDING_VERIFY, then comes the app's own store.
    assert lost["new app silently lost"] == "by-hand/m0002/then/m0001/torn-erase-1"
    assert lost["confirmation lost"] == "by-hand/m0002/then/m0004/torn-erase-1"


def test_a_second_cut_that_changes_nothing_does_not_change_what_the_first_one_led_to(tmp_path: Path) -> None:
    """Whatever is torn of the boot count in the app's own store: the update that was lost before stays lost."""
    made = recording(choosing().start(), (*choosing().mutations, *write(1, entry(2, PENDING))))
    hurts = {finding.what.split(":")[0] for finding in run(made, tmp_path, depth=2).findings}
    assert "new app silently lost, by a second cut, at program 64 bytes of nvs" in hurts


def test_windows_and_cells_are_those_of_the_recorded_run_whatever_the_depth(tmp_path: Path) -> None:
    one, two = run(choosing(), tmp_path), run(choosing(), tmp_path, depth=2)
    assert (one.windows, one.mutations, one.nested_images) == (two.windows, two.mutations, 0)


def test_a_third_cut_goes_one_deeper(tmp_path: Path) -> None:
    """Of a settled device each boot programs its count once, which is torn in four ways."""
    made = recording(device((entry(1, VALID), b""), diagnostics="pass"))
    nested = [run(made, tmp_path, depth=depth).nested_images for depth in (1, 2, 3)]
    assert nested == [0, 5, 5 + 5 * 5]
