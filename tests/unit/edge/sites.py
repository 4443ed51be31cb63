"""What the tests of the agent share: nameplates and desired states."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.fleet import NAMEPLATE

S = 1_000_000_000
T0 = 1_700_000_000 * S


def nameplates(sites: int = 1, **values: float) -> NDArray[Any]:
    """Return equal nameplates: 5 kW, 13.5 kWh, 20 % reserve, unless `values` say otherwise."""
    records = NAMEPLATE.empty(sites)
    plain = {
        "charge_limit_kw": 5.0,
        "discharge_limit_kw": 5.0,
        "energy_capacity_kwh": 13.5,
        "solar_limit_kw": 6.0,
    }
    for name, value in {**plain, **values}.items():
        records[name] = value
    return records


def desired(version: int, battery_w: int, start_s: float, end_s: float, fence: int = 1) -> DesiredState:
    """Return a desired state whose lease is given in seconds after `T0`."""
    return DesiredState(
        version=version,
        battery_w=battery_w,
        start_ns=T0 + round(start_s * S),
        end_ns=T0 + round(end_s * S),
        issuer="plant",
        fence=fence,
    )


def wire(state: DesiredState) -> bytes:
    """Return the message that carries a desired state."""
    return msgspec.json.encode(state)


def watts(*values: int) -> NDArray[np.int64]:
    """Return a column of watts."""
    return np.array(values, dtype=np.int64)


def kwh(*values: float) -> NDArray[np.float64]:
    """Return a column of energy."""
    return np.array(values, dtype=np.float64)
