"""Roll-ups: what a site did in five minutes or an hour, made from the samples of one hour.

A power holds from its sample until the next one, for a limited time at most; the mean weighs each by how long it held. Samples
under suspicion are counted and left out: the time that they would have held is not covered. Registers are kept as the first and
last reading, so energy stays exact. The same samples give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.kernel import kernel
from shoal.domain.telemetry import SUSPECT
from shoal.store.history_schema import NS_PER_MS, SOC_STEPS

POWERS: Final = ("battery_w", "solar_w", "load_w", "ev_w")
REGISTER_NAMES: Final = ("charge_wh", "discharge_wh", "import_wh", "export_wh")
NEEDED: Final = ("site_no", "ts_ms", *POWERS, "soc_e4", *REGISTER_NAMES, "flags")
_SOC: Final = ("soc_min_e4", "soc_max_e4", "soc_last_e4")
_READINGS: Final = tuple(
    f"{name.removesuffix('_wh')}_{which}_wh" for name in REGISTER_NAMES for which in ("first", "last")
)

ROLLUP_SCHEMA: Final = pa.schema(
    [
        pa.field("site_no", pa.int32(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("samples", pa.int32(), nullable=False),
        pa.field("suspect_samples", pa.int32(), nullable=False),
        pa.field("coverage_frac", pa.float32(), nullable=False),
        *(pa.field(name, pa.float32()) for name in POWERS),
        *(pa.field(name, pa.int16()) for name in _SOC),
        *(pa.field(name, pa.int64()) for name in _READINGS),
    ]
)
"""A roll-up as it is kept; sorted by hour, site and start."""
ROLLUP_COLUMNS: Final = {
    "site_no": "INTEGER",
    "start_ns": "BIGINT",
    "samples": "INTEGER",
    "suspect_samples": "INTEGER",
    "coverage_frac": "FLOAT",
    **dict.fromkeys(POWERS, "FLOAT"),
    **dict.fromkeys(("soc_min_frac", "soc_max_frac", "soc_last_frac"), "FLOAT"),
    **dict.fromkeys(_READINGS, "BIGINT"),
    "day": "VARCHAR",
}
"""The columns of the SQL views of roll-ups and their types."""
ROLLUP_SELECT: Final = ", ".join(
    f"({name.removesuffix('frac')}e4 / {SOC_STEPS}.0)::FLOAT AS {name}" if name.startswith("soc_") else name
    for name in ROLLUP_COLUMNS
)


def roll_up(table: pa.Table, *, hour_ns: int, every_ns: int, hold_ns: int) -> pa.Table:
    """Return the roll-up of one hour's samples of some sites.

    Args:
        table: Columns `NEEDED` of `SCHEMA`, sorted by site and time, whole sites only.
        hour_ns: Begin of the hour.
        every_ns: Length of an interval, a divisor of the hour.
        hold_ns: How long a power holds at most when no sample follows.
    """
    site_no = table["site_no"].to_numpy()
    starts = np.flatnonzero(np.diff(site_no, prepend=-1))
    buckets = NS_PER_HOUR // every_ns
    rows = len(starts) * buckets
    power_sum = np.zeros((len(POWERS), rows))
    power_ms = np.zeros((len(POWERS), rows), dtype=np.int64)
    counts = np.zeros((3, rows), dtype=np.int64)
    soc = np.zeros((4, rows), dtype=np.int16)
    readings = np.zeros((2 * len(REGISTER_NAMES), rows), dtype=np.int64)
    read = np.zeros((len(REGISTER_NAMES), rows), dtype=np.bool_)
    power, power_here = _columns(table, POWERS, np.int32)
    register, register_here = _columns(table, REGISTER_NAMES, np.int64)
    level, level_here = _columns(table, ("soc_e4",), np.int16)
    _roll_up(
        np.append(starts, len(site_no)),
        table["ts_ms"].to_numpy() - hour_ns // NS_PER_MS,
        (table["flags"].to_numpy() & np.uint16(SUSPECT)) != 0,
        power,
        power_here,
        register,
        register_here,
        level[0],
        level_here[0],
        every_ns // NS_PER_MS,
        hold_ns // NS_PER_MS,
        counts,
        power_sum,
        power_ms,
        soc,
        readings,
        read,
    )
    there = np.flatnonzero(counts.any(axis=0))
    site, bucket = np.divmod(there, buckets)
    with np.errstate(invalid="ignore"):
        mean = (power_sum[:, there] / power_ms[:, there]).astype(np.float32)
    arrays: dict[str, pa.Array] = {
        "site_no": pa.array(site_no[starts][site]),
        "start_ns": pa.array(hour_ns + bucket * every_ns),
        "samples": pa.array(counts[0, there].astype(np.int32)),
        "suspect_samples": pa.array(counts[1, there].astype(np.int32)),
        "coverage_frac": pa.array((counts[2, there] * NS_PER_MS / every_ns).astype(np.float32)),
    }
    for k, name in enumerate(POWERS):
        arrays[name] = pa.array(mean[k], mask=power_ms[k, there] == 0)
    for k, name in enumerate(_SOC):
        arrays[name] = pa.array(soc[k, there], mask=soc[3, there] == 0)
    for k, name in enumerate(_READINGS):
        arrays[name] = pa.array(readings[k, there], mask=~read[k // 2, there])
    return pa.Table.from_arrays([arrays[name] for name in ROLLUP_SCHEMA.names], schema=ROLLUP_SCHEMA)


def _columns(table: pa.Table, names: Iterable[str], dtype: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return some columns as arrays, and where they were measured."""
    values, here = [], []
    for name in names:
        column = table[name]
        here.append(np.ones(len(column), np.bool_) if not column.null_count else column.is_valid().to_numpy())
        values.append(column.fill_null(0).to_numpy().astype(dtype, copy=False))
    return np.stack(values), np.stack(here)


