"""The prices of a fleet, searched for again and again: each turn takes what is known, searches, and puts the result as orders.

A turn that fails leaves the last prices in force until they end by themselves; homes then plan against their own tariff. Who
goes on after a restart begins at the last duals, and one who was replaced is told so before it puts anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import structlog
from nats.aio.client import Client
from numpy.typing import NDArray

from shoal.control.price_adder import PriceAdder
from shoal.control.price_columns import ColumnHomes, SiteOutlook
from shoal.control.price_dispatch import PriceDispatch
from shoal.control.price_groups import PriceGroups
from shoal.control.price_orders import OrderStore, Published, drafts_of, publish
from shoal.control.price_search import PriceResult, find_prices
from shoal.control.price_state import Memory, PriceOptions, PriceState, PriceStatus, memory_at
from shoal.domain.errors import ShoalError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.twins import FleetView
from shoal.optimise._fleet_pool import FleetMemory
from shoal.optimise.fleet_optimum import FleetSearch, FleetTerms, SearchOptions

COLUMNS: Final = "columns"
_SAMPLED_FROM: Final = 5_000
_SAMPLE_FRAC: Final = 0.05

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetInputs:
    """What the market has to say, each asked for so many intervals of so many seconds from an instant on.

    Attributes:
        award_wh: What was awarded, bought positive; None without awards.
        price_per_mwh: What energy costs beyond the homes' tariffs; None for nothing.
    """

    award_wh: Callable[[int, int, int], Floats] | None = None
    price_per_mwh: Callable[[int, int, int], Floats] | None = None


class PriceService:
    """The turns of one fleet's search.

    Args:
        client: A connection as `Role.PRICES`.
        adder: Asks the homes that answer for themselves, in this process.
        fleet: The sites.
        options: How to search.
        orders: Where the result goes.
        memory: Where the state survives.
        now_ns: The plant's clock.
        state: What a predecessor left.
    """

    def __init__(
        self,
        client: Client,
        adder: PriceAdder,
        *,
        fleet: Fleet,
        options: PriceOptions,
        orders: OrderStore,
        memory: Memory,
        now_ns: Callable[[], int],
        state: PriceState | None = None,
    ) -> None:
        self._client, self._adder, self._options = client, adder, options
        self.fleet = fleet
        self._orders, self._memory, self._now_ns = orders, memory, now_ns
        self.outlook = SiteOutlook(len(fleet.site_ids))
        self._last = state or PriceState(status=PriceStatus())
        self._found: tuple[int, tuple[str, ...], FleetMemory] | None = None
        """Of the last search: from when it was, of which feeders, and all that it remembers."""

    @property
    def status(self) -> PriceStatus:
        """How the prices stand."""
        return self._last.status

    @property
    def state(self) -> PriceState:
        """What a successor goes on with."""
        return self._last

    def observe(self, view: FleetView) -> None:
        """Learn what sites use and generate at this time of day."""
        fresh_ns = int(self._options.fresh_s * NS_PER_S)
        self.outlook.observe(view.latest, self._now_ns(), fresh_ns=fresh_ns)

    async def turn(
        self,
        view: FleetView,
        groups: PriceGroups,
        *,
        reserve_frac: Floats,
        inputs: FleetInputs | None = None,
    ) -> PriceStatus:
        """Search once and put the result; return how the prices stand.

        Args:
            view: The twins.
            groups: Who takes part now.
            reserve_frac: What each owner keeps, of all sites.
            inputs: What the market has to say.

        Raises:
            FencedOutError: somebody else searches now.
            UnavailableError: no home answers, or a store or the fabric is gone.
        """
        options, began_ns = self._options, self._now_ns()
        step_ns = options.step_s * NS_PER_S
        start_ns = began_ns // step_ns * step_ns
        homes_bytes = dict(self._adder.count)
        over = PriceDispatch(
            self._client,
            fleet=options.fleet,
            feeder_of=groups.feeder_of,
            steps=options.steps,
            round_timeout_s=options.round_timeout_s,
            roll_timeout_s=options.round_timeout_s,
            start_ns=start_ns,
            step_s=options.step_s,
        )
        await over.call_roll(expected=1)
        taking_part = groups.feeder_of_row >= 0
        agents = self._adder.members
        agents = agents[taking_part[agents]]
        columns = self._columns(view, taking_part, agents, began_ns)
        outlook = await asyncio.to_thread(self._expected, start_ns)
        if len(columns):
            stand_in = await asyncio.to_thread(self._stand_in, columns, groups, view, reserve_frac, outlook)
            over.add_local(COLUMNS, stand_in.part, stand_in.sums)
        members = np.concatenate((agents, columns))
        left_frac = 1.0 - (began_ns - start_ns) / step_ns
        terms = self._terms(groups, members, outlook, left_frac, start_ns, inputs or FleetInputs())
        search = FleetSearch(
            terms,
            groups.feeder_of,
            homes_count=max(over.homes_count, 1),
            options=SearchOptions(
                gap_frac=options.gap_frac,
                sample_frac=_SAMPLE_FRAC if len(columns) >= _SAMPLED_FROM and not len(agents) else 1.0,
                sample_gap_frac=options.gap_frac / 3.0,
            ),
            start=self._start(start_ns, groups),
        )
        result = await find_prices(over, search, feeder_of=groups.feeder_of, within_s=options.within_s)
        told = over.statistics()
        moved = {
            name: self._adder.count[name] - homes_bytes.get(name, 0) for name in ("down_bytes", "up_bytes")
        }
        status = PriceStatus(
            at_ns=self._now_ns(),
            start_ns=start_ns,
            end_ns=start_ns + options.steps * step_ns,
            cost=result.cost,
            lower_bound=result.lower_bound,
            gap_frac=result.gap_frac,
            rounds=result.plan.rounds + result.plan.sample_rounds,
            trials=result.trials,
            took_s=result.took_s,
            homes=over.homes_count,
            agents=len(agents),
            answered_frac=result.answered_frac,
            heard_frac=result.heard_frac,
            silent_sites=told.silent_sites,
            excess_kwh=result.excess_kwh,
            down_bytes=told.down_bytes + moved["down_bytes"],
            up_bytes=told.up_bytes + moved["up_bytes"],
        )
        self._found = (start_ns, groups.feeders, result.plan.memory)
        state = self._state(result, groups, start_ns, status)
        # the fence is checked before anything is put: who was replaced puts nothing
        await asyncio.to_thread(self._memory.save, state)
        published = await asyncio.to_thread(self._publish, result, groups, agents, columns, start_ns, status)
        status = msgspec.structs.replace(
            status, orders=published.orders, sites=published.sites, stopped=published.stopped
        )
        self._last = msgspec.structs.replace(state, status=status)
        await asyncio.to_thread(self._memory.save, self._last)
        return status

    def note_failure(self, error: ShoalError) -> None:
        """Note that a turn found nothing; what was sent before goes on until it ends."""
        _log.warning("no new prices", why=str(error))
        status = self._last.status
        self._last = msgspec.structs.replace(
            self._last,
            status=msgspec.structs.replace(status, failed=str(error), failures=status.failures + 1),
        )

    def _start(self, start_ns: int, groups: PriceGroups) -> FleetMemory | None:
        """Return where to begin: at what the last search found, or at the duals that a predecessor left."""
        steps = self._options.steps
        if self._found is not None and self._found[1] == groups.feeders:
            later = (start_ns - self._found[0]) // (self._options.step_s * NS_PER_S)
            if 0 <= later < steps:
                return self._found[2].later(later) if later else self._found[2]
        return memory_at(self._last, start_ns=start_ns, feeders=groups.feeders, steps=steps)

    def _columns(self, view: FleetView, taking_part: NDArray[np.bool_], agents: Rows, now_ns: int) -> Rows:
        """Return who is answered for: who takes part, has never answered, and has a fresh twin."""
        fresh = view.latest["ts_ns"] >= now_ns - int(self._options.fresh_s * NS_PER_S)
        others = taking_part & fresh
        others[agents] = False
        return np.flatnonzero(others)

    def _expected(self, start_ns: int) -> tuple[Floats, Floats]:
        """Return what every site uses and what its roof gives, in kW, shape (N, T) each."""
        options = self._options
        rows = np.arange(len(self.fleet.site_ids), dtype=np.int64)
        return self.outlook.expect(rows, start_ns=start_ns, step_s=options.step_s, steps=options.steps)

    def _stand_in(
        self,
        rows: Rows,
        groups: PriceGroups,
        view: FleetView,
        reserve_frac: Floats,
        outlook: tuple[Floats, Floats],
    ) -> ColumnHomes:
        return ColumnHomes(
            rows,
            groups=groups,
            nameplate=self.fleet.nameplate,
            soc_frac=view.latest["soc_frac"][rows].astype(np.float64),
            reserve_frac=reserve_frac,
            load_kw=outlook[0][rows],
            solar_kw=outlook[1][rows],
            step_s=self._options.step_s,
            tariff=self._options.tariff,
        )

    def _terms(
        self,
        groups: PriceGroups,
        members: Rows,
        outlook: tuple[Floats, Floats],
        left_frac: float,
        start_ns: int,
        inputs: FleetInputs,
    ) -> FleetTerms:
        """Return what the fleet as a whole keeps to: the limits less what others on the feeder take, and awards."""
        options = self._options
        steps, hours = options.steps, options.step_s / 3_600
        net_kw = outlook[0] - outlook[1]
        outside = np.ones(len(net_kw), dtype=np.bool_)
        outside[members] = False
        import_kwh = np.full((len(groups.feeders), steps), np.inf)
        export_kwh = import_kwh.copy()
        for number, name in enumerate(groups.feeders[:-1]):
            others_kw = net_kw[outside & (groups.hangs_from == number)].sum(axis=0)
            most_kw, least_kw = options.limits_kw[name]
            import_kwh[number] = np.maximum(most_kw - others_kw, 0.0) * hours
            export_kwh[number] = np.maximum(least_kw + others_kw, 0.0) * hours
        import_kwh[:, 0] *= left_frac
        export_kwh[:, 0] *= left_frac
        awarded_kwh, wholesale = np.zeros(steps), np.zeros(steps)
        if inputs.award_wh is not None:
            awarded_kwh = inputs.award_wh(start_ns, options.step_s, steps) / 1e3
        if inputs.price_per_mwh is not None:
            wholesale = inputs.price_per_mwh(start_ns, options.step_s, steps) / 1e3
        bound = awarded_kwh != 0.0
        committed_kwh = np.where(bound, net_kw[members].sum(axis=0) * hours + awarded_kwh, 0.0)
        away = np.where(bound, options.imbalance_per_kwh, 0.0)
        return FleetTerms(
            wholesale_per_kwh=wholesale,
            feeder_import_kwh=import_kwh,
            feeder_export_kwh=export_kwh,
            excess_per_kwh=options.excess_per_kwh,
            committed_kwh=committed_kwh,
            short_per_kwh=away,
            over_per_kwh=away,
        )

    def _state(
        self, result: PriceResult, groups: PriceGroups, start_ns: int, status: PriceStatus
    ) -> PriceState:
        duals = result.plan.duals
        return PriceState(
            status=status,
            feeders=groups.feeders,
            start_ns=start_ns,
            step_s=self._options.step_s,
            commitment=tuple(duals.commitment_per_kwh.tolist()),
            imports=tuple(tuple(row) for row in duals.import_per_kwh.tolist()),
            exports=tuple(tuple(row) for row in duals.export_per_kwh.tolist()),
            known=tuple(str(self.fleet.site_ids[row]) for row in self._adder.members.tolist()),
        )

    def _publish(
        self,
        result: PriceResult,
        groups: PriceGroups,
        agents: Rows,
        columns: Rows,
        start_ns: int,
        status: PriceStatus,
    ) -> Published:
        options = self._options
        drafts = drafts_of(
            options.fleet,
            groups=groups,
            agents=agents,
            columns=columns,
            site_ids=self.fleet.site_ids,
            prices_per_kwh=result.prices_per_kwh,
            weights=result.weights,
            start_ns=start_ns,
            step_s=options.step_s,
        )
        why = f"gap {status.gap_frac:.2g}, {status.rounds} rounds, {status.heard_frac:.0%} heard"
        return publish(
            self._orders,
            drafts,
            fleet=options.fleet,
            program=options.program,
            now_ns=self._now_ns(),
            reason=why,
        )
