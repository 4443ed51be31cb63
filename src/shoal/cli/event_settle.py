"""`shoal event settle`: what an event that is over came to by its meters, and what each home is paid, to the last unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shoal.domain.fleet import Fleet
    from shoal.domain.interval import Interval
    from shoal.runtime.settings import Settings
    from shoal.settle.event import EventSettlement, EventTerms, Measured
    from shoal.store.order_records import Order
    from shoal.store.orders import Orders

_SHOWN: Final = 20
_LINES: Final = 100_000


def settle(
    called: Annotated[
        str | None,
        typer.Argument(
            metavar="[EVENT]", help="One that was called: then group, span, pay and who left are known."
        ),
    ] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Whose sites.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="When it begins, like 2026-05-04T16:00:00-05:00."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="INSTANT", help="When it ends, exclusive.")
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", help="What a delivered MWh is paid, in the currency.")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option("--measure", help="battery, or a baseline; `shoal baseline list` names them."),
    ] = None,
    step_s: Annotated[int, typer.Option("--step", metavar="SECONDS", help="Length of an interval.")] = 900,
    zone: Annotated[str, typer.Option("--zone", help="Whose days and clock changes.")] = "America/Chicago",
    owner_permille: Annotated[
        int | None, typer.Option("--owners", min=0, max=1000, help="The owners' part, in thousandths; 800.")
    ] = None,
    target_kw: Annotated[float, typer.Option("--target-kw", min=0.0, help="What was asked for.")] = 0.0,
    left: Annotated[
        list[str] | None,
        typer.Option(
            "--left", metavar="SITE=INSTANT", help="An owner who left, and when; may be given again."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="DAY=WHY", help="A day that is not ordinary; WHY is event, or other."
        ),
    ] = None,
    charged_from: Annotated[
        str | None,
        typer.Option(
            "--charged-from", metavar="INSTANT", help="Since when the plant itself moved the sites."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--event", metavar="NAME", help="How it is called.")] = "event",
    program: Annotated[str, typer.Option("--program", help="Of which program.")] = "emergency",
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "USD",
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Say what every home delivered by its meters and what it is paid, to the last unit."""
    from shoal.cli.cycle_stores import parse_instant
    from shoal.control.event_calls import BATTERY
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import Interval
    from shoal.settle.event import EventTerms, settle_event
    from shoal.settle.statement import price_cents_per_mwh

    settings = read_settings(config, set_)
    if called is not None:
        for option, given in (("--group", group), ("--from", from_), ("--to", to), ("--left", left)):
            if given is not None:
                raise InvalidInputError(field=option, value=given, fix=f"leave it out: {called} says it")
        orders = _orders(settings)
        found = settle_called(
            settings,
            fleet_of(settings, orders.order(called).start_ns),
            orders,
            called,
            measure=measure,
            price_cents_per_mwh=None if price is None else price_cents_per_mwh(price),
            zone=zone,
            step_s=step_s,
            excluded=_days(exclude),
        )
        _told(found, as_json=as_json)
        return
    if group is None or from_ is None or to is None or price is None:
        fix = "name an event that was called, or give --group, --from, --to and --price"
        raise InvalidInputError(field="EVENT", value="nothing", fix=fix)
    event = Interval(start_ns=parse_instant("--from", from_), end_ns=parse_instant("--to", to))
    fleet = fleet_of(settings, event.start_ns)
    rows = battery_rows(fleet, group)
    charged = None
    if charged_from is not None:
        charged = Interval(start_ns=parse_instant("--charged-from", charged_from), end_ns=event.start_ns)
    measured = measure_event(
        settings, fleet, rows, event, measure or BATTERY, step_s, zone, _days(exclude), charged
    )
    found = settle_event(
        measured,
        EventTerms(
            program=program,
            currency=currency,
            price_cents_per_mwh=price_cents_per_mwh(price),
            owner_share_permille=800 if owner_permille is None else owner_permille,
        ),
        event_id=name,
        site_ids=[str(fleet.site_ids[row]) for row in rows],
        event=event,
        target_wh=round(target_kw * 1e3 * event.duration_h),
        left_ns={site: parse_instant("--left", when) for site, when in _pairs("--left", left)},
    )
    _told(found, as_json=as_json)


