"""Which values cannot be true, however well they were delivered. They are marked, never changed.

The rules ask what a sound device cannot do, so that an ordinary one is never accused: a battery at rest or at a constant
set-point, a charger at its rated power, an inverter at its limit may all say the same for hours. A household's load may
not, nor may a register stand still while power flows. Of a suspect sample only the signals concerned are left out of
the sums over fresh sites.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.telemetry import DeviceType

_LIMITED: Final = ("most_charge_w", "most_discharge_w", "most_solar_w", "most_ev_w")
LIMITS: Final = np.dtype([(name, "<i8") for name in (*_LIMITED, "clipping_w", "charge_w", "discharge_w")])
"""What a nameplate allows, tolerances included; and the rated power by which its registers may grow."""
UNLIMITED_W: Final = 2**40


class Plausibility(NamedTuple):
    """What a sound device cannot do.

    Attributes:
        sign_tolerance_w: Solar power up to this, and household load down to minus this, passes for a meter's error.
        register_slack_wh: By how much a register may grow beyond what the nameplate allows: some are in whole kWh.
        register_slack_ns: How much longer than between two samples a register may have grown.
        still_ns: A load that is the same for about so long, or a register that does not move, is a stuck sensor;
            at least 14 samples must say so.
        moving_w: Power from which on a register must move within `still_ns`, even one of whole kWh.
        nameplate_frac: Power beyond this share of the nameplate is impossible.
        nameplate_slack_w: What is allowed on top, for small devices.
        clipping_frac: Solar power from this share of the nameplate on may stand still: the inverter is at its limit.
    """

    sign_tolerance_w: int = 100
    register_slack_wh: int = 1_000
    register_slack_ns: int = 60 * NS_PER_S
    still_ns: int = 2 * NS_PER_HOUR
    moving_w: int = 1_000
    nameplate_frac: float = 1.1
    nameplate_slack_w: int = 50
    clipping_frac: float = 0.9

    def limits(self, plates: NDArray[np.void]) -> NDArray[Any]:
        """Return what each nameplate (of `shoal.twin.layout.PLATE`) allows, as records of `LIMITS`.

        A meter's nameplate says nothing of what stands behind it, so it limits nothing.
        """
        limits = np.zeros(len(plates), dtype=LIMITS)
        for name, plate in zip(_LIMITED, ("charge_w", "discharge_w", "solar_w", "ev_w"), strict=True):
            limits[name] = np.floor(plates[plate] * self.nameplate_frac) + self.nameplate_slack_w
        limits["clipping_w"] = np.ceil(plates["solar_w"] * self.clipping_frac)
        limits["charge_w"], limits["discharge_w"] = plates["charge_w"], plates["discharge_w"]
        limits[plates["device_type"] == DeviceType.METER] = _unlimited()
        return limits


def no_limits() -> NDArray[Any]:
    """Return one record of `LIMITS` that nothing exceeds, for twins whose nameplates nobody gave."""
    return np.array([_unlimited()], dtype=LIMITS)


def _unlimited() -> tuple[int, ...]:
    return (UNLIMITED_W,) * len(LIMITS.names or ())
