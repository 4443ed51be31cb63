"""The follower of a regulation signal: one broadcast number a tick that makes a fleet's power what the market asks.

Forward it sends what the signal needs of the homes that listen, a little more than the change because messages arrive
late. Backward it learns from meters, late and partly as they come, how much of what was asked is given and how late; homes
that fall silent leave the sum, and the others take their part over. It sees nothing but what has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.services.regulation_shares import RegulationShares, answer_w

Floats = NDArray[np.float64]
Watts = NDArray[np.int64]
Instants = NDArray[np.int64]
Rows = NDArray[np.int64]

_REMEMBERED_STEPS: Final = 128
"""Ticks whose broadcasts are kept to compare meters with; a report of an older time is of no use."""
_MOST_KEPT_FRAC: Final = 0.4
"""Share of a tick that the overshoot may make up for; from 0.5 on it would swing ever wider."""
_CHANGE_WEIGHT: Final = 0.01
"""How much the first guess of the lag counts; a signal changes by about a tenth of its size in a second."""
_SANE_TIMES: Final = 1.5
_NEVER_NS: Final = int(np.iinfo(np.int64).min) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowRules:
    """How a signal is followed.

    Attributes:
        tick_ns: Time between two signals.
        silent_ns: A home that has not reported for so long is taken for gone until it reports again.
        lag_s: Time from a signal to the response of the homes, until meters have taught better.
        compensation_frac: How much of that lag is made up for by overshooting: 1 makes the mean power over each tick right,
            0 the power at its end.
        memory_s: How long a meter's report counts in what is learned.
        least_gain_frac: Bounds of what is believed to be given of what was asked.
        most_gain_frac: See `least_gain_frac`.
        skew_ns: A report that ends further from the present than this is of another time, or of a clock that is wrong.
        blind_frac: When fewer than this share of the homes that follow are heard, nobody is taken for gone.
        keep_s: A home counts for a direction while it has energy for so long at its whole share.
    """

    tick_ns: int = 2 * NS_PER_S
    silent_ns: int = 14 * NS_PER_S
    lag_s: float = 0.5
    compensation_frac: float = 0.5
    memory_s: float = 120.0
    least_gain_frac: float = 0.7
    most_gain_frac: float = 1.1
    skew_ns: int = 60 * NS_PER_S
    blind_frac: float = 0.1
    keep_s: float = 30.0

    def __post_init__(self) -> None:
        if self.tick_ns <= 0 or self.silent_ns < self.tick_ns or self.memory_s <= 0.0:
            raise InvalidInputError(
                field="tick_ns, silent_ns, memory_s",
                value=(self.tick_ns, self.silent_ns, self.memory_s),
                fix="give times above 0, silence not below a tick",
            )
        if not (0.0 <= self.compensation_frac <= 1.0 and 0.0 <= self.lag_s * NS_PER_S <= self.tick_ns):
            raise InvalidInputError(
                field="compensation_frac, lag_s",
                value=(self.compensation_frac, self.lag_s),
                fix="give a share from 0 to 1 and a lag within a tick",
            )
        if not 0.0 < self.least_gain_frac <= 1.0 <= self.most_gain_frac:
            raise InvalidInputError(
                field="least_gain_frac, most_gain_frac",
                value=(self.least_gain_frac, self.most_gain_frac),
                fix="give shares around 1",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeterReports:
    """What M meters say of the time that ends with each report.

    Attributes:
        rows: Which homes (M), none twice.
        start_ns: Beginning of the time that each speaks of.
        end_ns: Its end.
        mean_w: Mean battery power in it, load-positive.
        stored_kwh: Energy stored at its end.
        version: Arming that the home follows; 0 for none.
    """

    rows: Rows
    start_ns: Instants
    end_ns: Instants
    mean_w: Floats
    stored_kwh: Floats
    version: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RegulationSignal:
    """The one message of a tick, for all homes of a resource.

    Attributes:
        seq: Grows with each; a device ignores an older one than it follows.
        t_ns: When it was made.
        end_ns: Until when a device follows it when nothing newer comes; then it does its base power.
        value_frac: From -1 to 1, see `shoal.services.regulation_shares.answer_w`.
        version: Arming that it is meant for.
    """

    seq: int
    t_ns: int
    end_ns: int
    value_frac: float
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowState:
    """How the follower stands after a tick.

    Attributes:
        listening_sites: Homes that are believed to follow.
        up_w: What they can give together upward, learned gain included.
        down_w: And downward.
        unmet_w: Asked of this tick beyond that; above 0 upward.
        gain_frac: Learned: what is given of what is asked.
        lag_s: Learned: how late.
        blind: Whether next to nothing comes back, and homes count as they last did.
    """

    listening_sites: int
    up_w: float
    down_w: float
    unmet_w: float
    gain_frac: float
    lag_s: float
    blind: bool = False


class FollowColumns:
    """The memory of a follower of N homes.

    Attributes:
        heard_ns: When the newest report of each home came, by the plant's clock (N).
        told_ns: Until when it spoke, by the home's clock (N).
        followed: Arming version that each home last reported (N).
        stored_kwh: Energy last reported (N); not a number when never.
        shares: What is armed now.
        version: Number of that arming; 0 before the first.
        before_version: Number of the one before it; 0 before the second.
        armed_ns: When it began.
        seq: Number of the newest broadcast.
        ticks_count: Ticks since `first_ns`, those counted in which nothing was sent.
    """

    def __init__(
        self, sites: int, rules: FollowRules, *, energy_floor_kwh: Floats, energy_ceiling_kwh: Floats
    ) -> None:
        """Begin with nothing armed and nobody heard."""
        self.rules = rules
        self.heard_ns = np.full(sites, _NEVER_NS, dtype=np.int64)
        self.told_ns = np.full(sites, _NEVER_NS, dtype=np.int64)
        self.followed = np.zeros(sites, dtype=np.int64)
        self.stored_kwh = np.full(sites, np.nan)
        self.floor_kwh = np.array(energy_floor_kwh, dtype=np.float64)
        self.ceiling_kwh = np.array(energy_ceiling_kwh, dtype=np.float64)
        none = np.zeros(sites, dtype=np.int64)
        self.shares = RegulationShares(base_w=none, up_w=none, down_w=none)
        self.version = self.before_version = 0
        self.armed_ns = _NEVER_NS
        self.seq = 0
        self.ticks_count = 0
        self.first_ns = 0
        self.last_w = 0.0
        # Broadcast values of the last ticks, parts above 0 and below apart, as shares are.
        self.sent = np.zeros((2, _REMEMBERED_STEPS))
        # Sums of a regression of the measured move on the asked one and on its change.
        self.learned = np.zeros(5)

    def __len__(self) -> int:
        return len(self.heard_ns)


def arm(columns: FollowColumns, shares: RegulationShares, *, version: int, start_ns: int) -> None:
    """Follow with new shares from `start_ns` on; homes count once they report that they follow them too.

    Homes that reported lately and followed the arming before get the time of a silence to say so.

    Raises:
        InvalidInputError: when the shares are for another number of homes or the version is not newer.
    """
    if len(shares.base_w) != len(columns) or version <= columns.version:
        raise InvalidInputError(
            field="shares, version",
            value=(len(shares.base_w), version),
            fix=f"give {len(columns)} and a newer one",
        )
    columns.before_version = columns.version
    columns.shares, columns.version, columns.armed_ns = shares, version, start_ns


def hear(columns: FollowColumns, reports: MeterReports, *, now_ns: int) -> None:
    """Take in what meters said by `now_ns`, in any order; call it once a tick.

    A home is heard when its report comes, so that a clock of its own that is off does not silence it; by more than
    `skew_ns`, it does.
    """
    newer = reports.end_ns > columns.told_ns[reports.rows]
    near = np.abs(reports.end_ns - now_ns) <= columns.rules.skew_ns
    usable = newer & near & np.isfinite(reports.mean_w)
    rows = reports.rows[usable]
    columns.heard_ns[rows] = now_ns
    columns.told_ns[rows] = reports.end_ns[usable]
    columns.followed[rows] = reports.version[usable]
    columns.stored_kwh[rows] = reports.stored_kwh[usable]
    _learn(columns, reports, usable, now_ns)


def follow(
    columns: FollowColumns, *, t_ns: int, target_w: float, hold_ns: int
) -> tuple[RegulationSignal, FollowState]:
    """Return the broadcast of this tick and how the follower stands.

    Args:
        columns: Its memory; changed.
        t_ns: The present, about one tick after the call before.
        target_w: What the market asks beyond the base schedule, load-positive: the signal times the capability, negated.
        hold_ns: How long devices follow it without another.

    Raises:
        InvalidInputError: when the target is not a finite number.
    """
    if not np.isfinite(target_w):
        raise InvalidInputError(field="target_w", value=target_w, fix="give a finite number of watts")
    gain_frac, lag_s = learned(columns)
    up, down = listening(columns, now_ns=t_ns)
    up_w = float(columns.shares.up_w[up].sum()) * gain_frac
    down_w = float(columns.shares.down_w[down].sum()) * gain_frac
    kept = columns.rules.compensation_frac * lag_s * NS_PER_S / columns.rules.tick_ns
    weight = 1.0 - min(kept, _MOST_KEPT_FRAC)
    asked_w = (target_w - (1.0 - weight) * columns.last_w) / weight
    given_w = min(max(asked_w, -up_w), down_w)
    columns.last_w = given_w
    value_frac = -given_w / (up_w if given_w < 0.0 else down_w) if given_w else 0.0
    _remember(columns, t_ns, value_frac)
    unmet_w = min(max(target_w, -up_w), down_w) - target_w
    signal = RegulationSignal(
        seq=columns.seq, t_ns=t_ns, end_ns=t_ns + hold_ns, value_frac=value_frac, version=columns.version
    )
    state = FollowState(
        listening_sites=int((up | down).sum()),
        up_w=up_w,
        down_w=down_w,
        unmet_w=unmet_w,
        gain_frac=gain_frac,
        lag_s=lag_s,
        blind=blind(columns, now_ns=t_ns),
    )
    return signal, state


def listening(columns: FollowColumns, *, now_ns: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which homes are believed to follow upward and downward (N): heard of lately, armed, with energy left."""
    rules = columns.rules
    fresh = now_ns - columns.heard_ns <= rules.silent_ns
    # For a moment after an arming begins nobody can have said yet that it is followed.
    young = now_ns - columns.armed_ns <= rules.silent_ns
    # So it is while nothing comes back at all.
    deaf = blind(columns, now_ns=now_ns)
    armed = (columns.followed == columns.version) | (
        (young or deaf) & (columns.followed == columns.before_version)
    )
    if not columns.before_version:
        armed |= young
        fresh = fresh | young
    hours = rules.keep_s / 3600.0
    shares = columns.shares
    up = columns.stored_kwh - columns.floor_kwh >= (shares.up_w - shares.base_w) * hours / 1e3
    down = columns.ceiling_kwh - columns.stored_kwh >= (shares.down_w + shares.base_w) * hours / 1e3
    unknown = np.isnan(columns.stored_kwh)
    counts = armed if deaf else fresh & armed
    return counts & (up | unknown), counts & (down | unknown)


