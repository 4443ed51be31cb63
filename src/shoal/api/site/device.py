"""One site's device: how it is connected, what it is set to against what services assume of it, its alarms. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from shoal.api.site.answers import SiteParameter
from shoal.services.drift import AssumedParameters, DeviceParameters, Drift, drifts_of
from shoal.store.site_records import Assumption

Name: TypeAlias = Literal["droop", "deadband", "ramp", "response", "power", "firmware"]
_W_PER_KW: Final = 1_000.0
_Look: TypeAlias = tuple[
    Name, Callable[[AssumedParameters], float | None], Callable[[DeviceParameters], float | None], str
]
_NUMBERS: Final[tuple[_Look, ...]] = (
    ("droop", lambda one: one.droop_frac, lambda one: one.droop_frac, "{:.2%}"),
    ("deadband", lambda one: one.deadband_hz, lambda one: one.deadband_hz, "{:.3f} Hz"),
    ("ramp", lambda one: one.ramp_w_per_s, lambda one: one.ramp_w_per_s, "{:.0f} W/s"),
    ("response", lambda one: one.response_s, lambda one: one.response_s, "{:.2f} s"),
    ("power", lambda one: float(one.capacity_w), lambda one: one.limit_w, "{:.0f} W"),
)


def parameters_of(
    site_id: str, assumed: Sequence[Assumption], reported: DeviceParameters | None, *, now_ns: int
) -> tuple[list[SiteParameter], float]:
    """Return every setting that matters to a service, and the capacity in kW that services can no longer count on."""
    found: list[SiteParameter] = []
    withheld_w = 0
    for one in assumed:
        drifts = drifts_of(one.assumed, reported, site_id=site_id, now_ns=now_ns)
        withheld_w += sum(drift.withheld_w for drift in drifts)
        found += _of_service(one, reported, drifts, now_ns=now_ns)
    return found, withheld_w / _W_PER_KW


def _of_service(
    one: Assumption, reported: DeviceParameters | None, drifts: Sequence[Drift], *, now_ns: int
) -> list[SiteParameter]:
    old = reported is None or now_ns - reported.t_ns > one.assumed.longest_ns
    drifted = {drift.reason for drift in drifts}
    found = []

    def put(name: Name, wanted: str, told: str | None) -> None:
        # a limit that a device does not say is none; everything else that it does not say is not backed
        silent = told is None and name != "power"
        found.append(
            SiteParameter(
                resource_id=one.resource_id,
                service=one.service,
                name=name,
                assumed=wanted,
                reported=told,
                drifted=old or silent or name in drifted,
            )
        )

    for name, wanted, told, words in _NUMBERS:
        value = wanted(one.assumed)
        if value is not None:
            said = None if reported is None else told(reported)
            put(name, words.format(value), None if said is None else words.format(said))
    if one.assumed.firmware:
        firmware = None if reported is None else reported.firmware or None
        put("firmware", " or ".join(sorted(one.assumed.firmware)), firmware)
    return found
