"""Drift of parameters: what devices are set to, compared with what the offers of a service assume.

A device that was armed for one droop and now runs another, after an update of its firmware or a visit of an installer, no
longer backs what was offered for it. In July 2019 an update changed the droop of a 100 MW battery from 1.7 % to 3.7 %, and
services that it could no longer deliver went on being offered. Here such capacity is found by comparison and withheld.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from shoal.domain.alarms import Severity
from shoal.domain.errors import InvalidInputError

DriftReason: TypeAlias = Literal[
    "droop", "deadband", "ramp", "response", "power", "firmware", "not_reported", "not_a_number"
]

ALARM_KIND: Final = "parameter_drift"
"""What the alarm of a drift is to be called among `shoal.domain.alarms.AlarmKind`."""


class DeviceParameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device says that it is set to; None for what it does not say.

    Attributes:
        site_id: Whose.
        t_ns: When it was read.
        droop_frac: Deviation as a share of the nominal frequency that gives the whole rated power.
        deadband_hz: Distance from the nominal frequency within which nothing is done.
        ramp_w_per_s: Fastest change of power.
        response_s: Time from a deviation to the power it asks for.
        limit_w: Power that the service is limited to on the device.
        firmware: Its version, in the maker's words.
    """

    site_id: str
    t_ns: int
    droop_frac: float | None = None
    deadband_hz: float | None = None
    ramp_w_per_s: float | None = None
    response_s: float | None = None
    limit_w: int | None = None
    firmware: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedParameters:
    """What the offers of a service assume of a device; None for what does not matter to it.

    Attributes:
        service: Which service.
        capacity_w: What the device backs of it, >= 0.
        droop_frac: See `DeviceParameters`; both ways, a steeper one is a drift too: it gives what nobody asked for.
        deadband_hz: See `DeviceParameters`; both ways.
        ramp_w_per_s: At least so fast.
        response_s: At most so late.
        firmware: Versions that were tested with the service; empty for any.
        tolerance_frac: How far droop, ramp and response may be off, as a share of what is assumed.
        tolerance_hz: How far the deadband may be off.
        longest_ns: A report older than this is none.
    """

    service: str
    capacity_w: int
    droop_frac: float | None = None
    deadband_hz: float | None = None
    ramp_w_per_s: float | None = None
    response_s: float | None = None
    firmware: frozenset[str] = frozenset()
    tolerance_frac: float = 0.05
    tolerance_hz: float = 0.002
    longest_ns: int = 24 * 3600 * 1_000_000_000


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of one device that is not what a service assumes.

    Attributes:
        site_id: Whose.
        service: Which service.
        reason: Which parameter, or that nothing is known.
        withheld_w: Capacity of the service that is no longer backed; each device's in the first of its drifts only.
        detail: For people: what is assumed and what is reported.
    """

    site_id: str
    service: str
    reason: DriftReason
    withheld_w: int
    detail: str


class DriftAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """What the alarm of a service says, in the words of `shoal.domain.alarms.Alarm`.

    Attributes:
        kind: `ALARM_KIND`.
        severity: ``critical`` when at least a tenth of the capacity is no longer backed, else ``major``; ``warning`` when
            none is.
        scope: A resource is a part of the plant.
        subject: ``<resource>/<service>``.
        name: In words.
        sites: How many devices have drifted.
        of_sites: How many back the service.
        examples: The first few of them.
        value: Capacity that is withheld, in W.
        detail: What a person should know.
    """

    kind: str
    severity: Severity
    scope: Literal["part"]
    subject: str
    name: str
    sites: int
    of_sites: int
    examples: list[str]
    value: float
    detail: str


def drifts_of(
    assumed: AssumedParameters, reported: DeviceParameters | None, *, site_id: str, now_ns: int
) -> list[Drift]:
    """Return what is not as assumed of one device; none when everything is.

    A parameter that matters and is not reported counts as a drift: capacity is backed by what is known.
    """
    if reported is None or now_ns - reported.t_ns > assumed.longest_ns:
        told = (
            "nothing is reported"
            if reported is None
            else f"the report is {(now_ns - reported.t_ns) / 3.6e12:.1f} h old"
        )
        return [_drift(assumed, site_id, "not_reported", told, first=True)]
    found: list[Drift] = []

    def note(reason: DriftReason, wanted: str, told: str) -> None:
        found.append(
            _drift(assumed, site_id, reason, f"{wanted} is assumed, {told} is reported", first=not found)
        )

    checks: tuple[tuple[DriftReason, float | None, float | None, str, float, bool, bool], ...] = (
        (
            "droop",
            assumed.droop_frac,
            reported.droop_frac,
            "droop of {:.2%}",
            assumed.tolerance_frac,
            True,
            True,
        ),
        (
            "ramp",
            assumed.ramp_w_per_s,
            reported.ramp_w_per_s,
            "ramp of {:.0f} W/s",
            assumed.tolerance_frac,
            True,
            False,
        ),
        (
            "response",
            assumed.response_s,
            reported.response_s,
            "response of {:.2f} s",
            assumed.tolerance_frac,
            False,
            True,
        ),
        (
            "power",
            float(assumed.capacity_w),
            _as_float(reported.limit_w),
            "limit of {:.0f} W",
            0.0,
            True,
            False,
        ),
    )
    if assumed.deadband_hz is not None:
        told_hz = reported.deadband_hz
        wanted = f"deadband of {assumed.deadband_hz:.3f} Hz"
        if told_hz is None:
            note("not_reported", wanted, "none")
        elif not abs(told_hz - assumed.deadband_hz) <= assumed.tolerance_hz:
            note("deadband", wanted, f"{told_hz:.3f} Hz")
    for reason, wanted_value, told_value, words, tolerance, below, above in checks:
        if wanted_value is None or (reason == "power" and told_value is None):
            continue
        if told_value is None:
            note("not_reported", words.format(wanted_value), "none")
        elif told_value != told_value:
            note("not_a_number", words.format(wanted_value), "no number")
        elif (below and told_value < wanted_value * (1.0 - tolerance) - 1e-12) or (
            above and told_value > wanted_value * (1.0 + tolerance) + 1e-12
        ):
            note(reason, words.format(wanted_value), words.format(told_value))
    if assumed.firmware and reported.firmware not in assumed.firmware:
        note("firmware", f"firmware {' or '.join(sorted(assumed.firmware))}", reported.firmware or "none")
    return found


def compare(
    assumed: Mapping[str, AssumedParameters], reported: Mapping[str, DeviceParameters], *, now_ns: int
) -> list[Drift]:
    """Return every drift of the devices (by site) that back a service, in the order of the sites."""
    return [
        drift
        for site_id in sorted(assumed)
        for drift in drifts_of(assumed[site_id], reported.get(site_id), site_id=site_id, now_ns=now_ns)
    ]


def withheld_w(drifts: Sequence[Drift]) -> dict[str, int]:
    """Return how much of each service's capacity must be withheld from offers, in W: what bidding subtracts."""
    total: dict[str, int] = {}
    for drift in drifts:
        total[drift.service] = total.get(drift.service, 0) + drift.withheld_w
    return total


