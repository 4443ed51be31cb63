"""What a homeowner is shown of a home: what is kept and how long that lasts, programs, storms, money, readers. Blocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec
import numpy as np

from shoal.api.home.answers import (
    HomeAlert,
    HomeConsent,
    HomeDay,
    HomeEarnings,
    HomeMoney,
    HomeProgram,
    HomeReader,
    HomeReserve,
    HomeSharing,
    HomeSite,
    HomeStorm,
    HomeTold,
    HomeUse,
)
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.api.programs.answers import enrolment_view
from shoal.api.site.events import is_below
from shoal.api.site.history import Track, read_track
from shoal.api.site.orders import takes_part
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.owners import HomeTold as ToldByControl
from shoal.settle.statement import format_amount
from shoal.store.home_shares import HomeShares
from shoal.store.known_terms import KnownTerms
from shoal.store.program_records import Promise
from shoal.store.users import Users

STORM: Final = "storm"
USE_NS: Final = 14 * 24 * NS_PER_HOUR
"""Of so long what a home uses is looked at."""
NEEDED_HOURS: Final = 12
"""Fewer hours say nothing of a home's use."""
_LOAD: Final = 2
_DIGITS: Final = 8
_W_PER_KW: Final = 1_000.0
_LEAST_PART: Final = 0.5
"""An hour counts when it was measured at least so far."""
SAMPLE_NS: Final = NS_PER_HOUR // 12


def told_of(said: ToldByControl | None) -> HomeTold:
    """Return what the home was told, from the controller's word; None for no word."""
    if said is None:
        return HomeTold(taken=None, events=[], reserve_frac=None)
    return HomeTold(taken=said.taken, events=list(said.events), reserve_frac=said.reserve_frac)


def home_site(plant: Plant, terms: KnownTerms, row: int, said: ToldByControl | None) -> HomeSite:
    """Return a home.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    site, now_ns = plant.fleet.site_ids[row], plant.now_ns()
    plate = plant.fleet.nameplate[row]
    return HomeSite(
        site_id=site,
        as_of_ms=to_ms(now_ns),
        zone=zone_of(plant),
        energy_capacity_kwh=float(plate["energy_capacity_kwh"]),
        charge_limit_kw=float(plate["charge_limit_kw"]),
        discharge_limit_kw=float(plate["discharge_limit_kw"]),
        stored_out_frac=float(plate["discharge_efficiency_frac"]),
        reserve=reserve_of(plant, row, said),
        use=use_of(plant, row, now_ns),
        programs=programs_of(plant, terms, site, now_ns),
        storm=storm_of(plant, terms, row, now_ns),
    )


def zone_of(plant: Plant) -> str:
    """Return the zone of the plant's clock on the wall."""
    return str(plant.model.parts()["zone"])


def reserve_of(plant: Plant, row: int, said: ToldByControl | None) -> HomeReserve:
    """Return what an owner keeps, as it is on record."""
    site, now_ns = plant.fleet.site_ids[row], plant.now_ns()
    least_frac = float(plant.fleet.nameplate["reserve_frac"][row])
    asked = _asked(plant.programs.promises(site, at_ns=now_ns))
    return HomeReserve(
        reserve_frac=max(least_frac, 0.0 if asked is None else asked.amount),
        least_frac=least_frac,
        asked_frac=None if asked is None else asked.amount,
        asked_by="" if asked is None else asked.said_by,
        asked_ms=None if asked is None else to_ms(asked.said_ns),
        told=told_of(said),
    )


def _asked(promises: Sequence[Promise]) -> Promise | None:
    return next((one for one in promises if one.kind == "reserve_frac"), None)


def use_of(plant: Plant, row: int, now_ns: int) -> HomeUse:
    """Return what a home uses, by its hours of late; without history nothing is known, which is no fault."""
    try:
        track = read_track(plant.history, row, now_ns - USE_NS, now_ns, "5min")
    except UnavailableError:
        return use_of_hours([])
    return use_of_hours(hourly_kw(track))


def hourly_kw(track: Track) -> list[float]:
    """Return the mean load of every hour that was measured for the most part, in order, in kW. Pure."""
    load_w = track.values[_LOAD]
    weight = np.maximum(track.last_ns - track.first_ns, 0)
    samples = weight == 0
    if samples.any():
        # a sample stands for the time until the next one, at most five minutes
        steps = np.diff(track.first_ns, append=track.first_ns[-1] + SAMPLE_NS)
        weight = np.where(samples, np.clip(steps, 0, SAMPLE_NS), weight)
    known = ~np.isnan(load_w)
    hour = track.first_ns // NS_PER_HOUR
    found = []
    for one in np.unique(hour[known]):
        mine = known & (hour == one)
        span_ns = weight[mine].sum()
        if span_ns >= _LEAST_PART * NS_PER_HOUR:
            found.append(float((load_w[mine] * weight[mine]).sum() / span_ns) / _W_PER_KW)
    return found


