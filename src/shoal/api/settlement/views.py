"""A settled day in the words of the interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shoal.api.live import state
from shoal.api.settlement.answers import (
    DayStatus,
    HomeShare,
    SettlementDay,
    SettlementDetail,
    SettlementDispute,
    SettlementGap,
    SettlementIntervals,
    SettlementPart,
    SettlementShares,
    SettlementVersion,
    SettlementWaterfall,
    WaterfallStep,
)
from shoal.bidding.settled_days import DayBook, DayInterval, money_waterfall
from shoal.bidding.settling_stages import DayMoney
from shoal.market.shadow import Checked
from shoal.settle.statement import format_amount
from shoal.settle.waterfall import parts_in_cents, to_cents

MOST_DISPUTES: Final = 200
MOST_GAPS: Final = 50
MOST_SHARES: Final = 100
WH_PER_MWH: Final = 1_000_000
_DIGITS: Final = 8


def money(amount: int) -> str:
    """Return an amount as a decimal with all its digits."""
    return format_amount(amount, digits=_DIGITS)


def day_view(book: DayBook, intervals: list[DayInterval]) -> SettlementDay:
    """Return a day's sums."""
    newest = book.newest
    awards_wh = [one.award_wh for one in intervals if one.award_wh is not None]
    read_wh = [one.delivered_wh for one in intervals if one.delivered_wh is not None]
    gap_wh = [
        abs(one.delivered_wh - one.award_wh)
        for one in intervals
        if one.delivered_wh is not None and one.award_wh is not None
    ]
    settlement = None if newest is None else newest.settlement
    checked = None if newest is None else newest.checked
    imbalance = (
        None
        if settlement is None
        else sum(line.amount for line in settlement.lines if line.kind in ("imbalance", "penalty"))
    )
    disputed = None if checked is None else _disputed(checked)
    return SettlementDay(
        resource_id=book.resource_id,
        market_id=book.market.rules.market_id,
        delivery_date=book.day.isoformat(),
        currency=book.market.rules.currency,
        status=_status(book, intervals),
        settled_by=book.settled_by,
        run="" if settlement is None else settlement.run,
        version=0 if settlement is None else settlement.version,
        versions=len(book.versions),
        issued_ms=None if settlement is None else state.to_ms(settlement.issued_ns),
        awarded=book.award is not None,
        bought_mwh=sum(wh for wh in awards_wh if wh > 0) / WH_PER_MWH,
        sold_mwh=-sum(wh for wh in awards_wh if wh < 0) / WH_PER_MWH,
        charged_mwh=sum(wh for wh in read_wh if wh > 0) / WH_PER_MWH if read_wh else None,
        discharged_mwh=-sum(wh for wh in read_wh if wh < 0) / WH_PER_MWH if read_wh else None,
        imbalance_mwh=sum(gap_wh) / WH_PER_MWH if gap_wh else None,
        net_amount=None if settlement is None else money(settlement.amount),
        net_cents=None if settlement is None else to_cents(settlement.amount),
        imbalance_amount=None if imbalance is None else money(imbalance),
        imbalance_cents=None if imbalance is None else to_cents(imbalance),
        disputes=None if checked is None else len(checked.disputes),
        disputed_amount=None if disputed is None else money(disputed),
        disputed_cents=None if disputed is None else to_cents(disputed),
        unchecked=None if checked is None else len(checked.unchecked),
        intervals=len(intervals),
        estimated_intervals=sum(one.estimated for one in intervals),
    )


def detail_view(
    book: DayBook, intervals: list[DayInterval], shares: tuple[Mapping[str, int], int] | None
) -> SettlementDetail:
    """Return a day down to its intervals."""
    checked = None if book.newest is None else book.newest.checked
    return SettlementDetail(
        day=day_view(book, intervals),
        zone=book.market.rules.zone,
        versions=_versions(book),
        intervals=SettlementIntervals(
            start_ms=[state.to_ms(one.at.start_ns) for one in intervals],
            end_ms=[state.to_ms(one.at.end_ns) for one in intervals],
            award_mwh=[_mwh(one.award_wh) for one in intervals],
            delivered_mwh=[_mwh(one.delivered_wh) for one in intervals],
            price_per_mwh=[
                None if one.price_cents_per_mwh is None else one.price_cents_per_mwh / 100
                for one in intervals
            ],
            net_amount=[None if one.amount is None else money(one.amount) for one in intervals],
            estimated=[one.estimated for one in intervals],
        ),
        parts=_parts(book),
        disputes=[] if checked is None else _disputes(checked),
        gaps=[]
        if checked is None
        else [
            SettlementGap(start_ms=state.to_ms(one.start_ns), end_ms=state.to_ms(one.end_ns), why=one.why)
            for one in checked.unchecked[:MOST_GAPS]
        ],
        shares=None if shares is None else _shares(*shares),
    )


