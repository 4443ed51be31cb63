"""From readings to samples: the means of an interval's powers, and registers that never run backwards.

What a device counts itself is taken from it, going on where a replaced or reset meter begins again. What it only shows as
power is counted here in whole watt-nanoseconds, and such a sample is marked as estimated. Over a gap nothing is counted.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.telemetry import OPTIONAL, REGISTERS, TELEMETRY, Flag, mask_of
from shoal.edge.drivers.protocol import Measurement

_WNS_PER_WH: Final = 3_600 * 10**9
_POWERS: Final = ("battery_w", "solar_w", "load_w", "ev_w")
_COUNTED_BY: Final = {
    "charge_wh": ("battery_w", 1),
    "discharge_wh": ("battery_w", -1),
    "import_wh": ("grid_w", 1),
    "export_wh": ("grid_w", -1),
}


class RegisterState(msgspec.Struct, kw_only=True):
    """One register.

    Attributes:
        value_wh: What is said of it.
        rest_wns: What is counted beyond that, less than a watt-hour.
        device_wh: What the device showed last; None when it is counted here.
    """

    value_wh: int = 0
    rest_wns: int = 0
    device_wh: int | None = None


class MeterState(msgspec.Struct, kw_only=True):
    """All registers by name; survives restarts."""

    registers: dict[str, RegisterState] = msgspec.field(
        default_factory=lambda: {name: RegisterState() for name in REGISTERS}
    )


class SiteMeter:
    """The interval under way and the registers.

    Args:
        longest_gap_s: Between two readings; over a longer one nothing is counted.
        state: What was counted before.
    """

    def __init__(self, *, longest_gap_s: float, state: MeterState | None = None) -> None:
        self.state = MeterState() if state is None else state
        for name in REGISTERS:
            self.state.registers.setdefault(name, RegisterState())
        self._longest_gap_ns = int(longest_gap_s * 1e9)
        self._at_ns: int | None = None
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._soc_frac: float | None = None
        self._known: set[str] = set()
        self._estimated = False

    def take(self, seen: Measurement, at_ns: int) -> None:
        """Take in a reading; `at_ns` is of a clock that is never set."""
        span_ns = 0 if self._at_ns is None else at_ns - self._at_ns
        self._at_ns = at_ns
        for name in _POWERS:
            power_w = getattr(seen, name)
            if power_w is not None:
                self._sums[name] = self._sums.get(name, 0.0) + power_w
                self._counts[name] = self._counts.get(name, 0) + 1
        if seen.soc_frac is not None:
            self._soc_frac = seen.soc_frac
        for name in REGISTERS:
            self._count(name, seen, span_ns if 0 < span_ns <= self._longest_gap_ns else 0)

    def sample(self, t_ns: int, command_version: int) -> NDArray[Any]:
        """Return the record of the interval that ends now, and begin the next one; what was not measured is not in it."""
        record: NDArray[Any] = TELEMETRY.empty(1)[0]
        measured = {"command_version"}
        record["ts_ns"] = t_ns
        record["command_version"] = command_version
        for name, count in self._counts.items():
            record[name] = round(self._sums[name] / count)
            measured.add(name)
        if self._soc_frac is not None:
            record["soc_frac"] = np.float32(self._soc_frac)
            measured.add("soc_frac")
        for name in self._known:
            record[name] = self.state.registers[name].value_wh
        measured |= self._known
        if self._estimated:
            record["flags"] = int(Flag.ESTIMATED)
        record["present"] = mask_of(*(name for name in OPTIONAL if name in measured))
        self._sums, self._counts, self._soc_frac = {}, {}, None
        self._known, self._estimated = set(), False
        return record

    @property
    def has_measured(self) -> bool:
        """Whether anything was measured in the interval under way."""
        return bool(self._counts) or self._soc_frac is not None or bool(self._known)

    def _count(self, name: str, seen: Measurement, span_ns: int) -> None:
        register = self.state.registers[name]
        shown = getattr(seen, name)
        if shown is not None:
            before = register.device_wh
            if before is None:
                # first sight of the device's own register: go on from whichever is further
                register.value_wh = max(register.value_wh, shown)
            else:
                register.value_wh += shown - before if shown >= before else shown
            register.device_wh = shown
            self._known.add(name)
            return
        source, sign = _COUNTED_BY[name]
        power_w = getattr(seen, source)
        if power_w is None or register.device_wh is not None:
            return  # not measured; or the device counts it, and only did not say so now
        steps, register.rest_wns = divmod(register.rest_wns + max(sign * power_w, 0) * span_ns, _WNS_PER_WH)
        register.value_wh += steps
        self._known.add(name)
        self._estimated = True
