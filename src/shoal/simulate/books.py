"""The simulated homes' own books: what their batteries really did, which the plant never sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.simulate.physics import HomeWorld

_ROUNDING_KWH = 2.5e-3


class Books:
    """The books of a fleet in its world."""

    def __init__(self, fleet: Fleet, world: HomeWorld) -> None:
        self._world = world
        self._plate = fleet.nameplate
        self._initial_kwh = world.stored_kwh.copy()
        self._rows_of = {r.resource_id: fleet.rows_in(r.group_id) for r in fleet.resources}
        self._meters: dict[str, list[tuple[int, int, int]]] = {resource: [] for resource in self._rows_of}

    def read_meters(self, t_ns: int) -> None:
        """Note, for each resource, the net energy of its batteries so far and what is stored above the reserves."""
        net_wh = self._world.charge_wh - self._world.discharge_wh
        reserve_kwh = self._plate["reserve_frac"] * self._plate["energy_capacity_kwh"]
        usable_kwh = np.maximum(self._world.stored_kwh - reserve_kwh, 0.0)
        for resource, rows in self._rows_of.items():
            readings = self._meters[resource]
            if not readings or readings[-1][0] != t_ns:
                readings.append((t_ns, int(net_wh[rows].sum()), round(float(usable_kwh[rows].sum()) * 1e3)))

    def account(self) -> dict[str, Any]:
        """Return the meters by resource, and by how much energy fails to balance."""
        world = self._world
        residual_wh = (world.import_wh - world.export_wh) - (
            world.load_wh + world.ev_wh - world.solar_wh + world.charge_wh - world.discharge_wh
        )
        moved_wh = world.import_wh + world.export_wh + world.charge_wh + world.discharge_wh
        return {
            "meters": self._meters,
            "residual_wh": int(np.abs(residual_wh).sum()),
            "moved_wh": int(moved_wh.sum()),
            "stored_balance_error_kwh": self._stored_balance_error_kwh(),
        }

    def _stored_balance_error_kwh(self) -> float:
        """Return how far storage is from what the terminals' meters explain, beyond their rounding."""
        explained = (
            self._world.charge_wh / 1e3 * self._plate["charge_efficiency_frac"]
            - self._world.discharge_wh / 1e3 / self._plate["discharge_efficiency_frac"]
            - self._world.standby_kwh
        )
        drift: NDArray[np.float64] = self._world.stored_kwh - self._initial_kwh - explained
        return float(np.maximum(np.abs(drift) - _ROUNDING_KWH, 0.0).sum())
