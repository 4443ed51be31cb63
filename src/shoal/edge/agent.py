"""The decision of the site agent, for many sites at once: which power each battery takes now.

A site has two lease slots: the one in force and one that waits for its start. The newest accepted desired
state replaces everything older, except that the one in force goes on until a waiting one begins. Whatever was
asked, by a lease or by the local mode, the owner's limits are applied last: power, reserve, capacity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState, DurableUpTo
from shoal.domain.errors import CorruptStateError, InvalidInputError, WireFormatError
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected

NEVER_NS: Final = int(np.iinfo(np.int64).max)
MAX_VERSION: Final = 2**32 - 1
"""Telemetry reports the followed version in 32 bits, so a larger one could not be verified."""
ENERGY_MARGIN_KWH: Final = 1e-9
"""A hair that stays above the reserve and below full, so that rounding never crosses either."""

_ACTIVE: Final = 0
_PENDING: Final = 1
_SLOTTED: Final = ("version", "battery_w", "start_ns", "end_ns")
_PER_SITE: Final = ("latest_version", "latest_fence")
_DESIRED: Final = msgspec.json.Decoder(DesiredState)
_DURABLE: Final = msgspec.json.Decoder(DurableUpTo)

Watts: TypeAlias = NDArray[np.int64]


class Mode(IntEnum):
    """Who decides the power of a battery."""

    LOCAL = 0
    """The site itself: it uses its own solar power."""
    LEASE = 1
    """The plant, by a lease in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What N sites do from now on.

    Attributes:
        battery_w: Battery power, charging positive, in watts.
        mode: `Mode` codes.
        following_version: Version of the lease that is followed; 0 for none.
    """

    battery_w: Watts
    mode: NDArray[np.uint8]
    following_version: NDArray[np.uint32]


class AgentColumns:
    """The memory of N agents: two lease slots each, the latest version and the latest fence.

    Attributes:
        version: Of each slot (2 x N); 0 when it is empty.
        battery_w: Set-point of each slot, clipped to the nameplate, charging positive (2 x N).
        start_ns: When each slot's lease begins (2 x N).
        end_ns: When it ends, exclusive (2 x N).
        latest_version: The highest version ever accepted (N).
        latest_fence: The highest fence ever seen (N).
    """

    def __init__(self, nameplate: NDArray[Any]) -> None:
        """Begin with no lease; `nameplate` holds N records of `shoal.domain.fleet.NAMEPLATE`."""
        sites = len(nameplate)
        self.version = np.zeros((2, sites), dtype=np.int64)
        self.battery_w = np.zeros((2, sites), dtype=np.int64)
        self.start_ns = np.zeros((2, sites), dtype=np.int64)
        self.end_ns = np.zeros((2, sites), dtype=np.int64)
        self.latest_version = np.zeros(sites, dtype=np.int64)
        self.latest_fence = np.zeros(sites, dtype=np.int64)
        self.charge_limit_w = _whole_watts(nameplate["charge_limit_kw"])
        self.discharge_limit_w = _whole_watts(nameplate["discharge_limit_kw"])
        self.energy_capacity_kwh = np.array(nameplate["energy_capacity_kwh"], dtype=np.float64)
        self.reserve_kwh = self.energy_capacity_kwh * nameplate["reserve_frac"]
        self.charge_efficiency_frac = np.array(nameplate["charge_efficiency_frac"], dtype=np.float64)
        self.discharge_efficiency_frac = np.array(nameplate["discharge_efficiency_frac"], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.latest_version)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that a checkpoint must keep."""
        return {name: getattr(self, name).copy() for name in (*_SLOTTED, *_PER_SITE)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; nothing changes when it does not fit.

        Raises:
            CorruptStateError: when a column is missing, of another type or for another number of sites.
        """
        for name in (*_SLOTTED, *_PER_SITE):
            column = state.get(name)
            if column is None or column.shape != getattr(self, name).shape or column.dtype != np.int64:
                raise CorruptStateError(
                    "agent state", f"column {name} is missing or does not fit {len(self)} sites"
                )
        for name in (*_SLOTTED, *_PER_SITE):
            getattr(self, name)[...] = state[name]


def decode_desired(payload: bytes) -> DesiredState:
    """Return the desired state of one message.

    Raises:
        WireFormatError: with reason ``desired_state``.
    """
    try:
        return _DESIRED.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("desired_state", str(error)) from error


def decode_durable(payload: bytes) -> DurableUpTo:
    """Return up to which number every sample is safe, and whether to send again from there.

    Raises:
        WireFormatError: with reason ``durable_up_to``.
    """
    try:
        return _DURABLE.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("durable_up_to", str(error)) from error


def receive(columns: AgentColumns, row: int, desired: DesiredState, now_ns: int) -> Outcome:
    """Take or refuse a desired state of the site in `row`.

    A refused one changes nothing, except that a well-formed one of a newer issuer fences out the older ones.

    Returns:
        `Accepted`; `Curtailed` with the set-point in watts that the nameplate allows; or `Rejected` with
        reason ``not_finite``, ``out_of_range``, ``fenced_out``, ``stale_version`` or ``expired``.
    """
    refusal = _malformed(desired)
    if refusal is not None:
        return refusal
    fence = int(columns.latest_fence[row])
    if desired.fence < fence:
        return Rejected(reason="fenced_out", detail=f"fence {desired.fence} was replaced by {fence}")
    columns.latest_fence[row] = desired.fence
    latest = int(columns.latest_version[row])
    if desired.version <= latest:
        return Rejected(
            reason="stale_version", detail=f"version {desired.version}, {latest} was taken before"
        )
    if desired.end_ns <= now_ns:
        return Rejected(reason="expired", detail=f"ended {(now_ns - desired.end_ns) / 1e9:.3f} s ago")
    granted_w = min(
        max(desired.battery_w, -int(columns.discharge_limit_w[row])), int(columns.charge_limit_w[row])
    )
    _keep(columns, row, desired, granted_w, now_ns)
    columns.latest_version[row] = desired.version
    if granted_w != desired.battery_w:
        return Curtailed(
            asked=_as_float(desired.battery_w), granted=float(granted_w), reason="over_nameplate"
        )
    return Accepted()


def decide(
    columns: AgentColumns,
    *,
    now_ns: int,
    load_w: Watts,
    solar_w: Watts,
    ev_w: Watts,
    stored_kwh: NDArray[np.float64],
    horizon_s: float,
) -> Decision:
    """Return what N batteries do from `now_ns` on; the columns are only read.

    A lease counts while start <= now < end, whatever else. Without one the site charges from surplus solar
    power and discharges to cover its own consumption, never into the grid.

    Args:
        columns: The agents.
        now_ns: The present instant.
        load_w: Household load (N), without battery, solar and EV.
        solar_w: Solar power (N), generation negative.
        ev_w: EV charger power (N), charging positive.
        stored_kwh: Energy in each battery (N); one that is not a number neither charges nor discharges.
        horizon_s: How long the decision may be held without crossing the reserve or full.

    Raises:
        InvalidInputError: when `horizon_s` is not a positive number.
    """
    if not 0 < horizon_s < math.inf:
        raise InvalidInputError(field="horizon_s", value=horizon_s, fix="give a positive number of seconds")
    started = (columns.version[_PENDING] > 0) & (columns.start_ns[_PENDING] <= now_ns)
    version, setpoint_w, start_ns, end_ns = (
        np.where(started, slots[_PENDING], slots[_ACTIVE])
        for slots in (columns.version, columns.battery_w, columns.start_ns, columns.end_ns)
    )
    leased = (version > 0) & (start_ns <= now_ns) & (now_ns < end_ns)
    asked_w = np.where(leased, setpoint_w, local_mode(load_w=load_w, solar_w=solar_w, ev_w=ev_w))
    charge_w, discharge_w = energy_bounds(columns, stored_kwh=stored_kwh, horizon_s=horizon_s)
    return Decision(
        battery_w=np.minimum(np.maximum(asked_w, -discharge_w), charge_w),
        mode=leased.astype(np.uint8),
        following_version=np.where(leased, version, 0).astype(np.uint32),
    )


def local_mode(*, load_w: Watts, solar_w: Watts, ev_w: Watts) -> Watts:
    """Return the battery power (N) that uses a site's own solar power, before limits, charging positive."""
    wanted_w = -(load_w + ev_w + solar_w)
    # Surplus only comes from the roof: a meter that shows a negative load must not make the battery charge.
    local_w: Watts = np.minimum(wanted_w, np.maximum(-solar_w, 0))
    return local_w


def energy_bounds(
    columns: AgentColumns, *, stored_kwh: NDArray[np.float64], horizon_s: float
) -> tuple[Watts, Watts]:
    """Return the largest charging and discharging power (N, never negative) to hold for `horizon_s`."""
    watts_per_kwh = 3_600_000.0 / horizon_s
    # fmax and not maximum: an unknown stored energy (NaN) leaves no room in either direction.
    room_kwh = np.fmax(columns.energy_capacity_kwh - stored_kwh - ENERGY_MARGIN_KWH, 0.0)
    spare_kwh = np.fmax(stored_kwh - columns.reserve_kwh - ENERGY_MARGIN_KWH, 0.0)
    charge_w = room_kwh / columns.charge_efficiency_frac * watts_per_kwh
    discharge_w = spare_kwh * columns.discharge_efficiency_frac * watts_per_kwh
    return (
        np.minimum(np.floor(charge_w), columns.charge_limit_w).astype(np.int64),
        np.minimum(np.floor(discharge_w), columns.discharge_limit_w).astype(np.int64),
    )


def next_change_ns(columns: AgentColumns, now_ns: int) -> int:
    """Return the earliest start or end of a lease after `now_ns`, or `NEVER_NS`."""
    earliest_ns = NEVER_NS
    for bounds_ns in (columns.start_ns, columns.end_ns):
        later_ns = np.min(bounds_ns, where=bounds_ns > now_ns, initial=NEVER_NS)
        earliest_ns = min(earliest_ns, int(later_ns))
    return earliest_ns


def _malformed(desired: DesiredState) -> Rejected | None:
    # Python compares whole numbers of any size with infinity exactly, where math.isfinite would overflow.
    if desired.battery_w != desired.battery_w or abs(desired.battery_w) == math.inf:
        return Rejected(reason="not_finite", detail="battery_w must be a finite number of watts")
    if not 1 <= desired.version <= MAX_VERSION:
        return Rejected(reason="out_of_range", detail=f"version must be from 1 to {MAX_VERSION}")
    if not 0 <= desired.fence <= NEVER_NS:
        return Rejected(reason="out_of_range", detail="fence must be from 0 to 2**63 - 1")
    if not 0 <= desired.start_ns < desired.end_ns <= NEVER_NS:
        return Rejected(reason="out_of_range", detail="the lease must end after its start, within 64 bits")
    return None


def _keep(columns: AgentColumns, row: int, desired: DesiredState, granted_w: int, now_ns: int) -> None:
    """Put an accepted lease into its slot; one that waited and has begun meanwhile moves up first."""
    values = (desired.version, granted_w, desired.start_ns, desired.end_ns)
    slotted = (columns.version, columns.battery_w, columns.start_ns, columns.end_ns)
    if desired.start_ns <= now_ns:
        for column, value in zip(slotted, values, strict=True):
            column[_ACTIVE, row] = value
            column[_PENDING, row] = 0
        return
    begun = columns.version[_PENDING, row] > 0 and columns.start_ns[_PENDING, row] <= now_ns
    for column, value in zip(slotted, values, strict=True):
        if begun:
            column[_ACTIVE, row] = column[_PENDING, row]
        column[_PENDING, row] = value


def _whole_watts(limit_kw: NDArray[np.float64]) -> Watts:
    # The hair undoes a product such as 1.001 * 1000 = 1000.9999999999999.
    return np.floor(limit_kw * 1_000.0 + 1e-6).astype(np.int64)


def _as_float(value: int) -> float:
    """Return a whole number of any size as a float, infinite when it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
