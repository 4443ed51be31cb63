"""The whole story of one bid, as data and as text: what was known, tried, decided, said, sent, answered and awarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from shoal.cli.options import print_columns

if TYPE_CHECKING:
    from shoal.cli.cycle_stores import Stores
    from shoal.store.cycles import DecisionRecord, MarketBidRecord

EVER_NS: Final = 2**62
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
    try:
        story |= _decided(stores, stores.cycles.decision(record.decision_id))
    except UnknownIdError:
        story["decision"] = None
    story["said"] = _said(stores, record)
    story["steps"] = [
        {"at": iso(step.at_ns), "state": step.state, "by": step.by, "said": step.said}
        for step in stores.cycles.steps(key)
    ]
    story["receipt"] = None if record.receipt is None else msgspec.to_builtins(record.receipt)
    story["award"] = _awarded(stores, record)
    return story


def _decided(stores: Stores, record: DecisionRecord) -> dict[str, Any]:
    """Return what a decision was made from, what was tried and what came of it."""
    import msgspec

    from shoal.bidding.cycle.climb import Tried
    from shoal.bidding.cycle.decision import Decision
    from shoal.bidding.cycle.known import Situation
    from shoal.domain.interval import iso

    about = msgspec.json.decode(record.situation, type=Situation)
    decision = msgspec.json.decode(record.decision, type=Decision)
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
            {"rung": one.rung, "took_s": round(one.took_s, 6), "outcome": one.outcome}
            for one in msgspec.json.decode(record.tried, type=list[Tried])
        ],
        "resource_then": {
            "stored_kwh": about.storage.initial_energy_kwh,
            "capacity_kwh": about.storage.energy_capacity_kwh,
            "silent_frac": about.silent_frac,
            "revision_standing": None if about.standing is None else about.standing.revision,
            "awarded_intervals": len(about.commitments),
            "fixed_spans": len(about.fixed),
        },
        "known": _known(stores, record, about.record_no),
    }


def _known(stores: Stores, record: DecisionRecord, record_no: int) -> list[dict[str, Any]]:
    """Return how much of each series was known then, and how old its newest fact was."""
    import msgspec

    from shoal.bidding.cycle.known import Question
    from shoal.domain.interval import NS_PER_S, iso

    found = []
    for asked in msgspec.json.decode(record.questions, type=list[Question]):
        answer = stores.facts.as_of(
            [asked.series_id], asked.from_ns, asked.to_ns, record.as_of_ns, up_to_record=record_no
        )[asked.series_id]
        line: dict[str, Any] = {
            "series_id": asked.series_id,
            "from": iso(asked.from_ns),
            "to": iso(asked.to_ns),
            "intervals": len(answer.start_ns),
            "newest_interval_ends": None,
            "newest_known": None,
            "newest_age_s": None,
        }
        if len(answer.start_ns):
            known_ns = int(answer.known_ns.max())
            line |= {
                "newest_interval_ends": iso(int(answer.end_ns[-1])),
                "newest_known": iso(known_ns),
                "newest_age_s": (record.as_of_ns - known_ns) / NS_PER_S,
            }
        found.append(line)
    return found


def _said(stores: Stores, record: MarketBidRecord) -> list[dict[str, Any]]:
    """Return what people said of the bid, and the mode of its resource."""
    import msgspec

    from shoal.bidding.cycle.consent import Approval, ModeSet, mode_at
    from shoal.domain.interval import iso

    resource_id = record.bid.resource_id
    modes = [
        msgspec.json.decode(one.content, type=ModeSet)
        for one in stores.consents.said("mode", subject=resource_id, as_of_ns=EVER_NS)
    ]
    held = mode_at(modes, resource_id, as_of_ns=EVER_NS)
    found = [
        {
            "at": iso(held.at_ns) if held.by else "",
            "by": held.by or "nobody",
            "what": f"{resource_id} is {held.mode}{' with four eyes' if held.four_eyes else ''}",
            "reason": held.reason,
        }
    ]
    for one in stores.consents.said("approval", subject=record.bid.idempotency_key, as_of_ns=EVER_NS):
        word = msgspec.json.decode(one.content, type=Approval)
        covered = "" if word.content_digest == record.content_digest else ", of another content"
        what = f"{'approved' if word.approved else 'refused'}{covered}"
        found.append({"at": iso(word.at_ns), "by": word.by, "what": what, "reason": word.reason})
    return found


def _awarded(stores: Stores, record: MarketBidRecord) -> dict[str, Any] | None:
    """Return what was awarded in the intervals that the bid lists, in the newest version."""
    from shoal.domain.interval import iso
    from shoal.market.standing import starts_of

    bid = record.bid
    awards = stores.cycles.awards(bid.resource_id, bid.market_id, bid.delivery_date)
    if not awards:
        return None
    listed = {offer.product: set[int]() for offer in bid.offers}
    for offer in bid.offers:
        listed[offer.product] |= starts_of(offer)
    return {
        "version": awards[-1].version,
        "published": iso(awards[-1].published_ns),
        "intervals": [
            {
                "product": one.product,
                "start": iso(one.start_ns),
                "power_mw": one.power_w / _W_PER_MW,
                "price_per_mwh": one.price_per_mwh,
            }
            for one in awards[-1].quantities
            if one.start_ns in listed.get(one.product, ())
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
