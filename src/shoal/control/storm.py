"""Storm watch: from weather alerts to batteries that are full when the lights go out, and back to exactly what was before.

Each alert that stands is one event in the documents of the sites inside its area, from some hours before until it ends. A
site inside several follows all of them: an event to charge holds its own level and leaves the rest to what lies beneath, so
the highest level holds, in whatever order alerts come and go. Nothing of the owner's is overwritten; what a site had when
it was first touched is remembered all the same, so that a device that knows a reserve only is given its own back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.domain.alert import Severity, WeatherAlert
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.orders import ScheduledEvent
from shoal.programs.claims import HoldClaim
from shoal.twin.zones import ZoneIndex

PROGRAM: Final = "storm"
MOST_AT_A_SITE: Final = 5
"""Alerts at a site before those that others make up for are left out."""
USUAL_TARGETS: Final[Mapping[Severity, float]] = {"extreme": 1.0, "severe": 1.0, "moderate": 0.8}
"""Up to which state of charge batteries are filled, by severity; a severity that is not named moves nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPolicy:
    """How a plant gets ready for weather.

    Attributes:
        target_soc_frac: By severity.
        lead_s: So long before an alert takes effect batteries begin to fill.
        ramp_s: Over how long each site begins and ends.
        spread_s: Within how long sites begin and end, each at a place of its own.
        solar_only: Fill from surplus sun alone.
        may_opt_out: Whether owners may leave.
        longest_s: No alert is followed for longer from its beginning on: a flood may stand for weeks, and a wrong year for
            ever.
    """

    target_soc_frac: Mapping[Severity, float] = field(default_factory=lambda: dict(USUAL_TARGETS))
    lead_s: float = 12 * 3_600.0
    ramp_s: float = 60.0
    spread_s: float = 900.0
    solar_only: bool = False
    may_opt_out: bool = True
    longest_s: float = 5 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandingAlert:
    """An alert that stands, as the fleet sees it.

    Attributes:
        key: The same for what its issuer calls the same.
        hold: From when to when batteries are filled and held.
        soc_frac: Up to which state of charge.
        rows: Sites inside, ascending.
    """

    key: str
    hold: Interval
    soc_frac: float
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What a site had before the first alert touched it, and has again after the last one.

    Attributes:
        reserve_frac: State of charge that its owner keeps.
        mode: What its device followed, see `shoal.domain.orders.OrderReport`.
    """

    reserve_frac: float
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StormSites:
    """What is known of N sites.

    Attributes:
        site_ids: N names.
        reserve_frac: What owners keep.
        mode: What devices follow.
        charge_w: Most charging power; 0 without a battery.
        capacity_wh: What the battery holds when full.
        energy_wh: What it holds now.
    """

    site_ids: Sequence[str]
    reserve_frac: NDArray[np.float64]
    mode: Sequence[str]
    charge_w: NDArray[np.int64]
    capacity_wh: NDArray[np.float64]
    energy_wh: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerChanged:
    """An owner chose another reserve or mode while a storm has the site: that is what comes back."""

    site_id: str
    reserve_frac: float | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A storm takes a site: it had `prior`."""

    site_id: str
    prior: Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """No storm has the site any more: it has `prior` again."""

    site_id: str
    prior: Prior


