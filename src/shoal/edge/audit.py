"""The referee: judges from outside whether batteries kept to their leases, reserves and limits.

It shares no code with the agent. It is told what came over the wire and what each battery really did, keeps
for each site a short timeline of entitlements (from when to when which set-point was the plant's right to
ask), and says for every interval whether an entitlement in force, the local mode or neither explains it.
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
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S

EXAMPLES_KEPT: Final = 50
_FOREVER_NS: Final = 2**63 - 1
_ENTITLEMENT: Final = np.dtype(
    [("setpoint_w", "<i8"), ("begin_ns", "<i8"), ("end_ns", "<i8"), ("superseded_ns", "<i8")]
)


class Breach(IntFlag):
    """What was wrong in an interval; several may be at once."""

    LEASE = 1
    """The power is explained neither by a lease in force nor, without one, by the local mode."""
    RESERVE = 2
    """It discharged although the stored energy ended below the owner's reserve."""
    LIMIT = 4
    """Power beyond the nameplate, or stored energy beyond full or empty."""


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
    ) -> None:
        """Begin with no entitlement.

        Args:
            nameplate: N records of `shoal.domain.fleet.NAMEPLATE`.
            power_tolerance_w: How far a power may be from what explains it.
            energy_tolerance_kwh: How far below the reserve or above full is still rounding.
            standby_w: Own consumption of a battery out of its stored energy; nobody's breach.
        """
        sites = len(nameplate)
        self._charge_limit_w = 1_000.0 * nameplate["charge_limit_kw"]
        self._discharge_limit_w = 1_000.0 * nameplate["discharge_limit_kw"]
        self._full_kwh = 1.0 * nameplate["energy_capacity_kwh"]
        self._reserve_kwh = nameplate["reserve_frac"] * nameplate["energy_capacity_kwh"]
        self._into_frac = 1.0 * nameplate["charge_efficiency_frac"]
        self._out_frac = 1.0 * nameplate["discharge_efficiency_frac"]
        self._power_tolerance_w = power_tolerance_w
        self._energy_tolerance_kwh = energy_tolerance_kwh
        self._standby_w = standby_w
        self._timeline = np.zeros((sites, 2), dtype=_ENTITLEMENT)
        self._version = np.zeros(sites, dtype=np.int64)
        self._fence = np.zeros(sites, dtype=np.int64)
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
        if not sound or not 0 <= asked.start_ns < asked.end_ns < 2**63 or asked.fence < self._fence[row]:
            return False
        self._fence[row] = asked.fence
        if asked.version <= self._version[row] or received_ns >= asked.end_ns:
            return False
        self._version[row] = asked.version
        self._counts[7] += 1
        self._grant(row, asked, received_ns)
        return True

    def observe(
        self,
        *,
        start_ns: int,
        end_ns: int,
        battery_w: NDArray[Any],
        load_w: NDArray[Any],
        solar_w: NDArray[Any],
        ev_w: NDArray[Any],
        stored_start_kwh: NDArray[np.float64],
        stored_end_kwh: NDArray[np.float64],
        horizon_s: float | None = None,
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

        Returns:
            `Breach` codes (N), 0 where nothing was wrong.

        Raises:
            InvalidInputError: when the interval is empty or runs backwards.
        """
        if end_ns <= start_ns:
            raise InvalidInputError(
                field="interval", value=(start_ns, end_ns), fix="give an end after the start"
            )
        careful_h = max(end_ns - start_ns, round((horizon_s or 0.0) * NS_PER_S)) / NS_PER_HOUR
        setpoint_w, leased = self._in_force(start_ns, end_ns)
        wanted_w = np.where(leased, setpoint_w, _self_consumption_w(load_w, solar_w, ev_w))
        near_w, far_w = self._explained(wanted_w, stored_start_kwh, careful_h)
        slack_w = self._power_tolerance_w
        along_w = np.where(wanted_w < 0, -1.0, 1.0) * battery_w
        beyond = (along_w > far_w + slack_w) | (along_w < -slack_w)
        short = along_w < near_w - slack_w
        lost_kwh = self._energy_tolerance_kwh + self._standby_w * (end_ns - start_ns) / NS_PER_HOUR / 1_000.0
        breach = np.where(beyond | (short & ~leased), int(Breach.LEASE), 0)
        breach |= np.where(
            (battery_w < 0) & (stored_end_kwh < self._reserve_kwh - lost_kwh), int(Breach.RESERVE), 0
        )
        breach |= np.where(self._outside(battery_w, stored_end_kwh, lost_kwh), int(Breach.LIMIT), 0)
        self._counts[0] += len(breach)
        self._counts[1] += np.count_nonzero(leased)
        self._counts[2] += np.count_nonzero(short & leased & ~beyond)
        for place, flag in enumerate(Breach, start=3):
            self._counts[place] += np.count_nonzero(breach & flag)
        for row in np.flatnonzero(breach)[:EXAMPLES_KEPT].tolist():
            bounds = sorted(np.sign(wanted_w[row]) * limit for limit in (near_w[row], far_w[row]))
            self.examples.append(
                Violation(
                    row=row,
                    start_ns=start_ns,
                    end_ns=end_ns,
                    breach=Breach(int(breach[row])),
                    battery_w=float(battery_w[row]),
                    allowed_low_w=float(bounds[0]),
                    allowed_high_w=float(bounds[1]),
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
        columns = {
            "timeline": self._timeline,
            "version": self._version,
            "fence": self._fence,
            "counts": self._counts,
        }
        return {name: column.copy() for name, column in columns.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; nothing changes when it does not fit.

        Raises:
            CorruptStateError: when a column is missing, of another type or for another number of sites.
        """
        mine = {
            "timeline": self._timeline,
            "version": self._version,
            "fence": self._fence,
            "counts": self._counts,
        }
        for name, column in mine.items():
            theirs = state.get(name)
            if theirs is None or theirs.shape != column.shape or theirs.dtype != column.dtype:
                raise CorruptStateError("referee state", f"column {name} is missing or does not fit")
        for name, column in mine.items():
            column[...] = state[name]

    def _grant(self, row: int, asked: DesiredState, received_ns: int) -> None:
        """Write an entitlement: what has not begun is void, what has goes on until the new one begins."""
        begin_ns = max(received_ns, asked.start_ns)
        entries = self._timeline[row]
        until_ns = np.minimum(entries["end_ns"], entries["superseded_ns"])
        running = (entries["begin_ns"] <= received_ns) & (received_ns < until_ns)
        spare = 1 if running[0] else 0
        # A running one ends when the new one begins; one that waited never begins at all.
        entries["superseded_ns"][1 - spare] = (
            begin_ns if running[1 - spare] else min(received_ns, until_ns[1 - spare])
        )
        reach_w = int(max(self._charge_limit_w[row], self._discharge_limit_w[row])) + 1
        setpoint_w = min(max(asked.battery_w, -reach_w), reach_w)
        entries[spare] = (setpoint_w, begin_ns, asked.end_ns, _FOREVER_NS)

    def _in_force(self, start_ns: int, end_ns: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the set-points that cover the whole interval and where there is one.

        One that was replaced in the middle still explains the power: the site had decided before.
        """
        entries = self._timeline
        covers: NDArray[np.bool_] = (
            (entries["begin_ns"] <= start_ns)
            & (end_ns <= entries["end_ns"])
            & (entries["superseded_ns"] > start_ns)
        )
        setpoint_w: NDArray[np.float64] = np.where(covers, entries["setpoint_w"], 0).sum(axis=1) * 1.0
        return setpoint_w, np.logical_or(covers[:, 0], covers[:, 1])

    def _explained(
        self, wanted_w: NDArray[Any], stored_kwh: NDArray[np.float64], careful_h: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the most power, along the direction of `wanted_w`, that the limits explain."""
        discharging = wanted_w < 0
        far_w = np.minimum(
            np.abs(wanted_w), np.where(discharging, self._discharge_limit_w, self._charge_limit_w)
        )
        # In an interval of microseconds the smallest care about energy is many watts.
        hair_kwh = self._energy_tolerance_kwh
        out_kwh = np.maximum(stored_kwh - self._reserve_kwh - hair_kwh, 0.0) * self._out_frac
        in_kwh = np.maximum(self._full_kwh - stored_kwh - hair_kwh, 0.0) / self._into_frac
        near_w = np.minimum(far_w, np.where(discharging, out_kwh, in_kwh) * 1_000.0 / careful_h)
        return near_w, far_w

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
