"""What a board of rig.toml shows of the build that the gate looks at."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rig.boards import inventory, kinds
from rig.boards.board import powered
from rig.boards.firmware import FirmwareBuild
from rig.boards.inventory import BoardSection
from rig.crash.live import LiveBooter
from rig.errors import BenchFault, NotApplicable, UserError
from rig.gate.pieces import Pieces
from rig.gate.release import CannotTell
from rig.gate.settings import ANTI_ROLLBACK
from rig.gate.watching import Sights, watch
from rig.idf.errors import FormatError
from rig.virtual.builds import embedded_config


def watched(config: Path, board: str, pieces: Pieces) -> Sights | CannotTell:
    """What the board shows. UserError for a board that there is not, or of another chip."""
    section = inventory.load(config).find(board)
    try:
        if section.chip != pieces.chip.name:
            raise UserError(
                f"board {section.name} is an {section.chip}, the build is for {pieces.chip.name}",
                hint="name a board with the chip of the build",
            )
        refused = _why_not(section, pieces)
        if refused:
            return CannotTell(f"board {section.name}: {refused}")
        build = _flashable(pieces)
        if section.kind == "serial":
            with powered(kinds.open_board(section)) as opened:
                return watch(section.name, build, LiveBooter(opened, build.table))
        with closing(kinds.image_booter(section, build.table)) as booter:
            return watch(section.name, build, booter)
    except CannotTell as error:
        return error
    except NotApplicable as error:
        return CannotTell(f"board {section.name}: {error.what}; name a QEMU board")
    except BenchFault as error:
        return CannotTell(str(error))


def _flashable(pieces: Pieces) -> FirmwareBuild:
    """The build as a whole; CannotTell if it is not fit to be flashed."""
    try:
        return FirmwareBuild.load(pieces.folder)
    except UserError as error:
        raise CannotTell(str(error)) from error


def _why_not(section: BoardSection, pieces: Pieces) -> str:
    """Why this board cannot run this build, or must not; empty if it can."""
    settings = pieces.settings.value
    if settings.on("SECURE_BOOT", "SECURE_FLASH_ENC_ENABLED"):
        return "the first boot with secure boot or flash encryption burns eFuses and rewrites flash; not watched"
    if section.kind == "serial" and settings.on(ANTI_ROLLBACK):
        return "with anti-rollback the app burns eFuses of a real chip when it confirms; name a QEMU board"
    try:
        synthesised = embedded_config(pieces.bootloader_file.value) is not None
    except FormatError as error:
        return f"the bootloader is broken: {error}"
    if section.firmware == "synthesised" and not synthesised:
        return "it runs only firmware that the bench made itself; name a QEMU board"
    if section.firmware != "synthesised" and synthesised:
        return "this build holds no machine code, the bench made it for virtual boards"
    return ""