@dataclass(frozen=True, slots=True, kw_only=True)
class StormState:
    """What each site had that a storm has taken, by name."""

    prior_of: Mapping[str, Prior] = field(default_factory=dict)

    def kept(self) -> dict[str, Any]:
        """Return the state for a store."""
        return {site: [prior.reserve_frac, prior.mode] for site, prior in self.prior_of.items()}

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> StormState:
        """Return the state of a successor."""
        return cls(
            prior_of={site: Prior(reserve_frac=float(one[0]), mode=str(one[1])) for site, one in kept.items()}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StormStep:
    """What a step decided.

    Attributes:
        entries: All that is to stand in documents for storms, one entry an alert; whatever else stood there is dropped.
        changes: Who was taken and who was given back, by name.
        held: N, whom a storm has at this instant.
    """

    entries: tuple[Entry, ...]
    changes: tuple[Touched | Restored, ...]
    held: NDArray[np.bool_]


def standing_alert(
    *,
    key: str,
    alert: WeatherAlert,
    taken_ns: int,
    until_ns: int,
    index: ZoneIndex,
    policy: StormPolicy,
) -> StandingAlert | None:
    """Return an alert as the fleet sees it; None for one that moves nobody.

    Args:
        key: Its short name.
        alert: What its issuer says.
        taken_ns: When it was taken.
        until_ns: When it ends; see `shoal.store.weather_alerts.KeptAlert`.
        index: Places of the fleet's sites.
        policy: How the plant gets ready.

    Raises:
        InvalidInputError: when its area cannot be read.
    """
    target = policy.target_soc_frac.get(alert.severity)
    begin_ns = taken_ns if alert.effective is None else alert.effective.start_ns
    begin_ns = max(begin_ns - int(policy.lead_s * NS_PER_S), min(taken_ns, begin_ns))
    effective_ns = begin_ns if alert.effective is None else max(alert.effective.start_ns, taken_ns)
    until_ns = min(until_ns, effective_ns + int(policy.longest_s * NS_PER_S))
    if target is None or until_ns <= begin_ns:
        return None
    return StandingAlert(
        key=key,
        hold=Interval(start_ns=begin_ns, end_ns=until_ns),
        soc_frac=target,
        rows=index.inside(alert.area),
    )


def step_storm(
    state: StormState,
    owners: Iterable[OwnerChanged],
    *,
    t_ns: int,
    standing: Sequence[StandingAlert],
    sites: StormSites,
    policy: StormPolicy,
) -> tuple[StormState, StormStep]:
    """Return the state at an instant, what is wanted of the sites from then on, and who was taken or given back.

    Args:
        state: What was before.
        owners: What owners chose since.
        t_ns: The instant.
        standing: Every alert that stands now: one that is missing was cancelled, one that says something else changed.
        sites: The fleet as it is now; a site that is gone is given back.
        policy: How the plant gets ready.
    """
    prior_of = dict(state.prior_of)
    for change in owners:
        before = prior_of.get(change.site_id)
        if before is not None:
            prior_of[change.site_id] = Prior(
                reserve_frac=before.reserve_frac if change.reserve_frac is None else change.reserve_frac,
                mode=before.mode if change.mode is None else change.mode,
            )
    has_battery = sites.charge_w > 0
    held = np.zeros(len(sites.site_ids), dtype=np.bool_)
    entries: list[Entry] = []
    for alert in _what_counts(standing, len(has_battery)):
        rows = alert.rows[has_battery[alert.rows]]
        if alert.hold.end_ns + int(policy.spread_s * NS_PER_S) <= t_ns or not len(rows):
            continue
        if alert.hold.contains(t_ns):
            held[rows] = True
        event = ScheduledEvent(
            event_id=f"storm-{alert.key}",
            program=PROGRAM,
            kind="charge",
            start_ns=alert.hold.start_ns,
            # Devices that end at places of their own do so before an event's end: it is named longer by as much.
            end_ns=alert.hold.end_ns + int(policy.spread_s * NS_PER_S),
            soc_frac=alert.soc_frac,
            solar_only=policy.solar_only,
            ramp_s=policy.ramp_s,
            spread_s=policy.spread_s,
            may_opt_out=policy.may_opt_out,
        )
        entries.append(
            Entry(
                key=event.event_id,
                item=event,
                end_ns=event.end_ns,
                rows=rows,
                battery_w=sites.charge_w[rows],
            )
        )
    changes: list[Touched | Restored] = []
    now_held = {str(sites.site_ids[row]): row for row in np.flatnonzero(held).tolist()}
    for site, row in now_held.items():
        if site not in prior_of:
            prior = Prior(reserve_frac=float(sites.reserve_frac[row]), mode=str(sites.mode[row]))
            prior_of[site] = prior
            changes.append(Touched(site_id=site, prior=prior))
    for site in [site for site in prior_of if site not in now_held]:
        changes.append(Restored(site_id=site, prior=prior_of.pop(site)))
    return StormState(prior_of=prior_of), StormStep(entries=tuple(entries), changes=tuple(changes), held=held)


def _what_counts(standing: Sequence[StandingAlert], sites: int) -> list[StandingAlert]:
    """Return the alerts by their keys; sites in very many are left out of those that others make up for.

    A document has room for few events, the earliest first: the worst alert must not be the one too many.
    """
    ordered = sorted(standing, key=lambda one: one.key)
    count = np.zeros(sites, dtype=np.int64)
    for alert in ordered:
        count[alert.rows] += 1
    crowded = np.flatnonzero(count > MOST_AT_A_SITE)
    if not len(crowded):
        return ordered
    found = []
    for place, alert in enumerate(ordered):
        rows = alert.rows
        for other_place, other in enumerate(ordered):
            covers = other.hold.start_ns <= alert.hold.start_ns and alert.hold.end_ns <= other.hold.end_ns
            covers = covers and other.soc_frac >= alert.soc_frac and other_place != place
            same = (other.hold, other.soc_frac) == (alert.hold, alert.soc_frac)
            if covers and not (same and place < other_place):
                rows = rows[~(np.isin(rows, other.rows) & np.isin(rows, crowded))]
        found.append(replace(alert, rows=rows))
    return found


def storm_claims(
    standing: Sequence[StandingAlert], sites: StormSites, interval: Interval
) -> tuple[HoldClaim, ...]:
    """Return what storms claim in an interval, ahead of the market and all else that comes after them.

    Of an alert everything above the owner's reserve is held, up to its level, at every site inside; and what is missing of
    the level is charged within the interval as far as the battery can.
    """
    claims = []
    for alert in sorted(standing, key=lambda one: one.key):
        rows = alert.rows[sites.charge_w[alert.rows] > 0]
        if not alert.hold.overlaps(interval) or not len(rows):
            continue
        level_wh = alert.soc_frac * sites.capacity_wh[rows]
        owner_wh = sites.reserve_frac[rows] * sites.capacity_wh[rows]
        lacking_wh = np.fmax(level_wh - sites.energy_wh[rows], 0.0)
        span_ns = interval.end_ns - interval.start_ns
        needed_w = np.ceil(lacking_wh * (NS_PER_HOUR / span_ns)).astype(np.int64)
        claims.append(
            HoldClaim(
                claim_id=f"storm-{alert.key}",
                program=PROGRAM,
                rows=rows,
                hold_wh=np.ceil(np.fmax(level_wh - owner_wh, 0.0)).astype(np.int64),
                charge_w=np.minimum(needed_w, sites.charge_w[rows]),
            )
        )
    return tuple(claims)
