"""A fleet's history as a panel: what is known of each group of devices at each step, and the four shares it makes."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.protocol import Horizon, Panel

Floats: TypeAlias = NDArray[np.float64]

COLUMNS: Final = (
    *("installed_count", "capacity_kw", "reporting_count", "ready_count", "headroom_kw"),
    *("commanded_count", "commanded_kw", "answered_kw"),
)
"""What is known of a group at a step: of the `installed_count` devices with `capacity_kw` in the direction in question,
how many report, how many of these are plugged in and willing, what power these could still move, and, where a command
went out, to how many, for how much, and how much of it came."""
STAGES: Final = ("reporting", "ready", "headroom", "response")


def fleet_panel(
    groups: tuple[str, ...], *, first_ns: int, step_ns: int, columns: dict[str, Floats], zone: str = "UTC"
) -> Panel:
    """Return the panel of a fleet's history: a row ``<group>/<column>`` for each group and column.

    Args:
        groups: G names without a slash.
        first_ns: Start of the first step.
        step_ns: Length of a step.
        columns: G x H numbers for each of `COLUMNS`, NaN where unknown; commands are absent at most steps.
        zone: IANA name of the local clock.

    Raises:
        InvalidInputError: when a column is missing or a shape does not fit.
    """
    for name in COLUMNS:
        if name not in columns or columns[name].shape != columns[COLUMNS[0]].shape:
            raise InvalidInputError(field=name, value=None, fix="give every column, groups x steps")
    names = tuple(f"{group}/{column}" for column in COLUMNS for group in groups)
    value = np.concatenate([columns[column] for column in COLUMNS])
    return Panel(names=names, first_ns=first_ns, step_ns=step_ns, value=value, zone=zone)


def check_fleet(panel: Panel, horizon: Horizon) -> None:
    """Refuse a panel that is not of a fleet, or has another step than the horizon.

    Raises:
        InvalidInputError: when it is so.
    """
    ends = [name.rpartition("/")[2] for name in panel.names]
    groups = len(panel.names) // len(COLUMNS)
    if not groups or ends != [column for column in COLUMNS for _ in range(groups)]:
        raise InvalidInputError(field="names", value=panel.names[:3], fix="build it with fleet_panel")
    if panel.step_ns != horizon.step_ns:
        raise InvalidInputError(
            field="step_ns", value=panel.step_ns, fix=f"give steps of {horizon.step_ns} ns"
        )


def column_of(panel: Panel, name: str) -> Floats:
    """Return one column of a fleet's history, G x H."""
    groups = len(panel.names) // len(COLUMNS)
    first = COLUMNS.index(name) * groups
    return panel.value[first : first + groups]


def stage_shares(panel: Panel) -> list[tuple[Floats, Floats]]:
    """Return, for each stage, G x H shares (NaN where unknown) and of how many devices each is the share."""
    installed, reporting = column_of(panel, "installed_count"), column_of(panel, "reporting_count")
    ready, capacity = column_of(panel, "ready_count"), column_of(panel, "capacity_kw")
    ready_kw = capacity * _divided(ready, installed)
    pairs = (
        (_divided(reporting, installed), installed),
        (_divided(ready, reporting), reporting),
        (_divided(column_of(panel, "headroom_kw"), ready_kw), ready),
        (
            _divided(column_of(panel, "answered_kw"), column_of(panel, "commanded_kw")),
            column_of(panel, "commanded_count"),
        ),
    )
    return [(np.clip(share, 0.0, 1.0), asked) for share, asked in pairs]


def _divided(upper: Floats, lower: Floats) -> Floats:
    known = np.nan_to_num(lower) > 0.0
    return np.asarray(np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=known))
