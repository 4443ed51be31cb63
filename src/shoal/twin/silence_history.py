"""A fleet's history as the plant lived it: what each site truly did, and what of it was known at the time.

Devices hand in later what they measured while they were silent, so history knows what the live view did not. Where
it has no such record, silence is pretended over complete data, by areas and by stripes of sites, in a fixed
low-discrepancy order. `replay` gives back each moment as the refresh saw it, with the truth beside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import SIGNALS, FleetTrail, SilenceRates, SilenceSums, add_up, sum_silence

_LEAST_NS: Final = 2 * 1_440 * NS_PER_MINUTE
_PRETENDED_FRAC: Final = 0.12
_R3: Final = (0.8191725134, 0.6710436067, 0.5497004779)
_STRIPES: Final = 37


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceHistory:
    """What N sites truly did at T equidistant instants, and where each site stands in one hierarchy.

    Attributes:
        step_ns: Time between instants.
        value_w: True power, 4 x T x N, watts, load-positive; NaN where it never became known.
        silent: Which samples were not known to the plant at their time, T x N.
        ordered: Whether orders of the plant held for a good part of the batteries, T.
        scale: Scale of each site, 4 x N, as the kernel takes it.
        leaf_group: Group of each site, N.
        parent_number: Number of each group's parent, G; -1 for a root.
        level: Level of each group, G.
    """

    step_ns: int
    value_w: NDArray[np.float32]
    silent: NDArray[np.bool_]
    ordered: NDArray[np.bool_]
    scale: NDArray[np.float64]
    leaf_group: NDArray[np.int64]
    parent_number: NDArray[np.int64]
    level: NDArray[np.int64]


def grid_samples(
    samples: Mapping[str, NDArray[Any]],
    *,
    scale: NDArray[np.float64],
    leaf_group: NDArray[np.int64],
    parent_number: NDArray[np.int64],
    level: NDArray[np.int64],
    step_ns: int,
    orders_ns: NDArray[np.int64] | None = None,
) -> SilenceHistory:
    """Return samples in columns as a history; see `learn_silence` for the arguments.

    Raises:
        InvalidInputError: when the samples span less than two days.
    """
    site, ts_ns = samples["site"].astype(np.int64), samples["ts_ns"].astype(np.int64)
    if not len(ts_ns) or ts_ns.max() - ts_ns.min() < _LEAST_NS - step_ns:
        raise InvalidInputError(field="samples", value=len(ts_ns), fix="give at least two days of samples")
    first = int(ts_ns.min()) // step_ns
    order = np.argsort(ts_ns, kind="stable")
    site, slot = site[order], (ts_ns // step_ns - first)[order]
    steps = int(slot[-1]) + 1
    value_w = np.full((4, steps, scale.shape[1]), np.nan, dtype=np.float32)
    for number, name in enumerate(SIGNALS):
        value_w[number, slot, site] = samples[name][order]
    silent = np.ones(value_w.shape[1:], dtype=np.bool_)
    if "silent" in samples:
        silent[slot, site] = samples["silent"][order]
    else:
        silent[slot, site] = False
        silent |= pretend_silence(steps, leaf_group, step_ns=step_ns)
    ordered = np.zeros(steps, dtype=np.bool_)
    for start_ns, end_ns in [] if orders_ns is None else orders_ns // step_ns - first:
        ordered[max(start_ns, 0) : max(end_ns, 0)] = True
    return SilenceHistory(
        step_ns=step_ns,
        value_w=value_w,
        silent=silent,
        ordered=ordered,
        scale=scale,
        leaf_group=leaf_group,
        parent_number=parent_number,
        level=level,
    )


def pretend_silence(steps: int, leaf_group: NDArray[np.int64], *, step_ns: int) -> NDArray[np.bool_]:
    """Return a pattern of silence, T x N: areas and stripes of sites, from a quarter of an hour to a day."""
    silent = np.zeros((steps, len(leaf_group)), dtype=np.bool_)
    groups = np.unique(leaf_group)
    shortest, longest = np.log(15 * NS_PER_MINUTE / step_ns), np.log(1440 * NS_PER_MINUTE / step_ns)
    stripe = np.arange(len(leaf_group)) % _STRIPES
    number = 0
    while silent.mean() < _PRETENDED_FRAC:
        for _ in range(16):
            number += 1
            where, start, stretch = ((number * pace) % 1.0 for pace in _R3)
            length = max(1, int(np.exp(shortest + (longest - shortest) * stretch)))
            began = int(start * steps)
            by_area = number % 3 != 0
            at = (
                leaf_group == groups[int(where * len(groups))] if by_area else stripe == int(where * _STRIPES)
            )
            silent[began : began + length, at] = True
    return silent


def last_known(silent: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return for each instant and site the instant of its last live value, T x N; -1 before the first."""
    at = np.where(silent, -1, np.arange(len(silent), dtype=np.int32)[:, None]).astype(np.int32)
    last: NDArray[np.int32] = np.maximum.accumulate(at, axis=0)
    return last


class Treatment(Protocol):
    """A way to treat silent sites: a `SilenceTable`, or something to compare it with."""

    def effective(self, trail: FleetTrail | None = None, *, ordered: bool = False) -> SilenceRates:
        """Return the rates of one refresh."""
        ...


class Moment(NamedTuple):
    """One instant of a replayed history: the sums of its groups, and what their silent sites truly did, G x 5."""

    step_number: int
    sums: SilenceSums
    silent_truth_w: NDArray[np.float64]


def replay(history: SilenceHistory, treatment: Treatment, wanted: NDArray[np.bool_]) -> Iterator[Moment]:
    """Give the wanted instants (T) at which a site was silent as the plant saw them, with the truth beside."""
    last = last_known(history.silent)
    trail = FleetTrail()
    groups = len(history.parent_number)
    sites = np.arange(len(history.leaf_group))
    for t in range(len(wanted)):
        truth = history.value_w[:, t, :].astype(np.float64)
        fresh = ~history.silent[t]
        # whose truth never became known cannot be judged: at this instant it is not there
        present = np.where(np.isfinite(truth), history.scale, 0.0)
        known = fresh & (present > 0.0)
        taken = np.where(known, truth, 0.0)
        scale = np.where(known, present, 0.0)
        trail.push(
            (t + 1) * history.step_ns,
            fresh_w=taken.sum(axis=1),
            fresh_scale=scale.sum(axis=1),
            square=(taken**2).sum(axis=1),
            scale_square=(scale**2).sum(axis=1),
        )
        if not wanted[t] or fresh.all():
            continue
        since = last[t]
        value = np.nan_to_num(history.value_w[:, np.maximum(since, 0), sites].astype(np.float64))
        never = since < 0
        sums = sum_silence(
            treatment.effective(trail, ordered=bool(history.ordered[t])),
            value_w=np.where(never, 0.0, value),
            age_ns=np.broadcast_to(
                np.where(never, -1, (t - since.astype(np.int64)) * history.step_ns), value.shape
            ),
            fresh=fresh,
            scale=present,
            leaf_group=history.leaf_group,
            parent_number=history.parent_number,
            level=history.level,
        )
        of_silent = np.where(~fresh & (present > 0.0), truth, 0.0)
        leaves = np.stack(
            [np.bincount(history.leaf_group, row, minlength=groups).astype(np.float64) for row in of_silent],
            axis=1,
        )
        totals = add_up(leaves, history.parent_number, history.level)
        yield Moment(t, sums, np.concatenate([totals, totals.sum(axis=1, keepdims=True)], axis=1))