def blind(columns: FollowColumns, *, now_ns: int) -> bool:
    """Whether so many homes fell silent together that it is the way back that is down: then they count as they last did.

    It ends by itself: with the arming after the next nobody is known to follow it.
    """
    lately = (columns.followed == columns.version) | (columns.followed == columns.before_version)
    followed = (columns.followed > 0) & lately
    fresh = now_ns - columns.heard_ns <= columns.rules.silent_ns
    return bool((followed & fresh).sum() < columns.rules.blind_frac * followed.sum())


def learned(columns: FollowColumns) -> tuple[float, float]:
    """Return what is given of what was asked, and how late in seconds, by the meters so far."""
    rules = columns.rules
    aa, ab, bb, ay, by = columns.learned.tolist()
    # The first guess counts as some reports of the usual size, and for ever less as others come.
    prior = (
        max(float(columns.shares.up_w.sum() + columns.shares.down_w.sum()) / max(len(columns), 1), 1.0) ** 2
    )
    aa, bb = aa + prior, bb + _CHANGE_WEIGHT * prior
    ay, by = ay + prior, by - _CHANGE_WEIGHT * prior * rules.lag_s
    determinant = aa * bb - ab * ab
    if not determinant > 0.0:
        return 1.0, rules.lag_s
    gain = (ay * bb - by * ab) / determinant
    change = (by * aa - ay * ab) / determinant
    gain = min(max(gain, rules.least_gain_frac), rules.most_gain_frac)
    return gain, min(max(-change / gain, 0.0), rules.tick_ns / NS_PER_S)


