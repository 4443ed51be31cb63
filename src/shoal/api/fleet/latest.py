"""The latest record of every site of the fleet, asked of the shards at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError
from shoal.domain.telemetry import TELEMETRY, mask_of

ROWS_AT_ONCE: Final = 20_000
TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetLatest:
    """The records of N sites; `ts_ns` is 0 of those of which there is none, what was not measured of soc is NaN.

    Attributes:
        t_ns: The instant; 0 when nobody answered.
        records: Of `shoal.domain.telemetry.TELEMETRY`.
        unanswered: How many sites could not be asked.
    """

    t_ns: int
    records: NDArray[Any]
    unanswered: int


async def latest_of(plant: Plant, rows: NDArray[np.int64] | None = None) -> FleetLatest:
    """Return the latest records of some sites, or of all; those not asked for have none.

    Raises:
        UnavailableError: when a shard does not answer.
    """
    asked = np.arange(len(plant.fleet.site_ids), dtype=np.int64) if rows is None else rows
    records = TELEMETRY.empty(len(plant.fleet.site_ids))
    answered, instants = 0, []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for start in range(0, len(asked), ROWS_AT_ONCE):
                for said in await plant.ask_sites(asked[start : start + ROWS_AT_ONCE]):
                    mine = np.frombuffer(said.rows, dtype=np.int64)
                    records[mine] = np.frombuffer(said.latest, dtype=TELEMETRY.dtype)
                    instants.append(said.t_ns)
                    answered += len(mine)
    except TimeoutError as error:
        raise UnavailableError("the sites", f"they did not answer within {TIMEOUT_S:g} s") from error
    measured = (records["present"].astype(np.int64) & mask_of("soc_frac")) != 0
    records["soc_frac"] = np.where(measured, records["soc_frac"], np.nan)
    return FleetLatest(t_ns=min(instants, default=0), records=records, unanswered=len(asked) - answered)
