"""Learns from a fleet's own history how silent sites behave, and how wide the bands must be to keep their word.

Rates are fitted (`silence_fit`), then the history is replayed through the estimate: the quantiles of its errors, on
blocks of time that the rates were not fitted on, by number and share of silent sites, are what the bands are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import SHARES, SilenceTable, silent_part
from shoal.twin.silence_fit import (
    FEW,
    FLOOR_FRAC,
    FleetLevels,
    Rates,
    ages_ns,
    edges_ns,
    fit_rates,
    fleet_levels,
)
from shoal.twin.silence_history import SilenceHistory, grid_samples, replay

SIZE_EDGES: Final = (3, 8, 20, 50, 120, 300)
SHRINK_SITES: Final = (20.0, 10.0, 20.0, 40.0)
_BLOCKS: Final = 14
_CALIBRATE_EVERY: Final = 7
_RARE_FRAC: Final = 0.25
"""Of the errors of the commonest quantity: one with fewer tells nothing of its quantiles."""
_FEW_SITES: Final = 20
"""A signal of fewer sites than this is not learned where there is something to fall back to."""
_NORMAL: Final = (-1.645, 1.645, 1.282)


def learn_silence(
    samples: Mapping[str, NDArray[Any]],
    *,
    scale: NDArray[np.float64],
    leaf_group: NDArray[np.int64],
    parent_number: NDArray[np.int64],
    level: NDArray[np.int64],
    provenance: str,
    step_ns: int = 5 * NS_PER_MINUTE,
    orders_ns: NDArray[np.int64] | None = None,
) -> SilenceTable:
    """Return the table that the fleet's samples teach; the same samples give the same table.

    Args:
        samples: Columns `site` (0 to N - 1), `ts_ns`, `battery_w`, `solar_w`, `load_w`, `ev_w` and, if it is known,
            `silent`: the sample became known to the plant only when its time had passed.
        scale: Scale of each site, 4 x N, as the kernel takes it.
        leaf_group: Group of each site, N.
        parent_number: Number of each group's parent, G; -1 for a root.
        level: Level of each group, G.
        provenance: What the samples are, for people.
        step_ns: Resolution to learn at; the latest sample of each step counts.
        orders_ns: Starts and ends of the times in which orders held for a good part of the batteries, K x 2.

    Raises:
        InvalidInputError: when the samples span less than two days.
    """
    history = grid_samples(
        samples,
        scale=scale,
        leaf_group=leaf_group,
        parent_number=parent_number,
        level=level,
        step_ns=step_ns,
        orders_ns=orders_ns,
    )
    return learn_from(history, provenance=provenance)


def learn_from(
    history: SilenceHistory, *, provenance: str, fallback: SilenceTable | None = None
) -> SilenceTable:
    """Return the table that a gridded history teaches.

    Quantiles come from errors on blocks of time that the rates in use were not fitted on, both halves in turn.

    Args:
        history: What the sites did.
        provenance: What that is, for people.
        fallback: Stays in force for what the history says too little of: signals that few sites have, batteries under
            orders where there were hardly any.
    """
    times = np.arange(len(history.silent))
    levels = fleet_levels(history)
    odd = (times * _BLOCKS // len(times)) % 2 == 1
    every = times % _CALIBRATE_EVERY == 0
    crossed = [
        (_blank(fit_rates(history, levels, fitted), levels, provenance), every & ~fitted)
        for fitted in (odd, ~odd)
    ]
    errors = _Errors(
        *(
            np.concatenate(column)
            for column in zip(*(_group_errors(history, *pair) for pair in crossed), strict=True)
        )
    )
    together = _correlation(errors.off_w[:, :4] / np.where(errors.sd_w > 0.0, errors.sd_w, np.inf))
    table = _blank(fit_rates(history, levels, np.ones_like(odd)), levels, provenance)
    table, judged = _with_quantiles(replace(table, correlation=together), errors)
    if fallback is None or not np.array_equal(fallback.edges_ns, table.edges_ns):
        return table
    seen = np.isfinite(history.value_w).any(axis=1) & (history.scale > 0.0)
    return _lent(table, fallback, known=np.count_nonzero(seen, axis=1) >= _FEW_SITES, judged=judged)


class _Errors(NamedTuple):
    """How far groups were off, M x 5, their standard errors, M x 4, and how many of their sites were silent, M."""

    off_w: NDArray[np.float64]
    sd_w: NDArray[np.float64]
    silent_sites: NDArray[np.int64]
    sites: NDArray[np.int64]


def _blank(rates: list[Rates], levels: FleetLevels, provenance: str) -> SilenceTable:
    """Return a table with the rates, and the quantiles of a normal error."""
    columns = {name: np.stack([getattr(r, name) for r in rates]) for name in Rates._fields}
    return SilenceTable(
        **columns,
        edges_ns=edges_ns(),
        age_ns=ages_ns(),
        dispersion=levels.usual,
        floor=np.array(FLOOR_FRAC),
        shrink_sites=np.array(SHRINK_SITES),
        correlation=np.eye(4),
        size_sites=np.array([1], dtype=np.int64),
        z_low=np.full((5, 2, 1), _NORMAL[0]),
        z_high=np.full((5, 2, 1), _NORMAL[1]),
        z_firm=np.full((5, 2, 1), _NORMAL[2]),
        provenance=provenance,
    )


def _group_errors(history: SilenceHistory, table: SilenceTable, wanted: NDArray[np.bool_]) -> _Errors:
    """Replay the history through the estimate and return how far each group with silent sites was off."""
    found = []
    for moment in replay(history, table, wanted):
        silent_w, sd_w = silent_part(table, moment.sums, history.parent_number, history.level)
        sums = moment.sums
        use = sums.silent_sites > 0
        off_w = (moment.silent_truth_w - silent_w)[use]
        found.append(_Errors(off_w, sd_w[use, :4], sums.silent_sites[use], sums.sites[use]))
    nothing = np.zeros(0, dtype=np.int64)
    found.append(_Errors(np.zeros((0, 5)), np.zeros((0, 4)), nothing, nothing))
    return _Errors(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _correlation(standardised: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of the signals' errors, 4 x 4; 0 where they never err together."""
    errors = np.where(np.isfinite(standardised), np.clip(standardised, -4.0, 4.0), 0.0)
    product = errors.T @ errors
    size = np.sqrt(np.maximum(np.diag(product), 1e-9))
    correlation: NDArray[np.float64] = product / np.outer(size, size)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _with_quantiles(table: SilenceTable, errors: _Errors) -> tuple[SilenceTable, NDArray[np.bool_]]:
    """Return the table with quantiles of the standardised errors by quantity, share and number of silent sites.

    Beside it stands which of the quantities erred often enough to tell; the others keep those of a normal error.
    """
    grid_w = np.sqrt(np.maximum(np.einsum("ms,st,mt->m", errors.sd_w, table.correlation, errors.sd_w), 0.0))
    sd_w = np.column_stack([errors.sd_w, grid_w])
    alive = (sd_w > 1e-6) & np.isfinite(errors.off_w)
    standardised = np.where(alive, errors.off_w / np.where(alive, sd_w, 1.0), np.nan)
    often = np.count_nonzero(alive, axis=0)
    judged: NDArray[np.bool_] = (often >= FEW) & (often >= _RARE_FRAC * often.max())
    if not judged.any():
        return table, judged
    at = np.searchsorted(SIZE_EDGES, errors.silent_sites, side="right")
    is_most = errors.silent_sites / np.maximum(errors.sites, 1) > sum(SHARES) / 2
    sizes: list[int] = []
    columns: list[NDArray[np.float64]] = []
    for number in range(len(SIZE_EDGES) + 1):
        mine = at == number
        if np.count_nonzero(alive[mine][:, judged], axis=0).min() < FEW:
            continue
        sizes.append(max(1, round(float(np.exp(np.log(errors.silent_sites[mine]).mean())))))
        by_share = []
        for part in (mine & ~is_most, mine & is_most):
            taken = part if np.count_nonzero(alive[part][:, judged], axis=0).min() >= FEW else mine
            found = np.tile(np.array(_NORMAL)[:, None], (1, 5))
            found[:, judged] = np.nanquantile(standardised[taken][:, judged], (0.05, 0.95, 0.90), axis=0)
            by_share.append(found)
        columns.append(np.stack(by_share, axis=-1))
    if not sizes:
        return table, np.zeros(5, dtype=np.bool_)
    low, high, firm = np.stack(columns, axis=-1)
    return replace(table, size_sites=np.array(sizes), z_low=low, z_high=high, z_firm=firm), judged


