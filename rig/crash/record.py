"""Makes a recording: one run of a scenario on a board, judged like any test, its flash mutations kept."""

from __future__ import annotations

from hashlib import sha256

from rig.boards.install import end_of
from rig.crash.recording import Header, Recording
from rig.crash.scenarios import Scenario
from rig.errors import NotApplicable
from rig.evidence.trial import Trial
from rig.idf.flash_cipher import is_plain


def record(scenario: Scenario, trial: Trial) -> Recording:
    """Run `scenario` on the trial's board. NotApplicable for a board that does not see its flash mutations.

    Whatever the judge finds in the run is raised: only a run that is as it must be is worth cutting.
    Leaves the board in reset.
    """
    board = trial.board
    tap = board.tap
    if tap is None:
        raise NotApplicable(
            f"board {board.name} does not show its flash mutations",
            hint="record on a virtual or QEMU board, then replay the crash images on this one",
        )
    scenario.install(trial)
    if not is_plain(trial.witnesses.known.cipher):
        raise NotApplicable(
            "crash images hold flash as the chip reads it, so none are made of an encrypted flash",
            hint="power can be cut at single mutations of it: tests/qualification/test_flash_encryption.py",
        )
    base = trial.witnesses.known.read(0, end_of(trial.build.table))
    tap.start_recording()
    try:
        scenario.prepare(trial)
        begin = tap.recorded
        scenario.run(trial)
        trial.finish()
    finally:
        mutations = tap.stop_recording()
    # Under emulation an idle chip would take a whole core from those that boot its crash images.
    board.reset_line.hold()
    build = trial.build
    header = Header(
        scenario=scenario.name,
        board=board.name,
        kind=board.kind,
        chip=board.chip,
        variant=scenario.variant,
        idf_version=build.boot_config.idf_version,
        diagnostics=scenario.diagnostics,
        flash_size=build.flash_size,
        base_sha256=sha256(base).hexdigest(),
        secure_version=_secure_version(trial),
        begin=begin,
        boot_config=build.boot_config.to_json(),
        app_idf_version=build.idf_version,
    )
    return Recording(header, base, mutations)


def _secure_version(trial: Trial) -> int:
    """What the eFuse held when the run began; nothing looks at it without anti-rollback."""
    seen = trial.witnesses.secure_versions
    return seen[0].value if seen else 0
