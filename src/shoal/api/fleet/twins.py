"""From the record of a twin to what is said of its site: age by signal, grade, flags in words. Pure.

The grade is the one that the sums count by: age comes before suspicion, and a site is as good as its oldest signal.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.api.answers import Membership, QualityFlag, Signal, Site, SiteDetail, TwinGrade, TwinRow
from shoal.api.live.state import to_ms
from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import OPTIONAL, SUSPECT, TELEMETRY, DeviceType, Flag, mask_of
from shoal.domain.twins import ShardAnswer
from shoal.twin.aggregate import Timeouts
from shoal.twin.row import BEHIND_NS, NEVER

GRADES: Final[tuple[TwinGrade, ...]] = ("fresh", "suspect", "stale", "unknown")
"""The better one first."""

_SIGNALS: Final[tuple[Literal["battery", "solar", "load", "ev"], ...]] = ("battery", "solar", "load", "ev")
_SOC: Final = mask_of("soc_frac")
_W_PER_KW: Final = 1_000.0
_ABOUT: Final = {
    Flag.CLOCK_CORRECTED: "the device's clock was wrong and was set right",
    Flag.CLOCK_DOUBTFUL: "the device's clock is wrong and could not be set right",
    Flag.SIGN: "a power has a sign that it cannot have",
    Flag.STUCK: "a sensor has said the same for too long",
    Flag.REGISTER_BACKWARDS: "an energy register ran backwards",
    Flag.OVER_NAMEPLATE: "a power is beyond what is installed",
    Flag.ESTIMATED: "the device did not measure this but says so",
    Flag.BACKFILL: "it arrived long after it was taken",
}


def site_at(fleet: Fleet, row: int) -> Site:
    """Return one site of the fleet."""
    groups = {}
    for hierarchy, leaves in fleet.leaf_group.items():
        if leaves[row] >= 0:
            groups[str(hierarchy)] = str(fleet.groups[int(leaves[row])].group_id)
    gateway = int(fleet.gateway_of[row])
    return Site(
        site_id=fleet.site_ids[row],
        device_type=DeviceType(int(fleet.device_type[row])).name.lower(),
        gateway_id=None if gateway < 0 else fleet.gateway_ids[gateway],
        gateway_unit=None if gateway < 0 else int(fleet.gateway_unit[row]),
        latitude_deg=float(fleet.latitude_deg[row]),
        longitude_deg=float(fleet.longitude_deg[row]),
        nameplate={name: float(fleet.nameplate[name][row]) for name in NAMEPLATE.names},
        groups=groups,
    )


def site_detail(fleet: Fleet, row: int, answer: ShardAnswer, timeouts: Timeouts) -> SiteDetail:
    """Return a site with its twin, from the answer of its shard to a question about this row alone."""
    (record,) = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
    site = site_at(fleet, row)
    heard = int(record["ts_ns"]) > 0
    age_s = max(answer.t_ns - int(record["ts_ns"]), 0) / NS_PER_S if heard else None
    present, flags = int(record["present"]), int(record["flags"])
    soc_frac = float(record["soc_frac"]) if heard and present & _SOC else None
    behind_s = behind_of(answer)
    (grade,) = grades(record[None], behind_s, answer.t_ns, timeouts).tolist()
    return SiteDetail(
        site=site,
        memberships=memberships(fleet, row),
        shard=answer.shard,
        token=answer.token,
        as_of_ms=to_ms(answer.t_ns),
        grade=GRADES[grade],
        heard_ms=to_ms(int(record["ts_ns"])) if heard else None,
        age_s=age_s,
        signals=_signals(record, age_s, behind_s[0], timeouts),
        soc_frac=soc_frac,
        energy_kwh=None if soc_frac is None else soc_frac * site.nameplate["energy_capacity_kwh"],
        flags=flag_words(flags) if heard else [],
        latest=_measured(record) if heard else None,
    )


def memberships(fleet: Fleet, row: int) -> list[Membership]:
    """Return the groups that a site hangs from, one in each hierarchy that it is in."""
    found = []
    for hierarchy, leaves in fleet.leaf_group.items():
        number = int(leaves[row])
        path = []
        while number >= 0:
            path.append(fleet.groups[number].name)
            number = int(fleet.parent_number[number])
        if path:
            group = fleet.groups[int(leaves[row])]
            found.append(
                Membership(hierarchy_id=hierarchy, group_id=group.group_id, path=list(reversed(path)))
            )
    return found


def behind_of(answer: ShardAnswer) -> NDArray[np.float64]:
    """Return, for each of N sites of an answer and each signal, how much older it is than the newest sample, in seconds.

    It is infinite for a signal that never came, and 0 where the answer does not say.
    """
    steps = np.frombuffer(answer.behind, dtype=np.uint8).reshape(-1, len(_SIGNALS))
    if not answer.behind:
        return np.zeros((len(answer.rows) // 8, len(_SIGNALS)))
    return np.where(steps == NEVER, np.inf, steps * (BEHIND_NS / NS_PER_S))


def grades(
    records: NDArray[Any], behind_s: NDArray[np.float64], now_ns: int, timeouts: Timeouts
) -> NDArray[np.int64]:
    """Return the position in `GRADES` of each of N records, whose signals are so much older (N x 4)."""
    age_s = np.maximum(now_ns - records["ts_ns"], 0) / NS_PER_S
    present = records["present"].astype(np.int64)
    grade = np.where((records["flags"] & int(SUSPECT)) != 0, 1, 0)
    measures = present & 15
    # without any power a site goes by the battery's times and its newest sample
    behind_s = np.where(measures[:, None] == 0, 0.0, behind_s)
    measures = np.where(measures == 0, 1, measures)
    for signal in range(len(_SIGNALS)):
        this = _late(age_s + behind_s[:, signal], signal, timeouts)
        grade = np.maximum(grade, np.where(measures >> signal & 1, this, 0))
    return np.where(records["ts_ns"] == 0, 3, grade)


def _late(age_s: Any, signal: int, timeouts: Timeouts) -> Any:
    """Return the position in `GRADES` that signals of some ages have by these alone."""
    fresh_s, unknown_s = timeouts.fresh_ns[signal] / NS_PER_S, timeouts.unknown_ns[signal] / NS_PER_S
    return np.where(age_s > unknown_s, 3, np.where(age_s > fresh_s, 2, 0))


def flag_words(flags: int) -> list[QualityFlag]:
    """Return flags in words."""
    return [
        QualityFlag(flag=str(flag.name).lower(), about=about, suspect=bool(flag & SUSPECT))
        for flag, about in _ABOUT.items()
        if flags & flag
    ]


def twin_row(fleet: Fleet, row: int, record: NDArray[Any], grade: int, now_ns: int) -> TwinRow:
    """Return one line of a list."""
    heard_ns, present = int(record["ts_ns"]), int(record["present"])
    return TwinRow(
        site_id=fleet.site_ids[row],
        grade=GRADES[grade],
        heard_ms=to_ms(heard_ns) if heard_ns else None,
        age_s=max(now_ns - heard_ns, 0) / NS_PER_S if heard_ns else None,
        flags=[one.flag for one in flag_words(int(record["flags"]))] if heard_ns else [],
        battery_kw=int(record["battery_w"]) / _W_PER_KW if heard_ns and present & 1 else None,
        soc_frac=float(record["soc_frac"]) if heard_ns and present & _SOC else None,
    )


def _signals(
    record: NDArray[Any], age_s: float | None, behind_s: NDArray[np.float64], timeouts: Timeouts
) -> list[Signal]:
    made = []
    for number, name in enumerate(_SIGNALS):
        if age_s is None or not int(record["present"]) >> number & 1 or np.isinf(behind_s[number]):
            made.append(Signal(signal=name, power_kw=None, age_s=None, grade=None))
            continue
        signal_s = age_s + float(behind_s[number])
        made.append(
            Signal(
                signal=name,
                power_kw=int(record[f"{name}_w"]) / _W_PER_KW,
                age_s=signal_s,
                grade=GRADES[int(_late(signal_s, number, timeouts))],
            )
        )
    return made


def _measured(record: NDArray[Any]) -> dict[str, float | int | None]:
    present = int(record["present"])
    absent = {name for bit, name in enumerate(OPTIONAL) if not present >> bit & 1}
    return {name: None if name in absent else record[name].item() for name in TELEMETRY.names}
