"""`shoal desk money` and `shoal desk disputes`: where the money of a delivered day went, and where a market sees it otherwise."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.cycle_stores import Stores, open_stores
from shoal.cli.desk_clock import plant_now_ns
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json

if TYPE_CHECKING:
    from shoal.bidding.settling_stages import DayMoney
    from shoal.store.settlings import CheckRecord

AMOUNTS_PER_UNIT: Final = 1e8
MOST_DISPUTES: Final = 12
STEP_NAMES: Final = {
    "perfect": "with perfect foresight",
    "forecast": "planned on the forecast",
    "bid": "awarded to the bid",
    "delivered": "delivered and settled",
}


def money(
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource.")],
    day: Annotated[
        str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Else the last day that can be told.")
    ] = None,
    market: Annotated[
        str | None, typer.Option("--market", metavar="MARKET", help="Else the one it bids in.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="So many days up to that one, a line each.")] = 1,
    hours: Annotated[
        bool, typer.Option("--hours", help="Hour by hour, too; with --json interval by interval.")
    ] = False,
    homes: Annotated[bool, typer.Option("--homes", help="Home by home, too.")] = False,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print where the money of a delivered day went: foresight, forecast, bid, execution, to the last unit."""
    stores = open_stores(config, set_)
    now_ns = plant_now_ns(stores, config, set_)
    if days > 1:
        every = _told_days(stores, resource, market, day, days, now_ns=now_ns)
        if as_json:
            print_json(every)
        else:
            _print_days(every)
        return
    told = _told(stores, resource, market, day, now_ns=now_ns, hours=hours, homes=homes)
    if as_json:
        print_json(told)
    else:
        _print(told)


