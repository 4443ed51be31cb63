"""The fleet as bidders: what is bid for in which market, and each resource measured from the twins as one storage.

Measured is what programs and owners leave for the hours of a gate (`shoal.bidding.offered`), less services that devices
no longer back. A site that is silent leaves the energy that is committed: it counts as standing at its reserve. Twins that
are away are the same for all sites at once, so a bid can be made whatever happens to telemetry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.known import GateRef, Offered, Withheld
from shoal.bidding.cycle.ports import Bidder, Counted, Measured
from shoal.bidding.cycle_budgets import day_budgets
from shoal.bidding.offered import Left, Offering
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.market.contract import Market
from shoal.optimise.fleet_battery import FleetBattery, fleet_battery

ENERGY_MARGIN_FRAC: Final = 0.02
WAIT_SILENT_FRAC: Final = 0.1
"""The first bid of a day waits while more of a resource than this is silent and there is time."""
OWN_STRATEGY: Final = {"gb": "imbalance", "peak": "peak-event"}
"""Markets for which a strategy was made."""
T = TypeVar("T")
Backed: TypeAlias = Callable[[str, int], Offered]
"""Returns what of a resource's services devices still back at an instant, and why not more."""
REUSE_S: Final = 10.0
"""A view of the twins serves for so long: gates that are followed beside each other ask once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is chosen for resources beyond what their markets suggest.

    Attributes:
        strategy: The strategy by resource, or by `EVERYBODY`; without one the market decides.
        shadows: Strategies that decide beside it, by resource or `EVERYBODY`.
        early_lead_s: See `Bidder`.
    """

    strategy: Mapping[str, str] = field(default_factory=dict)
    shadows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    early_lead_s: float = 0.0


EVERYBODY: Final = "*"


def named(text: str) -> list[tuple[str, str]]:
    """Return the pairs of ``resource=strategy;resource=strategy``."""
    pairs = (one.split("=", 1) for one in text.split(";") if one)
    return [(resource, strategy) for resource, strategy in pairs]


def bidders_of(
    fleet: Fleet,
    market: Callable[[str], Market],
    *,
    lead_s: float,
    daily_lead_s: float,
    choices: Choices | None = None,
) -> tuple[dict[str, Bidder], tuple[str, ...]]:
    """Return how each resource of the fleet bids, and the resources whose market is not known.

    Args:
        fleet: The fleet as registered.
        market: Returns a market by id.
        lead_s: How long before the gate of an interval its bid is made.
        daily_lead_s: The same for gates of whole days.
        choices: What is chosen otherwise.
    """
    chosen = choices or Choices()
    found: dict[str, Bidder] = {}
    strangers: list[str] = []
    for resource in fleet.resources:
        try:
            module = market(resource.market_id)
        except UnknownIdError:
            strangers.append(resource.resource_id)
            continue
        found[resource.resource_id] = Bidder(
            resource_id=resource.resource_id,
            market_id=resource.market_id,
            settlement_point=resource.settlement_point,
            strategy=_for(chosen.strategy, resource.resource_id) or strategy_for(module),
            shadows=_for(chosen.shadows, resource.resource_id) or (),
            lead_s=lead_s,
            daily_lead_s=daily_lead_s,
            early_lead_s=chosen.early_lead_s,
            wait_silent_frac=WAIT_SILENT_FRAC,
        )
    return found, tuple(strangers)


def _for(named_for: Mapping[str, T], resource_id: str) -> T | None:
    return named_for.get(resource_id, named_for.get(EVERYBODY))


def strategy_for(market: Market) -> str:
    """Return the strategy that bids in a market unless another one is chosen: its own, or by how its first product is sold."""
    own = OWN_STRATEGY.get(market.rules.market_id)
    if own is not None:
        return own
    first = market.rules.products[0]
    return "day-ahead" if first.gates[0].kind == "auction" else "markov"


