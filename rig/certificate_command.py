"""`rig qualify --release`: gate, whole qualification, and the certificate of both."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rig
from rig import gate_command, qualify
from rig.boards import inventory
from rig.boards.inventory import BenchConfig, BoardSection, QemuBoardSection
from rig.certificate import tools
from rig.certificate.artefacts import is_synthesised, read_release
from rig.certificate.folder import CERTIFICATES, Material, write_certificate
from rig.certificate.gate_report import GateReport, gate_part
from rig.certificate.outlook import cannot_pass
from rig.certificate.records import Certificate, Facts, Release, SignOff
from rig.certificate.signing import read_private
from rig.certificate.sums import PAGE, RECORD
from rig.certificate_options import ReleaseAsked
from rig.emulator.find import find_qemu
from rig.errors import BenchFault, FirmwareFault, UserError
from rig.evidence.records import Verdict
from rig.gate import report
from rig.gate.pieces import Pieces, load_pieces
from rig.gate.release import CannotTell
from rig.processes import ended_like_ctrl_c
from rig.qualify_command import Request, qualify_boards, sections_of
from rig.report_folder import show
from rig.screen import Screen

EXIT_CODES = {Verdict.PASS: 0, Verdict.FIRMWARE_FAIL: 1, Verdict.BENCH_FAULT: 3, Verdict.INCONCLUSIVE: 4}
WHOLE = "a certificate is of the whole qualification, as it is"


def run(release: ReleaseAsked, request: Request, *, as_json: bool, open_page: bool | None) -> int:
    """The exit code: that of the certificate's verdict; see `rig.errors` for what it may raise.

    A failure of the gate ends it before anything is flashed, and a bench fault leaves a report but no certificate.
    """
    _refuse_parts(request)
    config = request.config
    bench = inventory.load(config)
    text = config.read_text(encoding="utf-8")
    sections = sections_of(bench, request)
    key = None if release.signing_key is None else read_private(release.signing_key)
    screen = Screen(stderr=as_json)
    pieces = load_pieces(release.build)
    # Before anything else: the build must still be this one when all is done.
    built = _built(release.build, pieces)
    versions = tools.versions(sections, qualify.find_tests(config))
    gate = _gate(release, config, watching_board(bench, sections, pieces), screen)
    if why := cannot_pass(built, sections, config.resolve().parent / bench.firmware.builds):
        told = f"this can at best become inconclusive about the shipped bootloader: {why}"
        screen.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)
    done = qualify_boards(request, screen)
    if done.exit_code == BenchFault.exit_code:
        raise BenchFault(
            "the bench failed, which says nothing of the firmware: no certificate is written",
            evidence=done.page,
            hint="mend the bench and run again; the report is kept",
        )
    signoff = SignOff(name=release.signoff, at=datetime.now().astimezone(), host=platform.node() or "unknown")
    facts = Facts(tool=f"rollback-rig {rig.__version__}", release=built, signoff=signoff, tools=versions)
    material = Material(facts, gate, done.page.parent, release.build, text, tools.requirements(), key)
    with ended_like_ctrl_c():
        folder, certificate = write_certificate(material, config.resolve().parent / CERTIFICATES)
    if as_json:
        sys.stdout.buffer.write((folder / RECORD).read_bytes())
    print_certificate(certificate, screen)
    screen.print(f"certificate: {folder / PAGE}", highlight=False, soft_wrap=True)
    show(folder / PAGE, open_page, screen)
    return EXIT_CODES[certificate.found.verdict]


def _gate(release: ReleaseAsked, config: Path, board: str | None, screen: Screen) -> dict[str, Any]:
    """The gate's report as data, shown on `screen`; FirmwareFault if it stops the release."""
    asked = gate_command.Asked(
        release.build, release.previous, release.margin, release.accepts, release.accept_missing, board, config
    )
    said = gate_command.look(asked)
    report.show(said, screen)
    gate = report.plain(said)
    part = gate_part(GateReport.model_validate(gate))
    if part.verdict is Verdict.FIRMWARE_FAIL:
        raise FirmwareFault(
            f"the gate stops this release: {part.text}; nothing was qualified, no certificate is written",
            evidence=release.build,
            hint="mend it, or give a reason with --accept ID=REASON where the release may go out all the same",
        )
    return gate


def print_certificate(certificate: Certificate, screen: Screen) -> None:
    """The verdict, what it is made of, and how many exceptions there are."""
    found, release = certificate.found, certificate.facts.release
    screen.print()
    for part in found.parts:
        screen.print(f"{part.name}: {part.verdict.value}: {part.text}", markup=False, highlight=False, soft_wrap=True)
    screen.print(
        f"{release.project} {release.version}: {found.headline}; {len(found.exceptions)} exceptions",
        markup=False, highlight=False, soft_wrap=True, style="bold",
    )  # fmt: skip


def watching_board(bench: BenchConfig, sections: Sequence[BoardSection], pieces: Pieces) -> str | None:
    """The board on which the gate boots the release itself: one of those named before others; None for none.

    Firmware that the bench made runs on virtual boards only, any other on QEMU, or on an attached board that is to be
    qualified anyway; no other attached board is flashed.
    """
    try:
        chip, synthesised = pieces.chip.name, is_synthesised(pieces)
    except CannotTell:
        return None
    kind = "virtual" if synthesised else "qemu"
    fitting = [
        section.name
        for section in (*sections, *bench.board)
        if section.kind == kind and section.chip == chip and _is_there(section)
    ]
    if not synthesised:
        fitting += [section.name for section in sections if section.kind == "serial" and section.chip == chip]
    return next(iter(fitting), None)


def _is_there(section: BoardSection) -> bool:
    if not isinstance(section, QemuBoardSection):
        return True
    try:
        find_qemu(section.chip, section.qemu)
    except UserError:
        return False
    return True


def _refuse_parts(request: Request) -> None:
    for option, value in (("-k", request.select), ("--variant", request.variant)):
        if value is not None:
            raise UserError(f"{option} with --release: {WHOLE}", hint=f"leave {option} out")
    if request.suite != "qualification":
        raise UserError(f"--suite {request.suite} with --release: {WHOLE}", hint="leave --suite out")


def _built(build: Path, pieces: Pieces) -> Release:
    try:
        return read_release(pieces)
    except CannotTell as error:
        raise UserError(f"{build} cannot be certified: {error}", hint="rig gate says what this build lacks") from error
    except OSError as error:
        raise UserError(f"{build}: {error.filename or ''}: {error.strerror}") from error
