"""What sites did over a span, as history holds it: a table of a row a site and a column a minute."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.history_store import open_history
from shoal.cli.stories.story import Scene, Verdict
from shoal.domain.interval import NS_PER_MINUTE, Interval

NOISE_W: Final = 100
_NAMES: Final = (
    "battery_w",
    "solar_w",
    "load_w",
    "ev_w",
    "soc_frac",
    "command_version",
    "charge_wh",
    "discharge_wh",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """Samples of N sites at M minutes; each column is N x M, and 0 where there is no sample.

    Attributes:
        t_ns: M instants.
        there: Where there is a sample.
        columns: By name; `surplus_w` is the solar power that loads leave over, `own_load_w` what sun leaves of them, neither
            negative.
    """

    t_ns: NDArray[np.int64]
    there: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def within(self, span: Interval) -> Seen:
        """Return what was seen in a span."""
        inside = (self.t_ns >= span.start_ns) & (self.t_ns < span.end_ns)
        columns = {name: column[:, inside] for name, column in self.columns.items()}
        return Seen(t_ns=self.t_ns[inside], there=self.there[:, inside], columns=columns)

    @property
    def from_grid(self) -> NDArray[np.bool_]:
        """Where a battery takes more than the sun leaves over."""
        taken: NDArray[np.bool_] = (self["battery_w"] > self["surplus_w"] + NOISE_W) & self.there
        return taken

    @property
    def net_wh(self) -> NDArray[np.int64]:
        """What the battery's meter shows, charged less discharged."""
        net_wh: NDArray[np.int64] = self["charge_wh"] - self["discharge_wh"]
        return net_wh


def seen(scene: Scene, span: Interval) -> Seen:
    """Return what the sites of a fleet did in a span, by the minute."""
    t_ns = np.arange(span.start_ns, span.end_ns, NS_PER_MINUTE, dtype=np.int64)
    with closing(open_history(scene.settings)) as history:
        found = history.query(
            f"SELECT site_no, ts_ns, {', '.join(_NAMES)} FROM telemetry WHERE ts_ns >= ? AND ts_ns < ?",
            [span.start_ns, span.end_ns],
            span_ns=(span.start_ns, span.end_ns),
        )
    site = found["site_no"].to_numpy().astype(np.int64)
    minute = (found["ts_ns"].to_numpy().astype(np.int64) - span.start_ns) // NS_PER_MINUTE
    shape = (len(scene.fleet.site_ids), len(t_ns))
    there = np.zeros(shape, dtype=np.bool_)
    there[site, minute] = True
    columns = {}
    for name in _NAMES:
        said = np.nan_to_num(found[name].to_numpy(zero_copy_only=False))
        column = np.zeros(shape, dtype=np.float64 if name == "soc_frac" else np.int64)
        column[site, minute] = said
        columns[name] = column
    others_w = columns["load_w"] + columns["solar_w"] + columns["ev_w"]
    columns["surplus_w"] = _of_two_minutes(np.maximum(-others_w, 0))
    columns["own_load_w"] = _of_two_minutes(np.maximum(others_w, 0))
    return Seen(t_ns=t_ns, there=there, columns=columns)


def _of_two_minutes(power_w: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the most of each minute and the one before: what a device sees now is what it answers next."""
    most_w = power_w.copy()
    most_w[:, 1:] = np.maximum(power_w[:, 1:], power_w[:, :-1])
    return most_w


def reserve_kept(scene: Scene, shown: Seen) -> Verdict:
    """Return whether no battery was discharged below what its owner keeps; what it loses standing still is its own."""
    below = shown["soc_frac"] < scene.fleet.nameplate["reserve_frac"][:, None] - 1e-3
    broken = int((below & (shown["battery_w"] < 0) & shown.there).sum())
    return Verdict(
        name="reserve_kept",
        passed=broken == 0,
        found=f"{broken} samples that discharge below what the owner keeps",
        wanted="0",
    )