def use_of_hours(hours_kw: Sequence[float]) -> HomeUse:
    """Return what is usual among hours, and what is little and much; nothing from too few. Pure."""
    days = -(-len(hours_kw) // 24)
    if len(hours_kw) < NEEDED_HOURS:
        return HomeUse(
            low_kw=None,
            usual_kw=None,
            high_kw=None,
            hours=len(hours_kw),
            needed_hours=NEEDED_HOURS,
            days=days,
        )
    low, usual, high = (float(one) for one in np.quantile(np.array(hours_kw), (0.1, 0.5, 0.9)))
    return HomeUse(
        low_kw=low,
        usual_kw=usual,
        high_kw=high,
        hours=len(hours_kw),
        needed_hours=NEEDED_HOURS,
        days=days,
    )


def programs_of(plant: Plant, terms: KnownTerms, site: SiteId, now_ns: int) -> list[HomeProgram]:
    """Return the programs that a home is in, those left for a while too, the one that goes first on top."""
    known = terms.at(now_ns)
    enrolments, opt_outs = plant.programs.enrolments(site), plant.programs.opt_outs(site)
    found = []
    for program in known.book.programs:
        if not takes_part(program.id, now_ns, known, enrolments, ()):
            continue
        mine = [one for one in enrolments if one.program == program.id and one.start_ns <= now_ns]
        left = [
            one
            for one in opt_outs
            if one.program == program.id
            and one.start_ns <= now_ns
            and (one.end_ns is None or now_ns < one.end_ns)
        ]
        until_ns = left[-1].end_ns if left else None
        found.append(
            HomeProgram(
                program_id=program.id,
                name=program.name,
                kind=program.kind,
                pays=program.pays,
                since_ms=to_ms(mine[-1].start_ns) if mine else None,
                left=bool(left) and program.may_opt_out,
                left_until_ms=None if until_ns is None else to_ms(until_ns),
            )
        )
    return found


def storm_of(plant: Plant, terms: KnownTerms, row: int, now_ns: int) -> HomeStorm:
    """Return whether storm watch is on, and the alerts with the home inside."""
    site = plant.fleet.site_ids[row]
    known = terms.at(now_ns)
    enrolments, opt_outs = plant.programs.enrolments(site), plant.programs.opt_outs(site)
    offered = STORM in known.book.ids and takes_part(STORM, now_ns, known, enrolments, ())
    said = [one for one in opt_outs if one.program == STORM and one.start_ns <= now_ns]
    return HomeStorm(
        offered=offered,
        on=offered and takes_part(STORM, now_ns, known, enrolments, opt_outs),
        changed_ms=to_ms(max(one.said_ns for one in said)) if said else None,
        alerts=[
            HomeAlert(event=now.event, severity=now.severity, from_ms=now.from_ms, until_ms=now.until_ms)
            for one in plant.alerts.standing()
            if row in one.impact.rows
            for now in (one.now(),)
        ],
    )


def home_earnings(plant: Plant, row: int, month: str) -> HomeEarnings:
    """Return what a home earned in a month.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    site = plant.fleet.site_ids[row]
    resources = [
        str(one.resource_id) for one in plant.fleet.resources if is_below(plant.fleet, row, one.group_id)
    ]
    shares = HomeShares(plant.database)
    first, after = month_days(month)
    found = shares.of_site(site, resources, from_date=first, to_date=after)
    money = []
    for currency in sorted({one.currency for one in found}):
        mine = [one for one in found if one.currency == currency]
        money.append(
            HomeMoney(
                currency=currency,
                total=format_amount(sum(one.amount for one in mine), digits=_DIGITS),
                days=[
                    HomeDay(
                        date=one.delivery_date,
                        amount=format_amount(one.amount, digits=_DIGITS),
                        version=one.version,
                        settled_ms=to_ms(one.known_ns),
                    )
                    for one in mine
                ],
            )
        )
    return HomeEarnings(
        site_id=site,
        as_of_ms=to_ms(plant.now_ns()),
        month=month,
        money=money,
        through=max((one.delivery_date for one in found), default=None),
        months=list(dict.fromkeys(day[:7] for day in shares.days(resources))),
    )


def month_days(month: str) -> tuple[str, str]:
    """Return the first day of a month ``YYYY-MM``, and of the one after it.

    >>> month_days("2026-12")
    ('2026-12-01', '2027-01-01')
    """
    first = date.fromisoformat(f"{month}-01")
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return first.isoformat(), after.isoformat()


def home_sharing(plant: Plant, terms: KnownTerms, row: int) -> HomeSharing:
    """Return who sees what of a home, and its owner's consents, the newest first."""
    site, now_ns = plant.fleet.site_ids[row], plant.now_ns()
    users = Users(plant.registry).users()
    names = {one.id: one.name for one in terms.at(now_ns).book.programs}

    def people(role: str) -> int | None:
        # before the first user whoever is at the machine may do everything: nobody is counted
        return sum(role in one.roles for one in users) if users else None

    household = sorted(one.name for one in users if "homeowner" in one.roles and site in one.sites)
    readers = [
        _reader("household", len(household) if users else None, names=household, sees=True),
        _reader("operators", people("operator"), sees=True),
        _reader("traders", people("trader"), sees=True),
        _reader("administrators", people("admin"), sees=True),
        _reader("markets", None, sees=False),
        _reader("others", None, sees=False),
    ]
    consents = [
        HomeConsent(
            program=names.get(one.program, one.program),
            **msgspec.structs.asdict(enrolment_view(one, now_ns)),
        )
        for one in reversed(plant.programs.enrolments(site))
    ]
    return HomeSharing(site_id=site, as_of_ms=to_ms(now_ns), readers=readers, consents=consents)


def _reader(party: str, people: int | None, *, sees: bool, names: Sequence[str] = ()) -> HomeReader:
    return HomeReader(
        party=party,  # type: ignore[arg-type]
        people=people,
        names=list(names),
        sees_live=sees,
        sees_history=sees,
        sees_name=sees,
    )
