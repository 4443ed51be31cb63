"""A day of measured frequency with a trip in it, answered by the real site agents while no message reaches them.

The trace is of a 60 Hz grid; its deviations are taken per unit to 50 Hz, where a trip to 49.61 Hz is added to it. Before the
day each agent takes one document (a droop, and an event that keeps energy for it); then the plant is cut off. Every second
each device measures, decides with `shoal.edge.agent.decide`, and the homes of the simulator live on. The curve is worked out
here once more, in plain numbers, as what the power is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.orders import DroopArming, ScheduledEvent, SiteOrders
from shoal.domain.outcome import Accepted
from shoal.edge import agent
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_layers import site_bounds
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.simulate.fleet import only_plants, plan_fleet
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.profiles import Profiles

FILE: Final = "freq_1s_60hz_one_day_gmlc.parquet"
TRIP_S: Final = 18 * 3600
NADIR_S: Final = 8
LOWEST_HZ: Final = 49.61
ARMED_S: Final = 23 * 3600
"""The arming ends an hour before the day does; a second trip after it must be left alone."""
AFTER_S: Final = ARMED_S + 1_800

_SOURCE_HZ: Final = 60.0
_NOMINAL_HZ: Final = 50.0
_START_NS: Final = 1_718_000_000 * NS_PER_S // (24 * NS_PER_HOUR) * (24 * NS_PER_HOUR)
_DEADBAND_HZ: Final = 0.03
_FULL_HZ: Final = 0.4
_SHARE_FRAC: Final = 0.5
"""Armed power as a share of each battery's rating, upward; half of that downward."""
_HOLD_FRAC: Final = 0.5
_WATCHED_S: Final = 60
_EXPORT_W: Final = 10_000
_IMPORT_W: Final = 20_000

Floats = NDArray[np.float64]
Watts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyRun:
    """What came of it.

    Attributes:
        sites: Homes.
        seconds: How long.
        lowest_hz: Lowest frequency.
        delay_ticks: From the measurement outside the deadband to the response of the last home that had room for one, at
            the trip: 0 is the same tick, 60 is never.
        error_frac: Largest distance of the power added from the curve where no limit binds, as a share of the armed power.
        limited_frac: Share of the home-seconds with a response asked in which a limit of energy, power or site binds.
        energy_kwh: Energy given and taken for the response, a home.
        violations: Home-seconds below the reserve while discharging, beyond the battery's or the site's limits, or with a
            response outside the time it was armed for.
    """

    sites: int
    seconds: int
    lowest_hz: float
    delay_ticks: int
    error_frac: float
    limited_frac: float
    energy_kwh: float
    violations: int


def read_day(file: Path) -> Floats:
    """Return the frequency of the file's day, one value a second, carried over to a grid of 50 Hz with the trips in it."""
    source_hz = np.asarray(pq.read_table(file, columns=["freq_hz"])["freq_hz"].to_numpy(), dtype=np.float64)
    return spliced(_NOMINAL_HZ * source_hz / _SOURCE_HZ)


def spliced(frequency_hz: Floats) -> Floats:
    """Return a day's frequency with the trip, and the same again after the arming has ended.

    Raises:
        InvalidInputError: when it is not a day of finite numbers that stay above the trip.
    """
    if frequency_hz.shape != (86_400,) or not bool((frequency_hz > LOWEST_HZ).all()):
        raise InvalidInputError(
            field="frequency_hz", value=frequency_hz.shape, fix="give a day, one value a second"
        )
    result = frequency_hz.copy()
    for start_s in (TRIP_S, AFTER_S):
        depth_hz = result[start_s + NADIR_S] - LOWEST_HZ
        shape = trip_shape()
        span = slice(start_s, start_s + len(shape))
        result[span] = np.maximum(result[span] - depth_hz * shape, LOWEST_HZ)
    return result


def trip_shape() -> Floats:
    """Return how a trip goes: 1 at its lowest after 8 s, a rebound to a third within a minute, back in ten minutes."""
    t_s = np.arange(600.0)
    falling = 1.0 - (1.0 - np.minimum(t_s / NADIR_S, 1.0)) ** 2
    rebound = 0.33 + 0.67 * np.exp(-np.maximum(t_s - NADIR_S, 0.0) / 15.0)
    secondary = np.clip((600.0 - t_s) / 420.0, 0.0, 1.0)
    return np.where(t_s <= NADIR_S, falling, rebound * secondary)


