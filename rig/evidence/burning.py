"""eFuses in a trial: what the app burns, what is read of them, and what may come onto a board at all."""

from __future__ import annotations

from rig.boards.board import Board, Capability
from rig.boards.firmware import FirmwareBuild
from rig.errors import NotApplicable, UserError
from rig.evidence.calling import Calls
from rig.evidence.witnesses import Entries, Witnesses
from rig.updates.agent import Agent


class Burning:
    """The part of a trial that has to do with eFuses; `Trial` is one."""

    board: Board
    witnesses: Witnesses
    _calls: Calls

    @property
    def agent(self) -> Agent:
        """The agent in the running app, ready for requests."""
        raise NotImplementedError

    def read_back(self) -> Entries:
        """Read otadata and eFuse with the chip held in its loader."""
        raise NotImplementedError

    def burn(self, version: int) -> str:
        """Let the app burn the anti-rollback eFuse up to `version`; the name of ESP-IDF's error, or ESP_OK."""
        return self._calls.error_of("burn", lambda: self.agent.burn_secure_version(version), version=version)

    def secure_version(self) -> int:
        """The eFuse's secure version as the running app reads it; the judge compares it with every other witness."""
        burnt = self.agent.secure_version().efuse
        if burnt is None:
            raise UserError("this build has no anti-rollback, so its app does not say what the eFuse holds")
        return burnt

    def read_back_secure_version(self) -> int:
        """The eFuse's secure version, read from outside with the chip held in its loader, where it stays."""
        self.read_back()
        return self.witnesses.secure_versions[-1].value

    def _harmless(self, build: FirmwareBuild) -> FirmwareBuild:
        """`build`; NotApplicable if it may burn eFuses of a chip that is not meant for that."""
        lacks = self.board.missing.get(Capability.EFUSE)
        if build.boot_config.anti_rollback and lacks is not None:
            raise NotApplicable(f"board {self.board.name} has no efuse: {lacks}")
        return build
