"""The referee: judges from outside whether batteries kept to their leases, reserves and limits.

It shares no code with the agent. It is told what came over the wire, what the owner said and what each battery really
did, keeps for each site a short timeline of entitlements (from when to when which set-point was the plant's right to ask)
and its document of orders, and says for every interval whether they, the site's own mode or neither explain it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import SiteOrders
from shoal.edge.audit_leases import Leases
from shoal.edge.audit_orders import Documents, Floats

EXAMPLES_KEPT: Final = 50
_MOST_RAMP_S: Final = 86_400.0


class Breach(IntFlag):
    """What was wrong in an interval; several may be at once."""

    LEASE = 1
    """The power is explained neither by a lease or an event in force nor, without one, by the site's own mode."""
    RESERVE = 2
    """It discharged although the stored energy ended below the owner's reserve."""
    LIMIT = 4
    """Power beyond the nameplate, stored energy beyond full or empty, or a battery that makes the connection point
    exceed its limits, or does not do what it can to keep them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One breach of one site, with what would have been right (charging positive)."""

    row: int
    start_ns: int
    end_ns: int
    breach: Breach
    battery_w: float
    allowed_low_w: float
    allowed_high_w: float
    stored_end_kwh: float
    reserve_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatistics:
    """What the referee has seen, in site-intervals and messages.

    Attributes:
        judged: Site-intervals looked at.
        leased: Those with a lease in force.
        unfollowed: Those whose power fell short of the lease although the limits allowed more; not a breach.
        lease_violations: See `Breach.LEASE`.
        reserve_violations: See `Breach.RESERVE`.
        limit_violations: See `Breach.LIMIT`.
        heard: Messages received.
        granted: Those that entitled the plant to something.
    """

    judged: int
    leased: int
    unfollowed: int
    lease_violations: int
    reserve_violations: int
    limit_violations: int
    heard: int
    granted: int