@kernel
def _roll_up(
    cuts: NDArray[np.int64],
    at_ms: NDArray[np.int64],
    suspect: NDArray[np.bool_],
    power: NDArray[np.int32],
    power_here: NDArray[np.bool_],
    register: NDArray[np.int64],
    register_here: NDArray[np.bool_],
    level: NDArray[np.int16],
    level_here: NDArray[np.bool_],
    every_ms: int,
    hold_ms: int,
    counts: NDArray[np.int64],
    power_sum: NDArray[np.float64],
    power_ms: NDArray[np.int64],
    soc: NDArray[np.int16],
    readings: NDArray[np.int64],
    read: NDArray[np.bool_],
) -> None:
    buckets = 3_600_000 // every_ms
    for s in range(len(cuts) - 1):
        first = s * buckets
        for i in range(cuts[s], cuts[s + 1]):
            row = first + at_ms[i] // every_ms
            counts[0, row] += 1
            if suspect[i]:
                counts[1, row] += 1
                continue
            if level_here[i]:
                if soc[3, row] == 0 or level[i] < soc[0, row]:
                    soc[0, row] = level[i]
                if soc[3, row] == 0 or level[i] > soc[1, row]:
                    soc[1, row] = level[i]
                soc[2, row] = level[i]
                soc[3, row] = 1
            for k in range(register.shape[0]):
                if register_here[k, i]:
                    if not read[k, row]:
                        readings[2 * k, row] = register[k, i]
                        read[k, row] = True
                    readings[2 * k + 1, row] = register[k, i]
            until_ms = min(at_ms[i] + hold_ms, 3_600_000)
            if i + 1 < cuts[s + 1]:
                until_ms = min(until_ms, at_ms[i + 1])
            from_ms = at_ms[i]
            while from_ms < until_ms:
                bucket = from_ms // every_ms
                to_ms = min(until_ms, (bucket + 1) * every_ms)
                counts[2, first + bucket] += to_ms - from_ms
                for k in range(power.shape[0]):
                    if power_here[k, i]:
                        power_sum[k, first + bucket] += float(power[k, i]) * (to_ms - from_ms)
                        power_ms[k, first + bucket] += to_ms - from_ms
                from_ms = to_ms