class TwinMeasuring:
    """Measures resources of a fleet; safe to use from several threads.

    Args:
        fleet: The fleet as registered.
        view: Asks the twins; blocks.
        availability_frac: The share of a fleet's capability that is offered; a single battery offers all of it.
        fresh_timeout_s: A record older than this counts as silence.
        offering: Tells what programs and owners leave; everything when None.
        backed: Tells what of services devices no longer back; everything is backed when None.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        view: Callable[[], FleetView],
        availability_frac: float,
        fresh_timeout_s: float,
        offering: Offering | None = None,
        backed: Backed | None = None,
    ) -> None:
        self._fleet = fleet
        self._view = view
        self._availability_frac = availability_frac
        self._fresh_ns = int(fresh_timeout_s * NS_PER_S)
        self._offering = offering
        self._backed = backed
        self._resources: Mapping[str, Any] = {str(one.resource_id): one for one in fleet.resources}
        self._lock = threading.Lock()
        self._asked_ns: int | None = None
        self._latest: NDArray[Any] | None = None

    def __call__(self, resource_id: str, gate: GateRef, as_of_ns: int, /) -> Measured:
        """Return a resource as measured.

        Raises:
            UnknownIdError: when the fleet has no such resource.
            UnavailableError: when enrolments or parameters were never read and cannot be.
        """
        resource = self._resources.get(resource_id)
        if resource is None:
            raise UnknownIdError("resource", resource_id)
        rows = self._fleet.battery_rows_in(resource.group_id)
        whole = len(rows)
        seen = self._seen(as_of_ns)
        left = self._left(rows, gate, as_of_ns)
        rows = rows[left.sites]
        reserve, share = left.reserve_frac[left.sites], left.share_frac[left.sites]
        latest = TELEMETRY.empty(len(rows)) if seen is None else seen[rows]
        fresh = (latest["ts_ns"] > 0) & (latest["ts_ns"] >= as_of_ns - self._fresh_ns)
        plate = self._fleet.nameplate[rows]
        soc_frac = latest["soc_frac"].astype(np.float64)
        sure = fresh & ~left.is_drawn[left.sites] & np.isfinite(soc_frac)
        stored_frac = np.where(sure, np.clip(soc_frac, 0.0, 1.0), reserve)
        as_one = partial(
            _as_one,
            plate,
            stored_frac=stored_frac,
            reserve_frac=reserve,
            availability_frac=self._availability_frac if whole > 1 else 1.0,
            throughput_cost_per_mwh=resource.throughput_cost_per_mwh,
        )
        capacity_kwh = plate["energy_capacity_kwh"] * share
        offered = partial(self._offered, resource_id, resource.group_id, as_of_ns)
        return Measured(
            storage=as_one(share_frac=share).storage,
            silent_frac=float(capacity_kwh[~fresh].sum() / max(float(capacity_kwh.sum()), 1e-9)),
            offered=offered(left.withheld),
            counted=self._counted(left, plate, as_one, offered),
        )

    def _counted(
        self,
        left: Left,
        plate: NDArray[Any],
        as_one: Callable[..., FleetBattery],
        offered: Callable[[tuple[Withheld, ...]], Offered | None],
    ) -> Counted | None:
        """Return what a plan may have that counts cycles, None where nobody limits them so that it matters."""
        if not left.days:
            return None
        one = as_one(share_frac=left.counted_frac[left.sites])
        days = [replace(day, left_wh=day.left_wh[left.sites]) for day in left.days]
        return Counted(
            storage=one.storage,
            budgets=day_budgets(days, one, plate["discharge_efficiency_frac"].astype(np.float64)),
            offered=offered(left.counted_withheld),
        )

    def _left(self, rows: NDArray[np.int64], gate: GateRef, as_of_ns: int) -> Left:
        plate = self._fleet.nameplate[rows]
        if self._offering is not None:
            return self._offering.left(rows, plate, gate.covers, as_of_ns)
        return Left(
            sites=np.ones(len(rows), dtype=np.bool_),
            reserve_frac=plate["reserve_frac"],
            share_frac=np.ones(len(rows)),
            counted_frac=np.ones(len(rows)),
            days=(),
            is_drawn=np.zeros(len(rows), dtype=np.bool_),
            withheld=(),
            counted_withheld=(),
        )

    def _offered(
        self, resource_id: str, group_id: GroupId, as_of_ns: int, withheld: tuple[Withheld, ...]
    ) -> Offered | None:
        """Return what is not offered, None when everything is."""
        backed = Offered() if self._backed is None else self._backed(resource_id, as_of_ns)
        if not withheld and not backed.withheld and not backed.service_limit_kw:
            return None
        plate = self._fleet.nameplate[self._fleet.battery_rows_in(group_id)]
        usable_kwh = float((plate["energy_capacity_kwh"] * (1.0 - plate["reserve_frac"])).sum())
        return Offered(
            withheld=(*withheld, *backed.withheld),
            withheld_frac=sum(one.energy_kwh for one in withheld) / max(usable_kwh, 1e-9),
            service_limit_kw=backed.service_limit_kw,
        )

    def _seen(self, as_of_ns: int) -> NDArray[Any] | None:
        """Return the latest record of every site, None when the twins are away."""
        with self._lock:
            if self._asked_ns is None or not 0 <= as_of_ns - self._asked_ns < int(REUSE_S * NS_PER_S):
                try:
                    self._latest = self._view().latest
                except UnavailableError:
                    self._latest = None
                if self._latest is not None and self._offering is not None:
                    self._offering.note(as_of_ns, self._latest)
                self._asked_ns = as_of_ns
            return self._latest


def _as_one(
    plate: NDArray[Any],
    *,
    stored_frac: NDArray[np.float64],
    reserve_frac: NDArray[np.float64],
    share_frac: NDArray[np.float64],
    availability_frac: float,
    throughput_cost_per_mwh: float,
) -> FleetBattery:
    """Return batteries as one whose every schedule can be split among them.

    One below its reserve stands at it, and what it lacks is taken from what the others hold: it has to be made up for first.
    """
    capacity_kwh = plate["energy_capacity_kwh"] * share_frac
    one = fleet_battery(
        energy_kwh=np.maximum(stored_frac, reserve_frac) * capacity_kwh,
        energy_capacity_kwh=capacity_kwh,
        reserve_frac=reserve_frac,
        charge_limit_kw=plate["charge_limit_kw"] * share_frac,
        discharge_limit_kw=plate["discharge_limit_kw"] * share_frac,
        charge_efficiency_frac=plate["charge_efficiency_frac"],
        discharge_efficiency_frac=plate["discharge_efficiency_frac"],
        availability_frac=availability_frac,
        energy_margin_frac=ENERGY_MARGIN_FRAC,
        throughput_cost_per_mwh=throughput_cost_per_mwh,
    )
    lacking_kwh = float((np.maximum(reserve_frac - stored_frac, 0.0) * capacity_kwh).sum())
    held_kwh = max(one.storage.initial_energy_kwh - availability_frac * lacking_kwh, 0.0)
    return replace(one, storage=replace(one.storage, initial_energy_kwh=held_kwh))
