"""From meters to money: what resources delivered goes to their markets, what markets settle comes back, is checked and shared.

Every turn does what is not done yet, and remembers nothing that the stores do not know: readings that a market does not
hold are sent, versions that are not kept are fetched, each is put beside a settlement of one's own and shared among the
homes. A reading sent twice counts once and a version is kept once, so a death between any two steps costs a turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import numpy as np
import structlog

from shoal.bidding.cycle.ports import Bidder, FactKeeper
from shoal.bidding.settling_ports import (
    MeteredDay,
    Metering,
    SettlingExchange,
    day_prices,
    delivered_as_of,
    meter_series,
)
from shoal.domain.clock import Clock
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.awards import Delivered
from shoal.market.contract import Market
from shoal.market.metering import MeterReport, to_report
from shoal.market.settlement import amounts_by_interval, run_due_ns, settlement_intervals
from shoal.market.shadow import check_settlement
from shoal.settle.shares import SharingKey, share_version
from shoal.store.cycles import Cycles
from shoal.store.settlings import Settlings

_log = structlog.get_logger(__name__)

METER_SOURCE: Final = "meters"
REPORT_READINGS: Final = 2_000
_DAY_NS: Final = 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingOptions:
    """When what is done; times in seconds of the plant's clock.

    Attributes:
        meter_after_s: After the end of a day its meters are read.
        meter_again_s: And read again for late samples, so often.
        meter_days: For so many days.
        ask_s: A day is asked for again after so long.
        look_back_days: Days further back are settled for good.
        most_days: Days that one turn attends to, of each resource, the latest first.
        sends_meters: Whether the plant itself tells markets what its meters say.
    """

    meter_after_s: float = 3_600.0
    meter_again_s: float = 6 * 3_600.0
    meter_days: int = 7
    ask_s: float = 900.0
    look_back_days: int = 900
    most_days: int = 16
    sends_meters: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingStatistics:
    """Counters since the start."""

    readings_sent: int
    readings_refused: int
    settlements: int
    contradicted: int
    checked: int
    disputes: int
    shared: int
    unavailable: int
    turns_failed: int


@dataclass(slots=True)
class _Day:
    """What is remembered of a day, so that it is not done again at every turn; all of it can be lost."""

    next_ns: int = 0
    measured_ns: int | None = None
    metered: MeteredDay | None = None
    told: tuple[Delivered, ...] | None = None
    kept: set[int] = field(default_factory=set)


class Settling:
    """Sends meters, fetches settlements, checks and shares them; its calls block.

    Args:
        facts: Prices, and where readings go: a correction stands beside what was known before.
        cycles: Awards and settlements.
        settlings: Checks and shares.
        metering: The meters.
        owner_share_permille: Returns the part of a resource's revenue that goes to the homes, in thousandths.
        options: When what is done.
    """

    def __init__(
        self,
        *,
        facts: FactKeeper,
        cycles: Cycles,
        settlings: Settlings,
        metering: Metering,
        owner_share_permille: Callable[[str], int],
        options: SettlingOptions | None = None,
    ) -> None:
        self._facts = facts
        self._cycles = cycles
        self._settlings = settlings
        self._metering = metering
        self._owner_share_permille = owner_share_permille
        self._options = options or SettlingOptions()
        self._days: dict[tuple[str, str, str], _Day] = {}
        self._count: Counter[str] = Counter()

    async def run(
        self,
        *,
        held: Mapping[str, Bidder],
        market: Callable[[str], Market],
        exchanges: Mapping[str, SettlingExchange],
        clock: Clock,
        turn_s: float,
    ) -> None:
        """Take turns until cancelled.

        Args:
            held: The resources to settle; it may change.
            market: Returns a market by id.
            exchanges: The way to each market.
            clock: The plant's clock.
            turn_s: Seconds of wall time between turns.
        """
        while True:
            started_s = time.monotonic()
            for bidder in list(held.values()):
                way, rules = exchanges[bidder.market_id], market(bidder.market_id)
                try:
                    await asyncio.to_thread(self.settle, bidder, rules, way, now_ns=clock.now_ns())
                except Exception as error:  # noqa: BLE001 - the supervisor of the turns: the next one begins afresh
                    self._count["turns_failed"] += 1
                    _log.warning(
                        "settling_failed",
                        resource_id=bidder.resource_id,
                        error=f"{type(error).__name__}: {error}",
                    )
            await asyncio.sleep(max(turn_s - (time.monotonic() - started_s), 0.0))

    def settle(self, bidder: Bidder, market: Market, exchange: SettlingExchange, *, now_ns: int) -> int:
        """Do what is due for a resource; return how many versions of settlements were new."""
        today = market.delivery_date(now_ns)
        first = (today - timedelta(days=self._options.look_back_days)).isoformat()
        days = self._settlings.delivery_dates(bidder.resource_id, market.rules.market_id, from_date=first)
        new = attended = 0
        for text in reversed(days):
            day = date.fromisoformat(text)
            over_ns = settlement_intervals(market.rules, day)[-1].end_ns
            state = self._days.setdefault((bidder.resource_id, bidder.market_id, text), _Day())
            if over_ns + int(self._options.meter_after_s * NS_PER_S) > now_ns or now_ns < state.next_ns:
                continue
            attended += 1
            if attended > self._options.most_days:
                break
            new += self._attend(bidder, market, exchange, day, state, now_ns)
        return new

    def _attend(
        self,
        bidder: Bidder,
        market: Market,
        exchange: SettlingExchange,
        day: date,
        state: _Day,
        now_ns: int,
    ) -> int:
        """Go through a day, each part by itself: a market that is away keeps nothing else from being done."""
        before = self._count["settlements"]
        parts: tuple[Callable[[], None], ...] = (
            lambda: self._measure(bidder, market, day, state, now_ns),
            lambda: self._send(bidder, exchange, day, state),
            lambda: self._fetch(bidder, exchange, day, state, now_ns),
            lambda: self._check(bidder, market, day, now_ns),
            lambda: self._share(bidder, market, day, state),
        )
        failed = False
        for part in parts:
            try:
                part()
            except UnavailableError:
                self._count["unavailable"] += 1
                failed = True
        if not failed:
            state.next_ns = self._next_ns(bidder, market, day, now_ns)
        return self._count["settlements"] - before

    # ── meters ──────────────────────────────────────────────────────────────────────────────────────────────

    def _measure(self, bidder: Bidder, market: Market, day: date, state: _Day, now_ns: int) -> None:
        """Read the meters, and keep what they say."""
        if state.measured_ns is not None:
            again_ns = state.measured_ns + int(self._options.meter_again_s * NS_PER_S)
            if now_ns < again_ns or now_ns > self._meters_until_ns(market, day):
                return
        metered = self._metering(bidder.resource_id, market, day)
        if metered is not None and metered.delivered:
            rows = metered.delivered
            self._facts.record(
                Facts(
                    series_id=meter_series(bidder.market_id, bidder.resource_id),
                    source=METER_SOURCE,
                    known_ns=now_ns,
                    start_ns=np.array([one.start_ns for one in rows], dtype=np.int64),
                    end_ns=np.array([one.end_ns for one in rows], dtype=np.int64),
                    value=np.array(
                        [[one.delivered_wh, one.estimated] for one in rows], dtype=np.float64
                    ).reshape(-1, 2),
                )
            )
        state.metered, state.measured_ns = metered, now_ns

    def _meters_until_ns(self, market: Market, day: date) -> int:
        return settlement_intervals(market.rules, day)[-1].end_ns + max(self._options.meter_days, 1) * _DAY_NS

    def _send(self, bidder: Bidder, exchange: SettlingExchange, day: date, state: _Day) -> None:
        """Tell the market what it does not hold yet."""
        if not self._options.sends_meters or state.metered is None or state.metered.delivered == state.told:
            return
        own = state.metered.delivered
        held = exchange.meters(bidder.resource_id, day.isoformat())
        missing = to_report(held, own)
        for first in range(0, len(missing), REPORT_READINGS):
            part = missing[first : first + REPORT_READINGS]
            try:
                receipt = exchange.send_meters(MeterReport(resource_id=bidder.resource_id, readings=part))
            except InvalidInputError as error:
                # somebody else reads these meters, or corrected them meanwhile: what differs is found by the check
                self._count["readings_refused"] += len(part)
                _log.warning("readings_refused", resource_id=bidder.resource_id, error=str(error))
                break
            self._count["readings_sent"] += receipt.taken_count
        state.told = own

    # ── settlements ─────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, bidder: Bidder, exchange: SettlingExchange, day: date, state: _Day, now_ns: int) -> None:
        """Keep every version that the market has issued, and the awards behind them."""
        found = [
            one
            for one in exchange.settlements(bidder.resource_id, day.isoformat())
            if one.version not in state.kept
        ]
        if found:
            for award in exchange.awards(bidder.resource_id, day.isoformat()):
                self._keep(lambda award=award: self._cycles.record_award(award, known_ns=now_ns))  # type: ignore[misc]
        for one in found:
            new = self._keep(lambda one=one: self._cycles.record_settlement(one, known_ns=now_ns))  # type: ignore[misc]
            self._count["settlements"] += new
            state.kept.add(one.version)

    def _keep(self, record: Callable[[], bool]) -> bool:
        """Keep a version; one that says something else than before stays as it was first."""
        try:
            return record()
        except InvalidInputError as error:
            self._count["contradicted"] += 1
            _log.error("version_contradicted", error=str(error))
            return False

    def _check(self, bidder: Bidder, market: Market, day: date, now_ns: int) -> None:
        """Put every version beside one's own settlement; the newest again as long as something differs."""
        place = (bidder.resource_id, bidder.market_id, day.isoformat())
        versions = self._cycles.settlements(*place)
        last = {one.checked.version: one.checked for one in self._settlings.checks(*place)}
        wanted = [
            one
            for one in versions
            if one.version not in last or (one is versions[-1] and not last[one.version].agreed)
        ]
        if not wanted:
            return
        award = self._settlings.newest_award(*place)
        delivered = delivered_as_of(self._facts, *place[:2], market, day, as_of_ns=now_ns)
        prices = day_prices(self._facts, bidder.settlement_point, market, day, as_of_ns=now_ns)
        for one in wanted:
            checked = check_settlement(market, one, award=award, delivered=delivered, prices=prices)
            if self._settlings.record_check(*place, checked, known_ns=now_ns):
                self._count["checked"] += 1
                self._count["disputes"] += len(checked.disputes)

    def _share(self, bidder: Bidder, market: Market, day: date, state: _Day) -> None:
        """Share every version among the homes, in order."""
        place = (bidder.resource_id, bidder.market_id, day.isoformat())
        versions = self._cycles.settlements(*place)
        before = self._settlings.shares(*place)
        for one in versions:
            if before is not None and one.version <= before.version:
                continue
            metered = state.metered or self._metering(bidder.resource_id, market, day)
            if metered is None:
                return
            state.metered = metered
            before = share_version(
                amounts_by_interval(one.lines),
                one.changed,
                version=one.version,
                key=SharingKey(
                    site_ids=metered.site_ids,
                    weight_wh=metered.weight_wh,
                    owner_share_permille=self._owner_share_permille(bidder.resource_id),
                ),
                previous=before,
            )
            self._count["shared"] += self._settlings.record_shares(*place, before)

    def _next_ns(self, bidder: Bidder, market: Market, day: date, now_ns: int) -> int:
        """Return when a day is to be attended to again."""
        soon_ns = now_ns + int(self._options.ask_s * NS_PER_S)
        have = {
            one.run for one in self._cycles.settlements(bidder.resource_id, bidder.market_id, day.isoformat())
        }
        due = [(run.run, run_due_ns(market.rules, run, day)) for run in market.rules.runs]
        late = any(due_ns <= now_ns and run not in have for run, due_ns in due)
        if late or now_ns <= self._meters_until_ns(market, day):
            return soon_ns
        return min([now_ns + _DAY_NS, *(due_ns for _, due_ns in due if due_ns > now_ns)])

    def statistics(self) -> SettlingStatistics:
        """Return the counters."""
        return SettlingStatistics(
            **{name: self._count[name] for name in SettlingStatistics.__dataclass_fields__}
        )