def respond(frequency_hz: Floats, *, sites: int, seed: int, whole_day: bool = True) -> FrequencyRun:
    """Let agents live through the day, or through two minutes before each trip and the trip itself."""
    fleet = only_plants(plan_fleet(sites, seed), "homes")
    world = HomeWorld(fleet, Profiles(fleet, seed), start_ns=_START_NS, seed=seed)
    columns = AgentColumns(
        fleet.nameplate,
        site_ids=fleet.site_ids,
        import_limit_w=np.full(sites, _IMPORT_W),
        export_limit_w=np.full(sites, _EXPORT_W),
    )
    up_w = _arm(columns)
    stretches = [(0, 86_400)] if whole_day else [(start - 120, start + 660) for start in (TRIP_S, AFTER_S)]
    count = _Count(columns, up_w)
    for first, last in stretches:
        if world.now_ns < _START_NS + first * NS_PER_S:  # to the stretch in strides, on self-consumption
            _skip(columns, world, _START_NS + first * NS_PER_S)
        for second in range(first, last):
            count.second(world, second, float(frequency_hz[second]))
    seconds = sum(last - first for first, last in stretches)
    looked_at = np.concatenate([frequency_hz[first:last] for first, last in stretches])
    return FrequencyRun(
        sites=sites,
        seconds=seconds,
        lowest_hz=float(looked_at.min()),
        delay_ticks=count.delay_ticks(),
        error_frac=count.error_frac,
        limited_frac=count.limited / max(count.asked, 1),
        energy_kwh=count.energy_ws / 3.6e6 / sites,
        violations=count.violations,
    )


def _arm(columns: AgentColumns) -> Watts:
    """Give every agent its document over the wire's format, before the day; return the armed upward powers."""
    end_ns = _START_NS + ARMED_S * NS_PER_S
    up_w = (_SHARE_FRAC * columns.discharge_limit_w).astype(np.int64)
    for row in range(len(columns)):
        orders = SiteOrders(
            version=1,
            issued_ns=_START_NS - NS_PER_HOUR,
            issuer="plant",
            fence=1,
            events=(
                ScheduledEvent(
                    event_id="keep",
                    program="contingency",
                    kind="hold",
                    start_ns=_START_NS,
                    end_ns=end_ns,
                    soc_frac=_HOLD_FRAC,
                ),
            ),
            droop=DroopArming(
                start_ns=_START_NS,
                end_ns=end_ns,
                reference_hz=_NOMINAL_HZ,
                deadband_hz=_DEADBAND_HZ,
                full_deviation_hz=_FULL_HZ,
                up_w=int(up_w[row]),
                down_w=int(up_w[row]) // 2,
            ),
        )
        outcome = receive_orders(
            columns, row, decode_orders(msgspec.json.encode(orders)), _START_NS - NS_PER_HOUR
        )
        if not isinstance(outcome, Accepted):
            raise InvalidInputError(field="orders", value=outcome, fix="the agent must accept the arming")
    return up_w


def _skip(columns: AgentColumns, world: HomeWorld, until_ns: int) -> None:
    while world.now_ns < until_ns:
        stride_ns = min(60 * NS_PER_S, until_ns - world.now_ns)
        decision = _decide(columns, world, stride_ns / NS_PER_S, None)
        world.advance(world.now_ns + stride_ns, decision)


def _decide(columns: AgentColumns, world: HomeWorld, horizon_s: float, frequency_hz: Floats | None) -> Watts:
    return agent.decide(
        columns,
        now_ns=world.now_ns,
        load_w=world.load_w,
        solar_w=world.solar_w,
        ev_w=world.ev_w,
        stored_kwh=world.stored_kwh,
        horizon_s=horizon_s,
        frequency_hz=frequency_hz,
    ).battery_w


