"""Meters of some sites by interval, from history: a register is read at each boundary, by the first sample that follows it.

A reading counts when it was taken within a tenth of an interval (at least a minute, at most five) of its boundary; between
boundaries without a reading nothing is filled in. Readings under suspicion are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S, Interval
from shoal.domain.telemetry import SUSPECT

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from shoal.settle.baseline_calendar import MeterData
    from shoal.store.history import History

_LEAST_LATE_NS: Final = NS_PER_MINUTE
_MOST_LATE_NS: Final = 5 * NS_PER_MINUTE


def read_registers(
    history: History, rows: NDArray[np.int64], span: Interval, *, step_s: int, names: tuple[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return two registers of sites at the boundaries of intervals, and where both were read.

    Args:
        history: The history.
        rows: N numbers of sites.
        span: Begins and ends on multiples of the step.
        step_s: Length of an interval.
        names: Of the registers, e.g. ``import_wh`` and ``export_wh``.

    Returns:
        Two N x (K + 1) arrays of Wh, and one of truth values.
    """
    step_ns = step_s * NS_PER_S
    late_ns = min(max(step_ns // 10, _LEAST_LATE_NS), _MOST_LATE_NS)
    count = (span.end_ns - span.start_ns) // step_ns + 1
    one, other = names
    found = history.query(
        f"SELECT site_no, (ts_ns - {span.start_ns}) // {step_ns} AS place, "
        f"arg_min({one}, ts_ns) AS one_wh, arg_min({other}, ts_ns) AS other_wh "
        f"FROM telemetry WHERE ts_ns >= {span.start_ns} AND ts_ns < {span.end_ns + late_ns} "
        f"AND (ts_ns - {span.start_ns}) % {step_ns} < {late_ns} AND {one} IS NOT NULL AND {other} IS NOT NULL "
        f"AND flags & {int(SUSPECT)} = 0 GROUP BY site_no, place",
        span_ns=(span.start_ns, span.end_ns + late_ns),
    )
    columns: dict[str, NDArray[Any]] = {
        name: found[name].to_numpy().astype(np.int64) for name in ("site_no", "place", "one_wh", "other_wh")
    }
    order = np.argsort(rows)
    at = order[np.minimum(np.searchsorted(rows, columns["site_no"], sorter=order), len(rows) - 1)]
    asked = (rows[at] == columns["site_no"]) & (columns["place"] < count)
    site, place = at[asked], columns["place"][asked]
    shape = (len(rows), count)
    one_wh, other_wh = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    known = np.zeros(shape, dtype=np.bool_)
    one_wh[site, place], other_wh[site, place] = columns["one_wh"][asked], columns["other_wh"][asked]
    known[site, place] = True
    return one_wh, other_wh, known


def read_meters(
    history: History, rows: NDArray[np.int64], span: Interval, *, step_s: int, zone: ZoneInfo
) -> MeterData:
    """Return the net energy at the connection points of some sites, import positive, by interval."""
    from shoal.settle.baseline_calendar import MeterCalendar, MeterData

    import_wh, export_wh, known = read_registers(
        history, rows, span, step_s=step_s, names=("import_wh", "export_wh")
    )
    energy_wh = np.diff(import_wh, axis=1) - np.diff(export_wh, axis=1)
    both = known[:, :-1] & known[:, 1:]
    calendar = MeterCalendar.of(start_ns=span.start_ns, step_s=step_s, count=energy_wh.shape[1], zone=zone)
    return MeterData(energy_wh=np.where(both, energy_wh, 0), known=both, calendar=calendar)