def settle_called(
    settings: Settings,
    fleet: Fleet,
    orders: Orders,
    event_id: str,
    *,
    measure: str | None = None,
    price_cents_per_mwh: int | None = None,
    zone: str = "America/Chicago",
    step_s: int = 900,
    excluded: Mapping[int, str] | None = None,
) -> EventSettlement:
    """Return the settlement of an event that was called: as it was called, by those who stayed, from history.

    Args:
        settings: Of the plant.
        fleet: Its sites at the event's beginning.
        orders: Where it was called, and where it is on record who left.
        event_id: Which.
        measure: How it is measured; None for what was said at the call.
        price_cents_per_mwh: None for what was said at the call.
        zone: Whose days and clock changes.
        step_s: Length of a metering interval.
        excluded: Days that are not ordinary, by ordinal, and why.

    Raises:
        UnknownIdError: when no such event was called.
        InvalidInputError: when it was called off before it began, or has nobody.
    """
    from shoal.control.emergency import charged_span
    from shoal.control.event_calls import call_of, event_order, left_of, policy_of
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_HOUR
    from shoal.settle.event import settle_event
    from shoal.store.order_records import CallSpec

    order = event_order([orders.order(event_id)], event_id)
    spec = order.spec
    assert isinstance(spec, CallSpec)
    call, event = call_of(order, fleet), delivered_span(order, step_s=step_s)
    rows = [int(row) for row in call.rows]
    if not rows:
        raise InvalidInputError(field="event", value=event_id, fix="its groups have no batteries")
    measured = measure_event(
        settings,
        fleet,
        rows,
        event,
        measure or spec.measure,
        step_s,
        zone,
        dict(excluded or {}),
        charged_span(call, policy_of(order.program)),
    )
    target_w = sum(one.target_w for one in spec.targets)
    return settle_event(
        measured,
        _terms(order, price_cents_per_mwh),
        event_id=event_id,
        site_ids=[str(fleet.site_ids[row]) for row in rows],
        event=event,
        target_wh=target_w * (event.end_ns - event.start_ns) // NS_PER_HOUR,
        left_ns=left_of(orders.audit(_LINES, subject=event_id)),
    )