class _Count:
    """What is counted while the seconds go by."""

    def __init__(self, columns: AgentColumns, up_w: Watts) -> None:
        self._columns, self._up_w = columns, up_w
        self.error_frac, self.energy_ws = 0.0, 0.0
        self.limited = self.asked = self.violations = 0
        self._left_at = -1
        self._answered_at = np.full(len(up_w), -1, dtype=np.int64)

    def second(self, world: HomeWorld, second: int, frequency_hz: float) -> None:
        """Let one second pass: measure, decide, live, judge."""
        columns = self._columns
        others_w = world.load_w + world.solar_w + world.ev_w
        charge_w, discharge_w = agent.energy_bounds(columns, stored_kwh=world.stored_kwh, horizon_s=1.0)
        site_w = site_bounds(columns, world.now_ns, others_w)
        lowest_w, highest_w = -discharge_w, charge_w
        if site_w is not None:
            lowest_w, highest_w = np.maximum(lowest_w, site_w[0]), np.minimum(highest_w, site_w[1])
        with_w = _decide(columns, world, 1.0, np.full(len(columns), frequency_hz))
        # Near the reference nothing is to be added: there, that nothing is, is looked at every tenth second.
        looked_at = abs(frequency_hz - _NOMINAL_HZ) > 0.9 * _DEADBAND_HZ or second % 10 == 0
        without_w = _decide(columns, world, 1.0, None) if looked_at else with_w
        done_w = world.advance(world.now_ns + NS_PER_S, with_w)
        added_w = done_w - without_w
        curve_w = self._curve_w(frequency_hz) if second < ARMED_S else np.zeros(len(columns))
        self._judge(world, second, done_w, others_w, added_w)
        if not looked_at:
            return
        self.energy_ws += float(np.abs(added_w).sum())
        if not np.abs(curve_w).max() >= 1.0:
            return
        wanted_w = without_w + curve_w
        # the base is what the battery would really do: a full one gives the whole response from where it is
        binds = (wanted_w < lowest_w) | (wanted_w > highest_w)
        self.asked += len(binds)
        self.limited += int(binds.sum())
        off_frac = np.abs(added_w - curve_w) / self._up_w
        self.error_frac = max(self.error_frac, float(off_frac[~binds].max(initial=0.0)))
        if TRIP_S <= second < TRIP_S + _WATCHED_S:
            self._left_at = second if self._left_at < 0 else self._left_at
            fresh = (self._answered_at < 0) & ~binds & (added_w != 0)
            self._answered_at[fresh] = second
            # A home without room at first is not late: it is not waited for.
            self._answered_at[(self._answered_at < 0) & binds] = self._left_at

    def _curve_w(self, frequency_hz: float) -> Floats:
        """Return the curve in plain numbers: what is armed times how far the deviation is into its band."""
        off_hz = frequency_hz - _NOMINAL_HZ
        into = min(max((abs(off_hz) - _DEADBAND_HZ) / (_FULL_HZ - _DEADBAND_HZ), 0.0), 1.0)
        curve_w: Floats = np.asarray(-into * self._up_w if off_hz < 0.0 else into * (self._up_w // 2))
        return curve_w

    def _judge(self, world: HomeWorld, second: int, done_w: Watts, others_w: Watts, added_w: Watts) -> None:
        columns = self._columns
        # What the battery's own standby takes in the second is nobody's breach.
        standby_kwh = columns.energy_capacity_kwh * STANDBY_FRAC_PER_H / 3600.0 + 1e-9
        below = (world.stored_kwh < columns.reserve_kwh - standby_kwh) & (done_w < 0)
        beyond = (done_w > columns.charge_limit_w) | (done_w < -columns.discharge_limit_w)
        full = world.stored_kwh > columns.energy_capacity_kwh + 1e-9
        grid_w = others_w + done_w
        # Beyond a site's limit the battery may not make it worse; what load and roof do is not its doing.
        outside = ((grid_w > _IMPORT_W) & (done_w > 0)) | ((grid_w < -_EXPORT_W) & (done_w < 0))
        unarmed = (added_w != 0) & (second >= ARMED_S)
        self.violations += int((below | beyond | full | outside | unarmed).sum())

    def delay_ticks(self) -> int:
        """Return how many ticks after the first deviation the last home answered; a minute stands for never."""
        if self._left_at < 0:
            return _WATCHED_S
        late = np.where(self._answered_at < 0, _WATCHED_S, self._answered_at - self._left_at)
        return int(late.max(initial=0))