def setpoints_w(columns: FollowColumns, signal: RegulationSignal) -> Watts:
    """Return the power (N) that each armed home does at a broadcast, for those that take single set-points instead."""
    shares = columns.shares
    return answer_w(signal.value_frac, base_w=shares.base_w, up_w=shares.up_w, down_w=shares.down_w)


def _remember(columns: FollowColumns, t_ns: int, value_frac: float) -> None:
    """Keep what is sent now; ticks that went by without a call keep the value before them, as devices do."""
    tick_ns = columns.rules.tick_ns
    number = (t_ns - columns.first_ns + tick_ns // 2) // tick_ns
    if (
        columns.ticks_count == 0 or number < columns.ticks_count - 1
    ):  # the first, or a clock that was set back
        columns.first_ns, columns.ticks_count, number = t_ns, 0, 0
    missed = min(number - columns.ticks_count, _REMEMBERED_STEPS)
    if missed > 0:
        last = columns.sent[:, (columns.ticks_count - 1) % _REMEMBERED_STEPS].copy()
        for gone in range(number - missed, number):
            columns.sent[:, gone % _REMEMBERED_STEPS] = last
    columns.sent[:, number % _REMEMBERED_STEPS] = max(value_frac, 0.0), max(-value_frac, 0.0)
    columns.ticks_count = number + 1
    columns.seq += 1


def _learn(columns: FollowColumns, reports: MeterReports, usable: NDArray[np.bool_], now_ns: int) -> None:
    """Add the reports of homes that follow the present arming to what is learned."""
    rules = columns.rules
    tick_s = rules.tick_ns / NS_PER_S
    columns.learned *= np.exp(-tick_s / rules.memory_s)
    oldest_ns = max(
        columns.first_ns,
        now_ns - (_REMEMBERED_STEPS - 2) * rules.tick_ns,
        columns.armed_ns + 2 * rules.tick_ns,
    )
    counts = (
        usable
        & (reports.version == columns.version)
        & (reports.start_ns >= oldest_ns)
        & (reports.end_ns <= now_ns)
        & (reports.end_ns > reports.start_ns)
    )
    if not counts.any() or columns.ticks_count == 0:
        return
    rows = reports.rows[counts]
    start_ns, end_ns = reports.start_ns[counts], reports.end_ns[counts]
    shares = columns.shares
    up_w, down_w = shares.up_w[rows].astype(np.float64), shares.down_w[rows].astype(np.float64)
    duration_s = (end_ns - start_ns) / NS_PER_S
    mean, change = _asked(columns, start_ns, end_ns)
    asked_w = (down_w * mean[1] - up_w * mean[0]) / duration_s
    change_w = (down_w * change[1] - up_w * change[0]) / duration_s
    moved_w = reports.mean_w[counts] - shares.base_w[rows]
    # What no share explains teaches nothing: a wild meter would spoil what all the others say for minutes.
    sane = np.abs(moved_w) <= _SANE_TIMES * np.maximum(up_w, down_w)
    asked_w, change_w, moved_w = asked_w[sane], change_w[sane], moved_w[sane]
    columns.learned += (
        asked_w @ asked_w,
        asked_w @ change_w,
        change_w @ change_w,
        asked_w @ moved_w,
        change_w @ moved_w,
    )


def _asked(columns: FollowColumns, start_ns: Instants, end_ns: Instants) -> tuple[Floats, Floats]:
    """Return the integral of the broadcasts between instants, in seconds, and their change (2 x M: upward, downward)."""
    tick_ns = columns.rules.tick_ns
    newest = columns.ticks_count - 1
    base = max(newest - _REMEMBERED_STEPS + 1, 0)
    numbers = np.arange(base, newest + 1) % _REMEMBERED_STEPS
    places = []
    for t_ns in (start_ns, end_ns):
        since_ns = t_ns - columns.first_ns - base * tick_ns
        number = np.clip(since_ns // tick_ns, 0, newest - base)
        before = np.clip((since_ns - 1) // tick_ns, 0, newest - base)
        places.append((number, before, (since_ns - number * tick_ns) / NS_PER_S))
    mean, change = np.zeros((2, len(start_ns))), np.zeros((2, len(start_ns)))
    for direction in range(2):
        values = columns.sent[direction].take(numbers)
        sums_s = np.concatenate(([0.0], np.cumsum(values))) * (tick_ns / NS_PER_S)
        (start_s, start), (end_s, end) = (
            (sums_s.take(number) + values.take(number) * rest_s, values.take(before))
            for number, before, rest_s in places
        )
        mean[direction], change[direction] = end_s - start_s, end - start
    return mean, change
