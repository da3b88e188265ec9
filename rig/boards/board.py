"""What a test may touch of a board, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from rig.boards.console import Console
from rig.boards.lease import Lease
from rig.boards.power import HeldSwitch, PowerSwitch
from rig.boards.sparing import Sparing
from rig.idf.effects import Mutation


class Capability(StrEnum):
    """What a test may need and a board may lack. A board says why it lacks one (`Board.missing`)."""

    POWER_CUT = "power_cut"
    TIMED_CUT = "timed_cut"
    FLASH_MUTATIONS = "flash_mutations"
    CUT_LINE = "cut_line"
    CRASH_IMAGES = "crash_images"
    EFUSE = "efuse"
    FLASH_ENCRYPTION = "flash_encryption"
    NETWORK = "network"
    WIFI = "wifi"
    INTERRUPT_LATENCY = "interrupt_latency"
    BROWNOUT = "brownout"


class Cut(NamedTuple):
    """Where power is to be lost: at the `nth` mutation of `kind` in [`start`, `end`) of flash, counted from 1.

    `phase` is `before` the mutation, `torn` when `keep` bytes of it are done, or right `after` it.
    """

    start: int
    end: int
    kind: Literal["erase", "program", "any"] = "any"
    nth: int = 1
    phase: Literal["before", "torn", "after"] = "after"
    keep: int = 16


class MutationTap(Protocol):
    """Sees every sector erase and page program, and can cut power at exactly one of them."""

    def arm(self, cut: Cut) -> None:
        """Cut power at the mutation that `cut` names; replaces an earlier one."""

    def disarm(self) -> None: ...

    def start_recording(self) -> None:
        """Keep every mutation from now on, in the order the flash saw them."""

    def stop_recording(self) -> tuple[Mutation, ...]:
        """What was kept."""

    @property
    def recorded(self) -> int:
        """How many were kept so far."""

    def wait_fired(self, timeout: float) -> bool:
        """Whether the armed cut has happened; waits at most `timeout` seconds."""


class FlashAccess(Protocol):
    """The board's flash from outside, by the ROM loader or directly. Offsets and sizes in bytes.

    Using it stops the app; the board stays stopped until `Board.reset`. `transcript` keeps what the tool said, one
    entry for each use.
    """

    transcript: list[str]

    def read(self, offset: int, size: int) -> bytes: ...

    def restore(self, regions: Mapping[int, bytes]) -> int:
        """Make flash hold `regions` (sector-aligned), rewriting only sectors that differ; how many did."""


class ResetLine(Protocol):
    """The chip's EN pin. Holding it is no power cut: RTC memory and, on some chips, the reset reason tell."""

    def hold(self) -> None:
        """Keep the chip in reset; returns when nothing runs any more."""

    def release(self) -> None:
        """Let go of it."""

    def pulse(self) -> None:
        """Hold and release: the chip starts from flash."""


class Restart(NamedTuple):
    """A restart that the app asked for and the harness carried out, by a fresh emulator process.

    `position`: bytes of console output before it, since the console was opened; `time`: the host's monotonic clock.
    """

    position: int
    time: float


class Restarts(Protocol):
    """Restarts that happened because the emulator cannot be trusted with them; each shows as a power-on reset."""

    def since(self, position: int) -> Sequence[Restart]:
        """Those at or after `position`, in order."""


@dataclass(frozen=True)
class EfuseState:
    """What a test needs the chip's eFuses to hold when it starts.

    `secure_version`: bits set in the anti-rollback field, None if they do not matter. `encryption_key`: the flash
    encryption key, burnt by the host (32 bytes for XTS-AES-128, 64 for XTS-AES-256); None for a chip without flash
    encryption.
    """

    secure_version: int | None = 0
    encryption_key: bytes | None = None


class EfuseAccess(Protocol):
    """The chip's eFuses from outside: bits go from 0 to 1 and stay, unless the chip itself can be replaced."""

    def prepare(self, wanted: EfuseState) -> None:
        """Make the eFuses hold `wanted`, with the chip held in reset and its flash content placed already.

        NotApplicable if this chip cannot any more.
        """

    def secure_version(self) -> int:
        """Bits set in the anti-rollback field, read with the chip held in its loader."""

    @property
    def spent(self) -> Sequence[int]:
        """The field as it was read and burnt so far, in order, where that cannot be undone; else empty."""


@dataclass(frozen=True)
class NetworkAccess:
    """How the board reaches this machine.

    `host`: what the board calls it; `bind`: the address a server must listen on for that; `variant`: the build variant
    with the board's network driver. `ssid` and `password` for Wi-Fi, None for a cable.
    """

    host: str
    bind: str
    variant: str = "network"
    ssid: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Board:
    """One ESP target: console, reset line, flash, and maybe power and the flash tap.

    `encryption_key`: of a chip whose flash is encrypted for good; None where a trial may choose one, or has none.
    `network` is None for a board without; `interrupt_gap_limits`: longest gaps in microseconds, by field of `Gaps`.
    `restarts` is None where the chip restarts by itself, as hardware does. `clock_rate`: so many seconds may pass for
    the chip in one second of the host, at most. `sparing`: what must not run on it; None where nothing can be burnt
    for good. `lease` is None for a program, of which every run has its own.
    """

    name: str
    kind: str
    chip: str
    console: Console
    flash: FlashAccess
    reset_line: ResetLine
    power: PowerSwitch | None = None
    tap: MutationTap | None = None
    efuse: EfuseAccess | None = None
    encryption_key: bytes | None = field(default=None, repr=False)
    network: NetworkAccess | None = None
    interrupt_gap_limits: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    restarts: Restarts | None = None
    clock_rate: float = 1.0
    sparing: Sparing | None = None
    lease: Lease | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset(capability.value for capability in Capability) - set(self.missing)

    def demand_harmless(self, image: bytes) -> None:
        """NotApplicable for an image that would burn eFuses of this board which are to stay."""
        if self.sparing is not None:
            self.sparing.demand_image(image)

    def reset(self) -> None:
        """Pulse EN: the chip starts from flash. Not a power cut."""
        self.reset_line.pulse()


@contextmanager
def powered(board: Board) -> Iterator[Board]:
    """The board for us alone, with console open and power on; whatever happens inside, it is left powered and closed.

    BenchFault if another run has it.
    """
    with ExitStack() as stack:
        if board.lease is not None:
            stack.enter_context(board.lease())
        if isinstance(board.power, HeldSwitch):
            stack.callback(board.power.close)
        board.console.open()
        stack.callback(board.console.close)
        if board.power is not None:
            stack.callback(board.power.on)
        if board.tap is not None:
            stack.callback(board.tap.disarm)
        if board.power is not None:
            board.power.on()
        yield board