def backed_w(assumed: Mapping[str, AssumedParameters], drifts: Sequence[Drift], *, service: str) -> int:
    """Return the capacity of a service that may still be offered, in W; 0 or more.

    Raises:
        InvalidInputError: when a capacity is negative.
    """
    total = 0
    for one in assumed.values():
        if one.capacity_w < 0:
            raise InvalidInputError(field="capacity_w", value=one.capacity_w, fix="give 0 or more")
        total += one.capacity_w if one.service == service else 0
    return max(total - withheld_w(drifts).get(service, 0), 0)


def alarm_of(
    resource_id: str, service: str, assumed: Mapping[str, AssumedParameters], drifts: Sequence[Drift]
) -> DriftAlarm | None:
    """Return what the alarm of a service says; None when no device that backs it has drifted."""
    mine = [drift for drift in drifts if drift.service == service]
    if not mine:
        return None
    sites = sorted({drift.site_id for drift in mine})
    backing = [one for one in assumed.values() if one.service == service]
    total_w = sum(one.capacity_w for one in backing)
    gone_w = withheld_w(mine)[service]
    lost = Severity.CRITICAL if 10 * gone_w >= total_w else Severity.MAJOR
    severity = lost if gone_w else Severity.WARNING
    reasons = sorted({drift.reason for drift in mine})
    return DriftAlarm(
        kind=ALARM_KIND,
        severity=severity,
        scope="part",
        subject=f"{resource_id}/{service}",
        name=f"{service} of {resource_id}",
        sites=len(sites),
        of_sites=len(backing),
        examples=sites[:5],
        value=float(gone_w),
        detail=f"{gone_w} of {total_w} W no longer backed ({', '.join(reasons)}); {sites[0]}: {mine[0].detail}",
    )


def _drift(
    assumed: AssumedParameters, site_id: str, reason: DriftReason, detail: str, *, first: bool
) -> Drift:
    withheld = assumed.capacity_w if first else 0
    return Drift(site_id=site_id, service=assumed.service, reason=reason, withheld_w=withheld, detail=detail)


def _as_float(value: int | None) -> float | None:
    return None if value is None else float(value)