def waterfall_view(book: DayBook, found: DayMoney) -> SettlementWaterfall:
    """Return the way from the first stage to the money."""
    fall = money_waterfall(found)
    settled = fall.last_amount if book.newest is None else book.newest.settlement.amount
    return SettlementWaterfall(
        resource_id=found.resource_id,
        market_id=found.market_id,
        delivery_date=found.delivery_date,
        currency=found.currency,
        settled_as=found.settled_as,
        first=fall.first_name,
        from_amount=money(fall.first_amount),
        from_cents=fall.first_cents,
        steps=[
            WaterfallStep(
                name=one.name,
                amount=money(one.amount),
                amount_cents=one.step_cents,
                level_cents=to_cents(one.level_amount),
            )
            for one in fall.steps
        ],
        to_amount=money(fall.last_amount),
        to_cents=fall.last_cents,
        residual_amount=money(settled - fall.last_amount),
    )


def _status(book: DayBook, intervals: list[DayInterval]) -> DayStatus:
    if book.newest is not None:
        return "provisional" if any(one.estimated for one in intervals) else "settled"
    return "delivered" if book.delivered else "awarded"


def _versions(book: DayBook) -> list[SettlementVersion]:
    """Return the versions, the newest first; the steps in cents add up to the newest's."""
    found, before_cents = [], 0
    for one in book.versions:
        settlement, checked = one.settlement, one.checked
        cents = to_cents(settlement.amount)
        found.append(
            SettlementVersion(
                version=settlement.version,
                run=settlement.run,
                issued_ms=state.to_ms(settlement.issued_ns),
                net_amount=money(settlement.amount),
                net_cents=cents,
                step_cents=cents - before_cents,
                changed_intervals=len(settlement.changed),
                lines=len(settlement.lines),
                disputes=None if checked is None else len(checked.disputes),
                disputed_cents=None if checked is None else to_cents(_disputed(checked)),
                unchecked=None if checked is None else len(checked.unchecked),
            )
        )
        before_cents = cents
    return found[::-1]


def _parts(book: DayBook) -> list[SettlementPart]:
    if book.newest is None:
        return []
    found: dict[tuple[str, str], list[int]] = {}
    for line in book.newest.settlement.lines:
        found.setdefault((line.product, line.kind), []).append(line.amount)
    ordered = sorted(found.items())
    cents = parts_in_cents([sum(amounts) for _, amounts in ordered])
    return [
        SettlementPart(
            product=product,
            kind=kind,
            lines=len(amounts),
            net_amount=money(sum(amounts)),
            net_cents=part_cents,
        )
        for ((product, kind), amounts), part_cents in zip(ordered, cents, strict=True)
    ]


def _disputes(checked: Checked) -> list[SettlementDispute]:
    return [
        SettlementDispute(
            start_ms=state.to_ms(one.start_ns),
            end_ms=state.to_ms(one.end_ns),
            product=one.product,
            kind=one.kind,
            reason=one.reason,
            amount=money(one.amount),
            amount_cents=to_cents(one.amount),
            market_mwh=one.market_wh / WH_PER_MWH,
            own_mwh=one.own_wh / WH_PER_MWH,
            market_price_per_mwh=one.market_cents_per_mwh / 100,
            own_price_per_mwh=one.own_cents_per_mwh / 100,
        )
        for one in checked.disputes[:MOST_DISPUTES]
    ]


def _shares(owners: Mapping[str, int], operator_amount: int) -> SettlementShares:
    homes_amount = sum(owners.values())
    homes_cents, operator_cents = parts_in_cents([homes_amount, operator_amount])
    largest = sorted(owners.items(), key=lambda one: (-abs(one[1]), one[0]))[:MOST_SHARES]
    return SettlementShares(
        homes=len(owners),
        homes_amount=money(homes_amount),
        homes_cents=homes_cents,
        operator_amount=money(operator_amount),
        operator_cents=operator_cents,
        largest=[
            HomeShare(site_id=site, amount=money(amount), amount_cents=to_cents(amount))
            for site, amount in largest
        ],
    )


def _disputed(checked: Checked) -> int:
    return sum(one.amount for one in checked.disputes)


def _mwh(energy_wh: int | None) -> float | None:
    return None if energy_wh is None else energy_wh / WH_PER_MWH