def _lent(
    table: SilenceTable, lender: SilenceTable, *, known: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> SilenceTable:
    """Return the table with the lender's columns for signals that are not known and quantities that were not judged."""
    names = Rates._fields
    # no bin of ages had samples enough: then nothing was fitted
    known = known & table.spread[:4].any(axis=1)
    # without enough instants under orders, batteries under orders were given the rates of all others
    ordered = known[0] and any(not np.array_equal(getattr(table, n)[0], getattr(table, n)[4]) for n in names)
    own = np.append(known, ordered)[:, None]
    rates = {name: np.where(own, getattr(table, name), getattr(lender, name)) for name in names}
    both = known[:, None] & known[None, :]
    if not judged.any():  # of no number of silent sites are there errors enough
        table = replace(table, size_sites=lender.size_sites)
    told = judged & np.append(known, True)
    # the lender's quantiles at the table's numbers of silent sites
    sizes = np.interp(np.log(table.size_sites), np.log(lender.size_sites), np.arange(len(lender.size_sites)))
    left = np.floor(sizes).astype(np.int64)
    right = np.minimum(left + 1, len(lender.size_sites) - 1)
    quantiles = {}
    for name in ("z_low", "z_high", "z_firm"):
        theirs = getattr(lender, name)
        between = theirs[..., left] + (theirs[..., right] - theirs[..., left]) * (sizes - left)
        quantiles[name] = (
            np.where(told[:, None, None], getattr(table, name), between) if told.any() else between
        )
    return replace(
        table,
        **rates,
        **quantiles,
        dispersion=np.where(known, table.dispersion, lender.dispersion),
        correlation=np.where(both, table.correlation, lender.correlation),
    )
