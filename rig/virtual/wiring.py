"""The usual auto-reset circuit: two transistors that turn DTR and RTS into EN and the boot strap.

| RTS | DTR | EN   | boot strap |
|-----|-----|------|------------|
| off | off | high | high       |
| on  | on  | high | high       |
| on  | off | low  | high       |
| off | on  | high | low        |

EN carries a capacitor, so it rises late, and the strap is sampled when it has risen. The classic sequence needs that:
it leaves reset through both lines asserted, because a serial port can change only one line at a time.
"""

from __future__ import annotations

RISE_S = 0.005
"""Wall-clock seconds from the end of the reset pulse to EN high: 10 kOhm and 1 uF, as on Espressif's boards."""

TRANSIT_RISE_S = 0.5
"""The same while both lines are asserted. Only a half-done line change gives that state after a reset; a loaded host,
or RFC 2217 with its round trip for each line, takes longer to finish the change than a capacitor would wait."""


class ResetCircuit:
    """State of both lines (off at first), of EN and of the strap latch; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._dtr = False
        self._rts = False
        self._released_at: float | None = 0.0
        self._after_pulse = False
        self._latched: bool | None = None

    @property
    def lines(self) -> tuple[bool, bool]:
        """(DTR, RTS), True for asserted."""
        return self._dtr, self._rts

    @property
    def strap_low(self) -> bool:
        """Whether the boot strap (IO9, IO0) is pulled low at the moment."""
        return self._dtr and not self._rts

    @property
    def pulled_low(self) -> bool:
        """Whether the circuit holds EN low."""
        return self._rts and not self._dtr

    def power_on(self, now: float) -> None:
        """Power has come: EN rises unless it is held low, and the strap is sampled anew."""
        self._latched = None
        self._after_pulse = False
        self._released_at = None if self.pulled_low else now

    def set_lines(self, dtr: bool, rts: bool, now: float) -> None:
        """Change both lines at once."""
        self._sample(now)
        self._dtr, self._rts = dtr, rts
        if self.pulled_low:
            self._released_at = None
            self._latched = None
            self._after_pulse = True
        elif self._released_at is None:
            self._released_at = now

    def rises_in(self, now: float) -> float | None:
        """Seconds until EN is high: 0.0 if it is, None while it is held low."""
        self._sample(now)
        if self._latched is not None:
            return 0.0
        return None if self._released_at is None else self._released_at + self._delay() - now

    def latched_low(self, now: float) -> bool:
        """Whether the strap was low when EN rose last, even if the lines have changed since."""
        self._sample(now)
        return bool(self._latched)

    def _delay(self) -> float:
        in_transit = self._after_pulse and self._dtr and self._rts
        return TRANSIT_RISE_S if in_transit else RISE_S

    def _sample(self, now: float) -> None:
        if self._latched is None and self._released_at is not None and now >= self._released_at + self._delay():
            self._latched = self.strap_low
