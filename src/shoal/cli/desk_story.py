"""The whole story of one bid, as data and as text: what was known, tried, decided, said, sent, answered and awarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from shoal.cli.options import print_columns

if TYPE_CHECKING:
    from shoal.bidding.desk_views import AwardedOf, Told
    from shoal.cli.cycle_stores import Stores
    from shoal.store.cycles import MarketBidRecord

_AMOUNTS_PER_UNIT: Final = 1e8
_W_PER_MW: Final = 1e6


def bid_line(record: MarketBidRecord) -> dict[str, Any]:
    """Return the line of a bid in a list."""
    from shoal.domain.interval import iso

    bid = record.bid
    return {
        "key": bid.idempotency_key,
        "state": record.state,
        "resource": bid.resource_id,
        "market": bid.market_id,
        "day": bid.delivery_date,
        "revision": bid.revision,
        "closes": iso(record.closes_ns),
        "by": record.author or "machine",
    }


def story_of(stores: Stores, key: str) -> dict[str, Any]:
    """Return all that is kept about a bid.

    Raises:
        UnknownIdError: there is no such bid.
    """
    import msgspec

    from shoal.bidding.desk_views import approvals_of, awarded_of, mode_of, told_of, words_of
    from shoal.domain.errors import UnknownIdError
    from shoal.domain.interval import iso

    record = stores.cycles.bid(key)
    if record is None:
        raise UnknownIdError("bid", key)
    story: dict[str, Any] = {
        **bid_line(record),
        "settlement_point": record.bid.settlement_point,
        "created": iso(record.created_ns),
        "content_digest": record.content_digest,
        "offers": [_offer_line(offer) for offer in record.bid.offers],
        "rebid": None if record.bid.rebid is None else msgspec.to_builtins(record.bid.rebid),
    }
    told = told_of(stores.cycles, record.decision_id)
    story |= {"decision": None} if told is None else _decided(stores, told)
    words = words_of(
        mode_of(stores.consents, record.bid.resource_id), record, approvals_of(stores.consents, key)
    )
    story["said"] = [
        {
            "at": "" if one.at_ns is None else iso(one.at_ns),
            "by": one.by,
            "what": one.what,
            "reason": one.reason,
        }
        for one in words
    ]
    story["steps"] = [
        {"at": iso(step.at_ns), "state": step.state, "by": step.by, "said": step.said}
        for step in stores.cycles.steps(key)
    ]
    story["receipt"] = None if record.receipt is None else msgspec.to_builtins(record.receipt)
    story["award"] = _awarded(awarded_of(stores.cycles, record.bid))
    return story


def _decided(stores: Stores, told: Told) -> dict[str, Any]:
    """Return what a decision was made from, what was tried and what came of it."""
    from shoal.bidding.desk_views import inputs_of
    from shoal.domain.interval import iso

    record, about, decision = told.record, told.about, told.decision
    return {
        "decision": {
            "id": record.decision_id,
            "trigger": record.trigger,
            "as_of": iso(record.as_of_ns),
            "strategy": f"{record.strategy} {record.strategy_version}",
            "rung": record.rung,
            "reasons": list(decision.reasons),
            "relaxed": list(decision.relaxed),
            "expected": None
            if decision.expected_amount is None
            else decision.expected_amount / _AMOUNTS_PER_UNIT,
        },
        "tried": [
            {"rung": one.rung, "took_s": round(one.took_s, 6), "outcome": one.outcome} for one in told.tried
        ],
        "resource_then": {
            "stored_kwh": about.storage.initial_energy_kwh,
            "capacity_kwh": about.storage.energy_capacity_kwh,
            "silent_frac": about.silent_frac,
            "revision_standing": None if about.standing is None else about.standing.revision,
            "awarded_intervals": len(about.commitments),
            "fixed_spans": len(about.fixed),
        },
        "known": [
            {
                "series_id": one.series_id,
                "from": iso(one.from_ns),
                "to": iso(one.to_ns),
                "intervals": one.intervals_count,
                "newest_interval_ends": None if one.newest_end_ns is None else iso(one.newest_end_ns),
                "newest_known": None if one.newest_known_ns is None else iso(one.newest_known_ns),
                "newest_age_s": one.newest_age_s,
            }
            for one in inputs_of(stores.facts, told)
        ],
    }


def _awarded(found: AwardedOf | None) -> dict[str, Any] | None:
    from shoal.domain.interval import iso

    if found is None:
        return None
    return {
        "version": found.award.version,
        "published": iso(found.award.published_ns),
        "intervals": [
            {
                "product": one.product,
                "start": iso(one.start_ns),
                "power_mw": one.power_w / _W_PER_MW,
                "price_per_mwh": one.price_per_mwh,
            }
            for one in found.quantities
        ],
    }


def _offer_line(offer: Any) -> dict[str, Any]:
    import msgspec

    from shoal.domain.interval import iso
    from shoal.market.standing import starts_of

    starts = sorted(starts_of(offer))
    content = msgspec.to_builtins(offer)
    return {
        "product": offer.product,
        "shape": content["shape"],
        "side": content.get("side", ""),
        "intervals": len(starts),
        "from": iso(starts[0]) if starts else "",
        "until_start": iso(starts[-1]) if starts else "",
        "content": content,
    }


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────

MOST_INTERVALS: Final = 12


def print_story(story: dict[str, Any]) -> None:
    """Print a story for a person."""
    typer.echo(
        f"{story['key']}: {story['state']}, revision {story['revision']} of {story['resource']} in {story['market']} "
        f"for {story['day']} at {story['settlement_point']}, by {story['by']}; the gate closes {story['closes']}"
    )
    decision = story["decision"]
    if decision is None:
        typer.echo("no decision of the machine is behind it")
    else:
        _print_decision(story, decision)
    _section("offers", [_offer_cells(one) for one in story["offers"]])
    if story["rebid"]:
        typer.echo(f"\nreason given to the market: {story['rebid']['category']}, {story['rebid']['reason']}")
    _section("said", [(one["at"], one["by"], one["what"], one["reason"]) for one in story["said"]])
    _section("steps", [(one["at"], one["state"], one["by"], one["said"]) for one in story["steps"]])
    receipt = story["receipt"]
    if receipt is not None:
        refusal = (
            f": {receipt['field']} {receipt['value']}; {receipt['fix']}" if receipt.get("reason") else ""
        )
        typer.echo(f"\nthe market: {receipt['state']} {receipt.get('reason') or receipt['bid_id']}{refusal}")
    award = story["award"]
    if award is None:
        typer.echo("\nnothing is awarded for the day yet")
        return
    rows = [
        (one["start"], one["product"], _power(one["power_mw"]), f"at {one['price_per_mwh']:.2f}")
        for one in award["intervals"]
    ]
    _section(f"award, version {award['version']}", rows[:MOST_INTERVALS])
    if len(rows) > MOST_INTERVALS:
        typer.echo(f"  {len(rows) - MOST_INTERVALS:,} more intervals; --json prints all")


def _print_decision(story: dict[str, Any], decision: dict[str, Any]) -> None:
    then = story["resource_then"]
    expected = "" if decision["expected"] is None else f", worth {decision['expected']:,.2f} as expected"
    typer.echo(
        f"decided by {decision['strategy']} on rung {decision['rung']} as of {decision['as_of']}, on {decision['trigger']}"
        f"{expected}"
    )
    for reason in decision["reasons"]:
        typer.echo(f"  {reason}")
    for wish in decision["relaxed"]:
        typer.echo(f"  relaxed: {wish}")
    typer.echo(
        f"the resource held {then['stored_kwh']:,.0f} of {then['capacity_kwh']:,.0f} kWh, "
        f"{then['silent_frac']:.1%} of it silent"
    )
    _section(
        "known",
        [
            (
                one["series_id"],
                f"{one['intervals']:,} intervals",
                "nothing"
                if one["newest_age_s"] is None
                else f"newest {one['newest_age_s']:,.0f} s old, up to {one['newest_interval_ends']}",
            )
            for one in story["known"]
        ],
    )
    _section("tried", [(one["rung"], f"{one['took_s']:.3f} s", one["outcome"]) for one in story["tried"]])


def _section(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        typer.echo(f"\n{title}")
        print_columns([(f"  {row[0]}", *row[1:]) for row in rows])


def _offer_cells(offer: dict[str, Any]) -> tuple[str, ...]:
    span = f"{offer['intervals']:,} intervals from {offer['from']} to {offer['until_start']}"
    return offer["product"], offer["shape"], offer["side"] or "-", span


def _power(power_mw: float) -> str:
    if power_mw == 0:
        return "nothing"
    return f"{abs(power_mw):g} MW {'bought' if power_mw > 0 else 'sold'}"
