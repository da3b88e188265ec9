"""Time as code on the chip sees it."""

from __future__ import annotations

from rig.virtual.chips import SPECS
from rig.virtual.clock import Clock
from rig.virtual.cpu import ResetReason
from rig.virtual.efuse import Efuses, mac_bytes
from rig.virtual.life import Life
from rig.virtual.nor import NorFlash
from rig.virtual.tap import MutationTap
from rig.virtual.uart import Uart


def test_waiting_for_input_always_gets_on_even_late_in_a_long_life() -> None:
    clock = Clock(time_scale=1000)
    clock.advance(1e6)
    spec = SPECS["esp32c3"]
    efuse = Efuses(spec, mac_bytes(spec.default_mac), MutationTap())
    life = Life(ResetReason.POWERON, NorFlash(0x1000, clock), efuse, Uart(), clock)
    before = life.now()
    life.read(timeout=1e-12)
    assert life.now() > before, "a wait whose end is lost in rounding would be repeated for ever"