class Referee:
    """Counts violations of N sites. Tell it all in order of time: an interval before what came at its end."""

    def __init__(
        self,
        nameplate: NDArray[Any],
        *,
        power_tolerance_w: float = 5.0,
        energy_tolerance_kwh: float = 1e-6,
        standby_w: float = 0.0,
        import_limit_w: NDArray[Any] | None = None,
        export_limit_w: NDArray[Any] | None = None,
    ) -> None:
        """Begin with no entitlement.

        Args:
            nameplate: N records of `shoal.domain.fleet.NAMEPLATE`.
            power_tolerance_w: How far a power may be from what explains it.
            energy_tolerance_kwh: How far below the reserve or above full is still rounding.
            standby_w: Own consumption of a battery out of its stored energy; nobody's breach.
            import_limit_w: Static limits at the connection point (N), never negative; none when left out.
            export_limit_w: The same for export.
        """
        sites = len(nameplate)
        self._charge_limit_w = 1_000.0 * nameplate["charge_limit_kw"]
        self._discharge_limit_w = 1_000.0 * nameplate["discharge_limit_kw"]
        self._full_kwh = 1.0 * nameplate["energy_capacity_kwh"]
        self._plain_reserve_frac = 1.0 * nameplate["reserve_frac"]
        self._reserve_kwh = nameplate["reserve_frac"] * nameplate["energy_capacity_kwh"]
        self._asked_frac = np.zeros((2, sites))
        self._into_frac = 1.0 * nameplate["charge_efficiency_frac"]
        self._out_frac = 1.0 * nameplate["discharge_efficiency_frac"]
        self._power_tolerance_w = power_tolerance_w
        self._energy_tolerance_kwh = energy_tolerance_kwh
        self._standby_w = standby_w
        self._import_w, self._export_w = (
            np.full(sites, np.inf) if limit_w is None else np.array(limit_w, dtype=np.float64)
            for limit_w in (import_limit_w, export_limit_w)
        )
        self._leases = Leases(self._charge_limit_w, self._discharge_limit_w)
        self._version = np.zeros(sites, dtype=np.int64)
        self._fence = np.zeros(sites, dtype=np.int64)
        self._switched = np.zeros((2, sites), dtype=np.bool_)  # off, independent
        self._documents = Documents(sites)
        # judged, leased, unfollowed, lease, reserve, limit, heard, granted
        self._counts = np.zeros(8, dtype=np.int64)
        self.examples: deque[Violation] = deque(maxlen=EXAMPLES_KEPT)

    def heard(self, row: int, payload: bytes, *, received_ns: int) -> bool:
        """Note a message on a site's desired-state topic; return whether it entitles to something."""
        self._counts[6] += 1
        try:
            asked = msgspec.json.decode(payload, type=DesiredState)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        sound = 0 < asked.version < 2**32 and 0 <= asked.fence < 2**63
        sound = sound and 0 <= asked.start_ns < asked.end_ns < 2**63 and 0 <= asked.ramp_s <= _MOST_RAMP_S
        if not sound or asked.fence < self._fence[row]:
            return False
        self._fence[row] = asked.fence
        if asked.version <= self._version[row] or received_ns >= asked.end_ns:
            return False
        if self._documents.halted[row] or self._switched[1, row]:
            return False
        self._version[row] = asked.version
        self._counts[7] += 1
        self._leases.grant(row, asked, received_ns)
        return True

    def heard_orders(self, row: int, payload: bytes, *, received_ns: int) -> bool:
        """Note a message on a site's topic of orders; return whether the document is now in force."""
        self._counts[6] += 1
        orders: SiteOrders | None = self._documents.heard(
            row,
            payload,
            received_ns=received_ns,
            fence=self._fence,
            low_w=-int(self._discharge_limit_w[row] + 1e-6),
            high_w=int(self._charge_limit_w[row] + 1e-6),
        )
        if orders is not None and orders.halted:
            self._leases.void(row, received_ns)
        if orders is not None:
            sound = 0.0 <= orders.reserve_frac <= 1.0
            self._keep_reserve(row, 1, orders.reserve_frac if sound else 0.0)
        self._counts[7] += orders is not None
        return orders is not None

    def owner_left(self, row: int, event_id: str, *, now_ns: int, back: bool = False) -> None:
        """Note that the owner has left an event, or come back to it."""
        (self._documents.came_back if back else self._documents.left)(row, event_id, now_ns)

    def owner_reserve(self, row: int, reserve_frac: float) -> None:
        """Note that the owner has set the reserve; that of the nameplate is the least."""
        self._keep_reserve(row, 0, reserve_frac)

    def _keep_reserve(self, row: int, where: int, reserve_frac: float) -> None:
        """Take what the owner keeps, said at the device (0) or to the plant (1): the most of all counts."""
        if self._asked_frac[where, row] != reserve_frac:
            self._asked_frac[where, row] = reserve_frac
            kept_frac = max(float(self._asked_frac[:, row].max()), float(self._plain_reserve_frac[row]))
            self._reserve_kwh[row] = kept_frac * self._full_kwh[row]

    def owner_switched(self, row: int, *, off: bool, independent: bool, now_ns: int) -> None:
        """Note that the owner has switched the battery off or on, or lets nobody, or again others, command it."""
        self._switched[:, row] = off, independent
        if independent:
            self._leases.void(row, now_ns)

    def observe(
        self,
        *,
        start_ns: int,
        end_ns: int,
        battery_w: NDArray[Any],
        load_w: NDArray[Any],
        solar_w: NDArray[Any],
        ev_w: NDArray[Any],
        stored_start_kwh: Floats,
        stored_end_kwh: Floats,
        horizon_s: float | None = None,
        frequency_hz: Floats | None = None,
        plan_w: NDArray[Any] | None = None,
        plan_by_price: NDArray[np.bool_] | None = None,
        unreadable: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        """Judge what N batteries did in `[start_ns, end_ns)`, in which nothing about them changed.

        Args:
            start_ns: When the interval begins.
            end_ns: When it ends, exclusive.
            battery_w: Mean battery power (N), charging positive.
            load_w: Household load that the site saw (N).
            solar_w: Solar power that it saw (N), generation negative.
            ev_w: EV charger power that it saw (N).
            stored_start_kwh: Energy in each battery at the start (N).
            stored_end_kwh: And at the end (N).
            horizon_s: For how long the site had to be careful, when that is longer than the interval.
            frequency_hz: What each site measured (N).
            plan_w: What its own planner asked for (N), not a number where there was none.
            plan_by_price: Whether that was against the plant's prices (N); where they are in force when left out.
            unreadable: Where the site could not read its battery (N), and so had to leave it alone.

        Returns:
            `Breach` codes (N), 0 where nothing was wrong.

        Raises:
            InvalidInputError: when the interval is empty or runs backwards.
        """
        if end_ns <= start_ns:
            raise InvalidInputError(field="interval", value=(start_ns, end_ns), fix="end it after its start")
        span_h = (end_ns - start_ns) / NS_PER_HOUR
        careful_h = max(span_h, (horizon_s or 0.0) / 3_600.0)
        others_w = np.asarray(load_w, dtype=np.float64) + solar_w + ev_w
        resting = self._switched[0] if unreadable is None else self._switched[0] | unreadable
        obeys = ~(self._switched[0] | self._switched[1] | self._documents.halted)
        own_w = _self_consumption_w(load_w, solar_w, ev_w)
        low_w, high_w = self._planned(own_w, start_ns, plan_w, plan_by_price)
        low_w, high_w, _ = self._documents.widen(
            low_w,
            high_w,
            start_ns=start_ns,
            end_ns=end_ns,
            obeys=obeys,
            own_w=own_w,
            surplus_w=np.clip(-others_w, 0.0, np.maximum(0.0, -1.0 * solar_w)),
            above_w=lambda soc_frac: self._until_w(
                soc_frac * self._full_kwh, stored_start_kwh, careful_h, span_h
            ),
        )
        low_w, high_w, leased = self._leases.widen(
            low_w, high_w, start_ns=start_ns, end_ns=end_ns, obeys=obeys
        )
        import_w, export_w = self._documents.limits_w(start_ns, self._import_w, self._export_w)
        least_w, most_w = -export_w - others_w, import_w - others_w
        hair_kwh = self._energy_tolerance_kwh
        near_out_w, near_in_w = self._careful_w(stored_start_kwh, careful_h, hair_kwh)
        low_w, high_w = np.clip(low_w, least_w, most_w), np.clip(high_w, least_w, most_w)
        if frequency_hz is not None:
            # The response changes what the battery would really do, not what it was asked.
            added_w = np.where(obeys, self._documents.droop_w(start_ns, np.asarray(frequency_hz)), 0.0)
            far_out_w, far_in_w = self._careful_w(stored_start_kwh, span_h, -hair_kwh)
            low_w = np.where(added_w, self._done_w(low_w, far_out_w, near_in_w) + added_w, low_w)
            high_w = np.where(added_w, self._done_w(high_w, near_out_w, far_in_w) + added_w, high_w)
            low_w, high_w = np.clip(low_w, least_w, most_w), np.clip(high_w, least_w, most_w)
        low_w, high_w = self._within(low_w, high_w, near_out_w, near_in_w)
        least_w, most_w = self._within(least_w, most_w, near_out_w, near_in_w)
        low_w, high_w = np.where(resting, 0.0, low_w), np.where(resting, 0.0, high_w)
        leased &= ~resting
        slack_w = self._power_tolerance_w
        outside = (battery_w > high_w + slack_w) | (battery_w < low_w - slack_w)
        # A battery that gives less than its lease asks for breaks no promise; one that gives more does.
        beyond = (battery_w > np.maximum(high_w, 0.0) + slack_w) | (
            battery_w < np.minimum(low_w, 0.0) - slack_w
        )
        over = ((battery_w > most_w + slack_w) | (battery_w < least_w - slack_w)) & ~resting
        lost_kwh = hair_kwh + self._standby_w * span_h / 1_000.0
        breach = np.where(np.where(leased, beyond, outside), int(Breach.LEASE), 0)
        breach |= np.where(
            (battery_w < 0) & (stored_end_kwh < self._reserve_kwh - lost_kwh), int(Breach.RESERVE), 0
        )
        breach |= np.where(over | self._outside(battery_w, stored_end_kwh, lost_kwh), int(Breach.LIMIT), 0)
        self._counts[0] += len(breach)
        self._counts[1] += np.count_nonzero(leased)
        self._counts[2] += np.count_nonzero(outside & leased & ~beyond)
        for place, flag in enumerate(Breach, start=3):
            self._counts[place] += np.count_nonzero(breach & flag)
        for row in np.flatnonzero(breach)[:EXAMPLES_KEPT].tolist():
            self.examples.append(
                Violation(
                    row=row,
                    start_ns=start_ns,
                    end_ns=end_ns,
                    breach=Breach(int(breach[row])),
                    battery_w=float(battery_w[row]),
                    allowed_low_w=float(low_w[row]),
                    allowed_high_w=float(high_w[row]),
                    stored_end_kwh=float(stored_end_kwh[row]),
                    reserve_kwh=float(self._reserve_kwh[row]),
                )
            )
        return breach.astype(np.uint8)

    def statistics(self) -> AuditStatistics:
        """Return what was counted so far."""
        judged, leased, unfollowed, lease, reserve, limit, heard, granted = self._counts.tolist()
        return AuditStatistics(
            judged=judged,
            leased=leased,
            unfollowed=unfollowed,
            lease_violations=lease,
            reserve_violations=reserve,
            limit_violations=limit,
            heard=heard,
            granted=granted,
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that a checkpoint must keep (the examples are not)."""
        return {name: column.copy() for name, column in self._columns().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; nothing changes when it does not fit.

        Raises:
            CorruptStateError: when a column is missing, of another type or for another number of sites.
        """
        mine = self._columns()
        for name, column in mine.items():
            theirs = state.get(name)
            if theirs is None or theirs.shape != column.shape or theirs.dtype != column.dtype:
                raise CorruptStateError("referee state", f"column {name} is missing or does not fit")
        for name, column in mine.items():
            column[...] = state[name]
        self._documents.restored()

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {
            "timeline": self._leases.timeline,
            "version": self._version,
            "fence": self._fence,
            "counts": self._counts,
            "reserve_kwh": self._reserve_kwh,
            "switched": self._switched,
            **self._documents.columns(),
        }

    def _planned(
        self,
        own_w: Floats,
        start_ns: int,
        plan_w: NDArray[Any] | None,
        by_price: NDArray[np.bool_] | None,
    ) -> tuple[Floats, Floats]:
        """Return the least and the most of what each site does by itself (N)."""
        if plan_w is None:
            return own_w, own_w
        span_ns = self._documents.priced(start_ns)
        against = span_ns if by_price is None else by_price
        priced = span_ns & ~self._documents.halted & ~self._switched[1]
        sound = np.isfinite(plan_w) & (~against | priced)
        wanted_w: Floats = np.where(sound, plan_w, own_w)
        return wanted_w, wanted_w

    def _until_w(
        self, level_kwh: Floats, stored_kwh: Floats, careful_h: float, span_h: float
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the least and most power out, and in, that ends at a level of energy."""
        out_w = np.maximum(stored_kwh - level_kwh, 0.0) * self._out_frac * 1_000.0
        in_w = np.maximum(level_kwh - stored_kwh, 0.0) / self._into_frac * 1_000.0
        return out_w / careful_h, out_w / span_h, in_w / careful_h, in_w / span_h

    def _careful_w(self, stored_kwh: Floats, careful_h: float, hair_kwh: float) -> tuple[Floats, Floats]:
        """Return the power out and in that stays so much above the reserve and below full (N), never negative."""
        # In an interval of microseconds the smallest care about energy is many watts.
        out_kwh = np.maximum(stored_kwh - self._reserve_kwh - hair_kwh, 0.0) * self._out_frac
        in_kwh = np.maximum(self._full_kwh - stored_kwh - hair_kwh, 0.0) / self._into_frac
        return out_kwh * 1_000.0 / careful_h, in_kwh * 1_000.0 / careful_h

    def _done_w(self, asked_w: Floats, out_w: Floats, in_w: Floats) -> Floats:
        """Return what a battery really does of what it is asked (N), when so much goes out and in."""
        out_w, in_w = np.minimum(self._discharge_limit_w, out_w), np.minimum(self._charge_limit_w, in_w)
        return np.clip(asked_w, -out_w, in_w)

    def _within(
        self, low_w: Floats, high_w: Floats, near_out_w: Floats, near_in_w: Floats
    ) -> tuple[Floats, Floats]:
        """Return bounds that the battery's own limits explain: it must do no more than it carefully can."""
        forced_in_w = np.minimum(np.minimum(low_w, self._charge_limit_w), near_in_w)
        forced_out_w = np.minimum(np.minimum(-high_w, self._discharge_limit_w), near_out_w)
        return (
            np.where(low_w > 0.0, forced_in_w, np.maximum(low_w, -self._discharge_limit_w)),
            np.where(high_w < 0.0, -forced_out_w, np.minimum(high_w, self._charge_limit_w)),
        )

    def _outside(
        self, battery_w: NDArray[Any], stored_kwh: NDArray[np.float64], lost_kwh: float
    ) -> NDArray[np.bool_]:
        power = (battery_w > self._charge_limit_w + 1.0) | (battery_w < -self._discharge_limit_w - 1.0)
        full = (stored_kwh > self._full_kwh + self._energy_tolerance_kwh) & (battery_w > 0)
        return power | full | (stored_kwh < -lost_kwh) | ~np.isfinite(stored_kwh)


def _self_consumption_w(load_w: NDArray[Any], solar_w: NDArray[Any], ev_w: NDArray[Any]) -> NDArray[Any]:
    """Return what a site does by itself: store what its roof has left over, else cover what it takes."""
    net_w = np.asarray(load_w, dtype=np.float64) + solar_w + ev_w
    own_w: NDArray[Any] = np.where(net_w > 0, -net_w, np.clip(-net_w, 0.0, np.maximum(0.0, -1.0 * solar_w)))
    return own_w
