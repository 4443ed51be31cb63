"""How every site is, looked at once for all who ask within a moment: what the map and the search read.

A site that its shard does not have yet counts as unknown, and is counted as one that could not be asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.taking_now import TakingNow
from shoal.api.fleet.twins import GRADES, behind_of, grades
from shoal.api.live.state import Alarm, Severity
from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY, DeviceType, mask_of

SEVERITIES: Final[tuple[Severity, ...]] = ("notice", "warning", "major", "critical")
"""The more urgent one last."""
LOOK_FOR_S: Final = 1.0
ROWS_AT_ONCE: Final = 20_000
TIMEOUT_S: Final = 20.0
_UNKNOWN: Final = GRADES.index("unknown")
_W_PER_KW: Final = 1_000.0

SiteOrder: TypeAlias = Literal["registry", "age", "power", "charge", "alarm", "grade"]
"""As registered; the longest silent, the most power, the least charge, the most urgent alarm, the worst grade first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every site at about one instant, N rows; NaN where nothing was measured.

    Attributes:
        t_ns: The instant; 0 when nobody answered.
        grade: Positions in `GRADES`.
        age_s: Age of the newest sample.
        battery_kw: Charging positive.
        soc_frac: State of charge.
        unanswered: How many sites could not be asked.
    """

    t_ns: int
    grade: NDArray[np.int64]
    age_s: NDArray[np.float64]
    battery_kw: NDArray[np.float64]
    soc_frac: NDArray[np.float64]
    unanswered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFilter:
    """Which sites are asked for; what is left out lets all through.

    Attributes:
        text: Those whose name contains it, in any case.
        group: Those at or below this group.
        grade: Those that count so; `silent` is stale or unknown.
        device_type: Those of this type.
        alarm: Those under an alarm at least so urgent.
        program: Those that take part in it now.
    """

    text: str = ""
    group: str | None = None
    grade: str = "any"
    device_type: str | None = None
    alarm: Severity | None = None
    program: str | None = None


class SitesDesk:
    """Looks at the sites, at most once at a time and once in `LOOK_FOR_S`.

    Args:
        plant: Whose.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._taking = TakingNow(plant)
        self._lock = asyncio.Lock()
        self._held: Look | None = None
        self._held_at_s = 0.0
        self._names: list[str] | None = None
        self._version = ""

    @property
    def version(self) -> str:
        """What changes when the sites or their places do."""
        if not self._version:
            fleet = self._plant.fleet
            seen = hashlib.sha256("\n".join(fleet.site_ids).encode())
            for column in (fleet.latitude_deg, fleet.longitude_deg, fleet.device_type, fleet.nameplate):
                seen.update(np.ascontiguousarray(column).tobytes())
            self._version = seen.hexdigest()[:16]
        return self._version

    async def look(self) -> Look:
        """Return how the sites are now.

        Raises:
            UnavailableError: when no shard answers.
        """
        async with self._lock:
            now_s = time.monotonic()
            if self._held is None or now_s - self._held_at_s > LOOK_FOR_S:
                self._held = await self._ask()
                self._held_at_s = time.monotonic()
            return self._held

    async def _ask(self) -> Look:
        sites = len(self._plant.fleet.site_ids)
        grade = np.full(sites, _UNKNOWN, dtype=np.int64)
        age_s, battery_kw, soc_frac = (np.full(sites, np.nan) for _ in range(3))
        answered = np.zeros(sites, dtype=np.bool_)
        instants: list[int] = []
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for start in range(0, sites, ROWS_AT_ONCE):
                    rows = np.arange(start, min(start + ROWS_AT_ONCE, sites))
                    for said in await self._plant.ask_sites(rows):
                        mine = np.frombuffer(said.rows, dtype=np.int64)
                        records = np.frombuffer(said.latest, dtype=TELEMETRY.dtype)
                        instants.append(said.t_ns)
                        answered[mine] = True
                        grade[mine] = grades(records, behind_of(said), said.t_ns, self._plant.timeouts)
                        heard = records["ts_ns"] > 0
                        present = records["present"].astype(np.int64)
                        age = np.maximum(said.t_ns - records["ts_ns"], 0) / NS_PER_S
                        age_s[mine] = np.where(heard, age, np.nan)
                        power = heard & ((present & mask_of("battery_w")) != 0)
                        battery_kw[mine] = np.where(power, records["battery_w"] / _W_PER_KW, np.nan)
                        charge = heard & ((present & mask_of("soc_frac")) != 0)
                        soc_frac[mine] = np.where(charge, records["soc_frac"].astype(np.float64), np.nan)
        except TimeoutError as error:
            raise UnavailableError("the sites", f"they did not answer within {TIMEOUT_S:g} s") from error
        return Look(
            t_ns=min(instants, default=0),
            grade=grade,
            age_s=age_s,
            battery_kw=battery_kw,
            soc_frac=soc_frac,
            unanswered=int(np.count_nonzero(~answered)),
        )

    async def rows_of(self, wanted: SiteFilter, look: Look, alarm: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows that a filter lets through, in the order of the registry.

        Raises:
            UnknownIdError: when it names a group, a type of device or a program that there is not.
            UnavailableError: when it names a program, and the database cannot be reached.
        """
        fleet = self._plant.fleet
        through = np.ones(len(fleet.site_ids), dtype=np.bool_)
        if wanted.group is not None:
            if wanted.group not in fleet.group_number:
                raise UnknownIdError("group", wanted.group)
            inside = np.zeros_like(through)
            inside[fleet.rows_in(GroupId(wanted.group))] = True
            through &= inside
        if wanted.device_type is not None:
            types = [one.name.lower() for one in DeviceType]
            if wanted.device_type not in types:
                raise UnknownIdError("type of device", wanted.device_type)
            through &= fleet.device_type == int(DeviceType[wanted.device_type.upper()])
        if wanted.grade != "any":
            chosen = ("stale", "unknown") if wanted.grade == "silent" else (wanted.grade,)
            through &= np.isin(look.grade, [at for at, name in enumerate(GRADES) if name in chosen])
        if wanted.alarm is not None:
            through &= alarm >= SEVERITIES.index(wanted.alarm)
        if wanted.program is not None:
            through[through] = np.isin(np.flatnonzero(through), await self._enrolled(wanted.program))
        if wanted.text.strip():
            if self._names is None:
                self._names = [site.casefold() for site in fleet.site_ids]
            text = wanted.text.strip().casefold()
            through &= np.fromiter((text in name for name in self._names), dtype=np.bool_, count=len(through))
        return np.flatnonzero(through).astype(np.int64)

    async def _enrolled(self, program: str) -> NDArray[np.int64]:
        taking = await asyncio.to_thread(self._taking.at, self._plant.now_ns())
        rows = taking.enrolled(program)
        if rows is None:
            raise UnknownIdError("program", program)
        return rows


def alarm_of_sites(fleet: Fleet, alarms: list[Alarm], grade: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position in `SEVERITIES` of the most urgent alarm that stands over each of N sites, -1 for none.

    An alarm of a group stands over those of its sites that are not fresh, and over those that it names.
    """
    worst = np.full(len(fleet.site_ids), -1, dtype=np.int64)
    for one in alarms:
        if one.returned_ms is not None or one.cleared_ms is not None:
            continue
        named = [one.subject] if one.scope == "site" else list(one.examples)
        rows = [fleet.row_of[SiteId(name)] for name in named if SiteId(name) in fleet.row_of]
        touched = np.array(rows, dtype=np.int64)
        if one.scope == "group" and one.subject in fleet.group_number:
            below = fleet.rows_in(GroupId(one.subject))
            touched = np.concatenate((touched, below[grade[below] != 0]))
        worst[touched] = np.maximum(worst[touched], SEVERITIES.index(one.severity))
    return worst


def in_order(
    rows: NDArray[np.int64], order: SiteOrder, look: Look, alarm: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return rows with what somebody looks for first; what was never measured comes last, ties as registered."""
    if order == "registry":
        return rows
    keys: dict[str, NDArray[np.float64]] = {
        "age": np.where(np.isnan(look.age_s), -np.inf, -look.age_s),  # never heard is the longest silence
        "power": -np.abs(look.battery_kw),
        "charge": look.soc_frac,
        "alarm": -alarm.astype(np.float64),
        "grade": -look.grade.astype(np.float64),
    }
    return rows[np.argsort(keys[order][rows], kind="stable")]
