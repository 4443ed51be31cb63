"""The physics of every site as columns: batteries and meters whose energy balances to the last unit.

Powers are whole watts and time is whole microseconds, so each meter adds an exact integer (W x us) and shows
its whole watt-hours. The grid meter is built from the steps of the other meters: at every instant and site,
as integers, ``import - export = load + ev - solar + charge - discharge``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR
from shoal.simulate import draws

if TYPE_CHECKING:
    from shoal.simulate.profiles import Profiles

STANDBY_FRAC_PER_H: Final = 3e-4
"""Stored energy that electronics and self-discharge take in an hour, as a share of the battery's capacity."""

_NS_PER_US: Final = 1_000
_WUS_PER_WH: Final = 3_600_000_000
_WUS_PER_KWH: Final = 1_000.0 * _WUS_PER_WH
_US_PER_H: Final = 3_600_000_000
_LONGEST_NS: Final = 24 * NS_PER_HOUR
_METERS: Final = ("load", "ev", "solar", "charge", "discharge")
_COLUMNS: Final = (
    "stored_kwh",
    "standby_kwh",
    *(f"{meter}_wh" for meter in _METERS),
    *(f"{meter}_rest_wus" for meter in _METERS),
    "import_wh",
    "export_wh",
    "battery_w",
    "load_w",
    "solar_w",
    "ev_w",
)


class Alone(Protocol):
    """What sites without a grid do over a span, by physics; both change rows of their own in place, N each, in watts."""

    def carried(
        self,
        now_ns: int,
        until_ns: int,
        *,
        load_w: NDArray[np.int64],
        solar_w: NDArray[np.int64],
        ev_w: NDArray[np.int64],
        battery_w: NDArray[np.int64],
        stored_kwh: NDArray[np.float64],
    ) -> None:
        """Put in what generators and batteries are to do."""
        ...

    def balance(
        self,
        now_ns: int,
        until_ns: int,
        *,
        load_w: NDArray[np.int64],
        solar_w: NDArray[np.int64],
        ev_w: NDArray[np.int64],
        battery_w: NDArray[np.int64],
        stored_kwh: NDArray[np.float64],
    ) -> None:
        """Take back what batteries could not do, so that nothing goes through a connection that is not there."""
        ...