def delivered_span(order: Order, *, step_s: int) -> Interval:
    """Return when a called event was in force: until its end, or the interval in which it was called off.

    Raises:
        InvalidInputError: when it was called off before it began.
    """
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_S, Interval

    end_ns = order.end_ns
    if order.state != "standing":
        step_ns = step_s * NS_PER_S
        end_ns = min(end_ns, order.at_ns // step_ns * step_ns)
    if end_ns <= order.start_ns:
        raise InvalidInputError(
            field="event", value=order.order_id, fix="it was called off before it began: nothing is owed"
        )
    return Interval(start_ns=order.start_ns, end_ns=end_ns)


def _terms(order: Order, price_cents_per_mwh: int | None) -> EventTerms:
    from shoal.settle.event import EventTerms
    from shoal.store.order_records import CallSpec

    spec = order.spec
    assert isinstance(spec, CallSpec)
    return EventTerms(
        program=order.program,
        currency=spec.currency,
        price_cents_per_mwh=spec.price_cents_per_mwh if price_cents_per_mwh is None else price_cents_per_mwh,
        owner_share_permille=spec.owner_share_permille,
    )


def measure_event(
    settings: Settings,
    fleet: Fleet,
    rows: list[int],
    event: Interval,
    measure: str,
    step_s: int,
    zone: str,
    excluded: dict[int, str],
    charged: Interval | None,
) -> Measured:
    """Return what sites did in an event by their meters, against their batteries standing still or a baseline.

    Raises:
        InvalidInputError: when the zone, the step or the rule is none.
    """
    from datetime import date, timedelta
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    import numpy as np

    from shoal.cli.event_meters import read_meters, read_registers
    from shoal.cli.history_store import open_history
    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval, local_midnight_ns, to_datetime
    from shoal.settle.baseline import ExcludedDays, compute_baseline
    from shoal.settle.baseline_calendar import nerc_holidays
    from shoal.settle.baseline_rules import DayMatchRule, baseline_rule
    from shoal.settle.event import by_baseline, by_battery

    try:
        local = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidInputError(field="--zone", value=zone, fix="write it like America/Chicago") from error
    step_ns = step_s * NS_PER_S
    if step_s <= 0 or 3_600 % step_s or event.start_ns % step_ns or event.end_ns % step_ns:
        fix = "divide the hour, and begin and end the event where intervals do"
        raise InvalidInputError(field="--step", value=step_s, fix=fix)
    numbers = np.array(rows, dtype=np.int64)
    rule = None if measure == "battery" else baseline_rule(measure)
    history = open_history(settings, [str(site) for site in fleet.site_ids])
    try:
        if rule is None:
            names = ("charge_wh", "discharge_wh")
            charge_wh, discharge_wh, known = read_registers(
                history, numbers, event, step_s=step_s, names=names
            )
            boundary_ns = np.arange(event.start_ns, event.end_ns + step_ns, step_ns, dtype=np.int64)
            return by_battery(
                charge_wh=charge_wh, discharge_wh=discharge_wh, known=known, boundary_ns=boundary_ns
            )
        day: date = to_datetime(event.start_ns, local).date()
        back_days = rule.look_back_days if isinstance(rule, DayMatchRule) else 1
        first_ns = local_midnight_ns(day - timedelta(days=back_days), local)
        last_ns = event.end_ns + 6 * NS_PER_HOUR
        span = Interval(start_ns=first_ns // step_ns * step_ns, end_ns=last_ns // step_ns * step_ns)
        meter = read_meters(history, numbers, span, step_s=step_s, zone=local)
    finally:
        history.close()
    years = range(day.year - 1, day.year + 1)
    holidays = nerc_holidays(years) if zone.startswith("America/") else frozenset()
    baseline = compute_baseline(
        rule,
        meter,
        event,
        holidays=holidays,
        excluded=ExcludedDays(all_sites=excluded),
        disturbed=charged,
    )
    return by_baseline(baseline, step_ns=step_ns)


def fleet_of(settings: Settings, at_ns: int) -> Fleet:
    """Return the fleet at an instant.

    Raises:
        UnavailableError: when there is no registry.
    """
    from shoal.domain.errors import UnavailableError
    from shoal.store.database import open_database
    from shoal.store.registry import Registry

    file = settings.data_dir / "registry.db"
    if not settings.registry.database_url and not file.exists():
        raise UnavailableError(f"registry {file}", "no site is registered; see `shoal fleet import`")
    url = settings.registry.database_url or f"sqlite:///{file.absolute()}"
    return Registry(open_database(url)).fleet_at(at_ns)


def battery_rows(fleet: Fleet, group: str) -> list[int]:
    """Return the rows of a group's batteries.

    Raises:
        UnknownIdError: when there is no such group.
        InvalidInputError: when it has none.
    """
    from shoal.domain.errors import InvalidInputError, UnknownIdError
    from shoal.domain.ids import GroupId

    if GroupId(group) not in fleet.group_number:
        raise UnknownIdError("group", group)
    rows = fleet.battery_rows_in(GroupId(group))
    if not len(rows):
        raise InvalidInputError(field="--group", value=group, fix="name one with batteries")
    return [int(row) for row in rows]


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    from shoal.domain.errors import InvalidInputError

    pairs = [one.partition("=") for one in given or []]
    for before, equals, after in pairs:
        if not (before and equals and after):
            raise InvalidInputError(field=option, value=before, fix="write it like NAME=VALUE")
    return [(before, after) for before, _, after in pairs]


def _days(given: list[str] | None) -> dict[int, str]:
    from datetime import date

    from shoal.domain.errors import InvalidInputError

    days = {}
    for day, why in _pairs("--exclude", given):
        try:
            days[date.fromisoformat(day).toordinal()] = why
        except ValueError as error:
            raise InvalidInputError(
                field="--exclude", value=day, fix="write the day like 2026-05-04"
            ) from error
    return days


def _orders(settings: Settings) -> Orders:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import open_database
    from shoal.store.orders import Orders

    return Orders(open_database(settings.bidding.database_url or sqlite_url(settings, "registry.db")))


def _told(found: EventSettlement, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        _print_settlement(found)


def _print_settlement(found: EventSettlement) -> None:
    from shoal.settle.statement import format_amount

    typer.echo(
        f"{found.event_id}, by {found.rule_name}: {found.delivered_wh / 1e3:,.3f} kWh delivered"
        + (f", {found.performance_frac:.1%} of what was asked for" if found.target_wh else "")
    )
    typer.echo(
        f"{format_amount(found.amount)} {found.currency} in all, of which "
        f"{format_amount(found.operator_amount)} the operator's"
    )
    rows: list[tuple[str, ...]] = [
        ("site", "baseline kWh", "metered kWh", "delivered kWh", found.currency, "")
    ]
    for line in found.lines[:_SHOWN]:
        why = line.reason.replace("_", " ") + (f": {line.detail}" if line.detail else "")
        kwh = (line.baseline_wh, line.metered_wh, line.delivered_wh)
        rows.append(
            (line.site_id, *(f"{wh / 1e3:,.3f}" for wh in kwh), format_amount(line.amount, digits=4), why)
        )
    print_columns(rows)
    if len(found.lines) > _SHOWN:
        typer.echo(f"... and {len(found.lines) - _SHOWN:,} more; --json has them all")