def disputes(
    resource: Annotated[str | None, typer.Argument(metavar="[RESOURCE]", help="Only of this one.")] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the days of which a market's newest settlement differs from the plant's own."""
    stores = open_stores(config, set_)
    found = stores.settlings.open_disputes(resource)
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("markets and plant agree on every day that was checked")
    else:
        for one in found:
            _print_check(one)


def _told(
    stores: Stores,
    resource: str,
    market_id: str | None,
    day: str | None,
    *,
    now_ns: int,
    hours: bool,
    homes: bool,
) -> dict[str, Any]:
    """Return all that is printed, as data; amounts are whole 1e-8 currency units."""
    from shoal.bidding.settling_money import day_records
    from shoal.bidding.settling_stages import attribute_day, home_steps
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import iso
    from shoal.market.registry import market_module

    module = market_module(market_id or _market_of(stores, resource))
    chosen = _day(day) if day else _last_day(stores, resource, module.rules.market_id, now_ns=now_ns)
    records = day_records(
        stores.cycles, stores.facts, stores.settlings, module, resource, chosen, as_of_ns=now_ns
    )
    found = attribute_day(records)
    told: dict[str, Any] = {
        "resource": resource,
        "market": module.rules.market_id,
        "day": found.delivery_date,
        "currency": found.currency,
        "amounts_per_unit": int(AMOUNTS_PER_UNIT),
        "settled_as": found.settled_as,
        "settled": found.settled_amount,
        "stages": list(found.attribution.stages),
        "total": found.attribution.stage_amount.tolist(),
        "left_in_store": found.attribution.carried_amount.tolist(),
        "products": dict(zip(found.products, found.by_product().tolist(), strict=True)),
    }
    if hours:
        starts, amounts = found.by_hour()
        told["hours"] = dict(zip((iso(start) for start in starts), amounts.tolist(), strict=True))
        told["rows"] = [
            {"start": iso(at.start_ns), "end": iso(at.end_ns), "product": product, "amounts": amounts}
            for (at, product), amounts in zip(found.rows, found.attribution.amount.tolist(), strict=True)
        ]
    shares = records.shares
    if shares is not None:
        told |= {"owners": int(shares.owner_amount.sum()), "operator": shares.operator_amount}
        told["homes_count"] = len(shares.site_ids)
    if homes and shares is None:
        raise InvalidInputError(
            field="--homes", value=found.delivery_date, fix="nothing of that day is shared yet"
        )
    if homes and shares is not None:
        names, steps = home_steps(found, shares)
        told["homes"] = dict(zip(names, steps.tolist(), strict=True))
    told["versions"] = _versions(stores, found)
    return told


def _told_days(
    stores: Stores, resource: str, market_id: str | None, day: str | None, count: int, *, now_ns: int
) -> list[dict[str, Any]]:
    """Return the same for several days, without hours and homes; a day that cannot be told says why."""
    from shoal.domain.errors import InvalidInputError

    market_id = market_id or _market_of(stores, resource)
    last = _day(day) if day else _last_day(stores, resource, market_id, now_ns=now_ns)
    known = stores.settlings.delivery_dates(resource, market_id, from_date="")
    found = []
    for one in [text for text in known if text <= last.isoformat()][-count:]:
        try:
            found.append(_told(stores, resource, market_id, one, now_ns=now_ns, hours=False, homes=False))
        except InvalidInputError as error:
            found.append({"resource": resource, "market": market_id, "day": one, "why": str(error)})
    return found


def _versions(stores: Stores, found: DayMoney) -> list[dict[str, Any]]:
    """Return every version of the settlement, and what its last check came to."""
    from shoal.domain.interval import iso

    place = (found.resource_id, found.market_id, found.delivery_date)
    last = {one.checked.version: one.checked for one in stores.settlings.checks(*place)}
    rows = []
    for one in stores.cycles.settlements(*place):
        checked = last.get(one.version)
        rows.append(
            {
                "version": one.version,
                "run": one.run,
                "issued": iso(one.issued_ns),
                "amount": one.amount,
                "changed": len(one.changed),
                "disputes": None if checked is None else len(checked.disputes),
                "disputed": None if checked is None else sum(each.amount for each in checked.disputes),
                "unchecked": None if checked is None else len(checked.unchecked),
            }
        )
    return rows


def _market_of(stores: Stores, resource: str) -> str:
    """Return the market of the resource's newest bid."""
    from shoal.domain.errors import InvalidInputError

    bids = stores.cycles.bids(resource_id=resource)
    if not bids:
        known = ", ".join(stores.cycles.resources()) or "none"
        raise InvalidInputError(field="resource", value=resource, fix=f"known are: {known}; else --market")
    return max(bids, key=lambda one: one.created_ns).bid.market_id


def _day(text: str) -> date:
    from shoal.domain.errors import InvalidInputError

    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(field="--day", value=text, fix="write it YYYY-MM-DD") from error


def _last_day(stores: Stores, resource: str, market_id: str, *, now_ns: int) -> date:
    """Return the last day that is settled, else the last that is over."""
    from shoal.domain.errors import InvalidInputError
    from shoal.market.registry import market_module
    from shoal.market.settlement import settlement_intervals

    rules = market_module(market_id).rules
    days = stores.settlings.delivery_dates(resource, market_id, from_date="")
    over = [day for day in days if settlement_intervals(rules, date.fromisoformat(day))[-1].end_ns <= now_ns]
    settled = [day for day in over if stores.cycles.settlements(resource, market_id, day)]
    if not over:
        raise InvalidInputError(field="resource", value=resource, fix="no day of it is over yet")
    return date.fromisoformat((settled or over)[-1])


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────


def _amount(amount: int) -> str:
    return f"{amount / AMOUNTS_PER_UNIT:,.2f}"


def _print(told: dict[str, Any]) -> None:
    typer.echo(
        f"{told['resource']} in {told['market']} on {told['day']}, {told['currency']}; "
        f"{told['settled_as']}: {_amount(told['settled'])}"
    )
    rows = [("", "", "step")]
    before: int | None = None
    for stage, total in zip(told["stages"], told["total"], strict=True):
        step = "" if before is None else f"{(total - before) / AMOUNTS_PER_UNIT:+,.2f}"
        rows.append((f"  {STEP_NAMES.get(stage, stage)}", _amount(total), step))
        before = total
    print_columns(rows)
    typer.echo("  wear deducted, energy left in store counted at the day's median price")
    _table(
        told | {"products": told["products"] | {"left in store": told["left_in_store"]}},
        "by product",
        "products",
    )
    _table(told, "by hour", "hours")
    if "owners" in told:
        typer.echo(
            f"\n{told['homes_count']:,} homes receive {_amount(told['owners'])}, the operator keeps "
            f"{_amount(told['operator'])}"
        )
    _table(told, "by home", "homes", names={"": "the operator"})
    if told["versions"]:
        typer.echo("\nsettlements")
        print_columns(
            [
                (
                    f"  {one['version']}",
                    one["run"],
                    one["issued"],
                    _amount(one["amount"]),
                    f"{one['changed']} intervals changed",
                    _verdict(one),
                )
                for one in told["versions"]
            ]
        )


def _print_days(every: list[dict[str, Any]]) -> None:
    """Print a line a day, and the sum of those of which every stage is known."""
    names = ("settled", *STEP_NAMES)
    rows = [("", *names, "as")]
    total = dict.fromkeys(names, 0)
    for told in every:
        if "why" in told:
            rows.append((told["day"], *[""] * len(names), told["why"]))
            continue
        amounts = dict(zip(told["stages"], told["total"], strict=True)) | {"settled": told["settled"]}
        if len(amounts) == len(names):
            total = {name: total[name] + amounts[name] for name in names}
        cells = [_amount(amounts[name]) if name in amounts else "" for name in names]
        rows.append((told["day"], *cells, told["settled_as"]))
    print_columns([*rows, ("in all", *(_amount(total[name]) for name in names), "")])


def _table(told: dict[str, Any], title: str, name: str, *, names: dict[str, str] | None = None) -> None:
    if name not in told:
        return
    typer.echo(f"\n{title}")
    stages = told["stages"]
    head = stages if name != "homes" else [stages[0], *(f"to {one}" for one in stages[1:])]
    rows = [("  ", *head)]
    for key, amounts in told[name].items():
        rows.append((f"  {(names or {}).get(key, key)}", *(_amount(one) for one in amounts)))
    print_columns(rows)


def _verdict(one: dict[str, Any]) -> str:
    if one["disputes"] is None:
        return "not checked yet"
    if one["disputes"]:
        return f"disputed: {one['disputes']} lines, {_amount(one['disputed'])}"
    return f"{one['unchecked']} parts could not be checked" if one["unchecked"] else "agreed"


def _print_check(one: CheckRecord) -> None:
    from shoal.domain.interval import iso

    checked = one.checked
    typer.echo(
        f"{one.resource_id} in {one.market_id} on {one.delivery_date}, version {checked.version}: "
        f"lines that differ: {len(checked.disputes)}, by {_amount(sum(each.amount for each in checked.disputes))}"
    )
    print_columns(
        [
            (
                f"  {iso(each.start_ns)}",
                each.product,
                each.kind,
                each.reason,
                f"{each.market_wh / 1e3:,.3f} kWh at {each.market_cents_per_mwh / 100:.2f}",
                f"should be {each.own_wh / 1e3:,.3f} at {each.own_cents_per_mwh / 100:.2f}",
                _amount(each.amount),
            )
            for each in checked.disputes[:MOST_DISPUTES]
        ]
    )
    if len(checked.disputes) > MOST_DISPUTES:
        typer.echo(f"  {len(checked.disputes) - MOST_DISPUTES:,} more; --json prints all")