class HomeWorld:
    """N sites at one instant.

    Attributes:
        now_ns: The instant.
        stored_kwh: Energy in each battery, 0 to its capacity.
        standby_kwh: Energy lost from each battery to standby so far.
        charge_wh, discharge_wh, import_wh, export_wh, load_wh, ev_wh, solar_wh: Meters, whole watt-hours,
            never falling.
        battery_w, load_w, solar_w, ev_w: Mean powers of the last span, load-positive, whole watts.
    """

    stored_kwh: NDArray[np.float64]
    standby_kwh: NDArray[np.float64]
    load_wh: NDArray[np.int64]
    ev_wh: NDArray[np.int64]
    solar_wh: NDArray[np.int64]
    charge_wh: NDArray[np.int64]
    discharge_wh: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    battery_w: NDArray[np.int64]
    load_w: NDArray[np.int64]
    solar_w: NDArray[np.int64]
    ev_w: NDArray[np.int64]

    def __init__(
        self, fleet: Fleet, profiles: Profiles, *, start_ns: int, seed: int, alone: Alone | None = None
    ) -> None:
        """Begin at an instant with batteries filled as drawn; `alone` says what sites without a grid do."""
        nameplate = fleet.nameplate
        self._alone = alone
        self.now_ns = start_ns
        self._profiles = profiles
        self._capacity_kwh = nameplate["energy_capacity_kwh"].astype(np.float64)
        self._charge_limit_w = np.floor(nameplate["charge_limit_kw"] * 1_000.0).astype(np.int64)
        self._discharge_limit_w = np.floor(nameplate["discharge_limit_kw"] * 1_000.0).astype(np.int64)
        self._charge_efficiency = nameplate["charge_efficiency_frac"].astype(np.float64)
        self._discharge_efficiency = nameplate["discharge_efficiency_frac"].astype(np.float64)
        for name in _COLUMNS:
            dtype = np.float64 if name.endswith("_kwh") else np.int64
            setattr(self, name, np.zeros(len(fleet.site_ids), dtype=dtype))
        reserve = nameplate["reserve_frac"]
        drawn = draws.uniform(draws.keys(fleet.site_ids, seed, "initial-charge"), 0)
        self.stored_kwh = self._capacity_kwh * (reserve + (0.9 - reserve) * drawn).clip(0.0, 1.0)

    @property
    def profiles(self) -> Profiles:
        """What the sites use and generate."""
        return self._profiles

    def advance(
        self,
        until_ns: int,
        battery_w: NDArray[np.int64],
        *,
        charging: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
    ) -> NDArray[np.int64]:
        """Move to `until_ns` with the battery powers asked for; return the real ones.

        Both are N whole watts, charging positive. The real power is the mean over the span after the limits
        of power, empty and full.

        Raises:
            InvalidInputError: when `until_ns` is not after `now_ns` or more than a day ahead.
        """
        if not self.now_ns < until_ns <= self.now_ns + _LONGEST_NS:
            raise InvalidInputError(
                field="until_ns", value=until_ns, fix=f"give an instant up to a day after {self.now_ns}"
            )
        span_us = until_ns // _NS_PER_US - self.now_ns // _NS_PER_US
        self.load_w, self.solar_w, self.ev_w = self._profiles.power_w(self.now_ns, until_ns)
        if charging is not None:
            self.ev_w = charging(self.ev_w)
        powers_w = {"load_w": self.load_w, "solar_w": self.solar_w, "ev_w": self.ev_w}
        if self._alone is not None:
            battery_w = battery_w.copy()
            self._alone.carried(
                self.now_ns, until_ns, **powers_w, battery_w=battery_w, stored_kwh=self.stored_kwh
            )
        self.battery_w = self._run_batteries(battery_w, span_us)
        if self._alone is not None:
            self._alone.balance(
                self.now_ns, until_ns, **powers_w, battery_w=self.battery_w, stored_kwh=self.stored_kwh
            )
        self._run_meters(span_us)
        self.now_ns = until_ns
        return self.battery_w

    def sample(self, into: NDArray[Any]) -> None:
        """Write time, powers, state of charge and registers into N records of `TELEMETRY`; the rest stays."""
        into["ts_ns"] = self.now_ns
        for name in ("battery_w", "solar_w", "load_w", "ev_w"):
            into[name] = getattr(self, name)
        for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh"):
            into[name] = getattr(self, name)
        into["soc_frac"] = self.soc_frac

    @property
    def soc_frac(self) -> NDArray[np.float64]:
        """State of charge, 0 to 1; 0 where there is no battery."""
        capacity = self._capacity_kwh
        return np.divide(self.stored_kwh, capacity, out=np.zeros_like(capacity), where=capacity > 0.0)

    @property
    def grid_w(self) -> NDArray[np.int64]:
        """Mean power at the grid connection over the last span, import positive."""
        return self.load_w + self.ev_w + self.solar_w + self.battery_w

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that changes, as copies."""
        columns: dict[str, NDArray[Any]] = {name: getattr(self, name).copy() for name in _COLUMNS}
        columns["now_ns"] = np.array([self.now_ns], dtype=np.int64)
        return columns

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned.

        Raises:
            CorruptStateError: when a column is missing or of another length or type.
        """
        for name in _COLUMNS:
            mine: NDArray[Any] = getattr(self, name)
            if name not in state or state[name].shape != mine.shape or state[name].dtype != mine.dtype:
                raise CorruptStateError("state of the homes", f"column {name} is missing or of another shape")
        for name in _COLUMNS:
            setattr(self, name, state[name].copy())
        self.now_ns = int(state["now_ns"][0])

    def _run_batteries(self, asked_w: NDArray[np.int64], span_us: int) -> NDArray[np.int64]:
        """Change `stored_kwh` over the span and return the real mean powers at the terminals."""
        capacity, span_h = self._capacity_kwh, span_us / _US_PER_H
        standby_kwh = np.minimum(self.stored_kwh, capacity * STANDBY_FRAC_PER_H * span_h)
        stored_kwh = self.stored_kwh - standby_kwh
        # Whole watts, rounded towards zero, so that a battery never passes its empty or full state.
        kwh_per_w = max(span_us, 1) / _WUS_PER_KWH
        room_w = (capacity - stored_kwh) / (self._charge_efficiency * kwh_per_w)
        left_w = stored_kwh * self._discharge_efficiency / kwh_per_w
        charge_w = np.minimum(np.clip(asked_w, 0, self._charge_limit_w), np.floor(room_w)).astype(np.int64)
        discharge_w = np.minimum(np.clip(-asked_w, 0, self._discharge_limit_w), np.floor(left_w)).astype(
            np.int64
        )
        energy_kwh = span_us / _WUS_PER_KWH
        stored_kwh += self._charge_efficiency * charge_w * energy_kwh
        stored_kwh -= discharge_w * energy_kwh / self._discharge_efficiency
        self.stored_kwh = np.clip(stored_kwh, 0.0, capacity)
        self.standby_kwh = self.standby_kwh + standby_kwh
        return charge_w - discharge_w

    def _run_meters(self, span_us: int) -> None:
        """Add the span to every meter; the grid meter takes the net of the others' whole watt-hours."""
        steps_wh = {
            "load": self._meter("load", self.load_w, span_us),
            "ev": self._meter("ev", self.ev_w, span_us),
            "solar": self._meter("solar", -self.solar_w, span_us),
            "charge": self._meter("charge", np.maximum(self.battery_w, 0), span_us),
            "discharge": self._meter("discharge", np.maximum(-self.battery_w, 0), span_us),
        }
        net_wh = (
            steps_wh["load"] + steps_wh["ev"] - steps_wh["solar"] + steps_wh["charge"] - steps_wh["discharge"]
        )
        self.import_wh = self.import_wh + np.maximum(net_wh, 0)
        self.export_wh = self.export_wh + np.maximum(-net_wh, 0)

    def _meter(self, name: str, power_w: NDArray[np.int64], span_us: int) -> NDArray[np.int64]:
        """Advance one meter by a power that is not negative; return the whole watt-hours that it moved."""
        rest: NDArray[np.int64] = getattr(self, f"{name}_rest_wus")
        step_wh, rest = np.divmod(rest + power_w * span_us, _WUS_PER_WH)
        setattr(self, f"{name}_rest_wus", rest)
        setattr(self, f"{name}_wh", getattr(self, f"{name}_wh") + step_wh)
        return step_wh
