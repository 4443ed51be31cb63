"""How large a site will be, before it has any data: from its nameplate and class, as other sites were.

A site with a nameplate is expected to move a learned share of it; one without, the typical mean of its class, or of
all. Medians of logarithms, so that one dead meter says little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.forecast.protocol import Panel

Floats: TypeAlias = NDArray[np.float64]

_LEAST_KW: Final = 1e-6
_SHRINK_SITES: Final = 3.0
"""A class is believed as much as all sites together when it has this many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizePrior:
    """What sites were like.

    Attributes:
        typical_kw: C + 1 typical means of a class, the last one that of all sites.
        of_nameplate_frac: C + 1 typical shares of the nameplate, likewise.
    """

    typical_kw: Floats
    of_nameplate_frac: Floats


def learn_prior(value_kw: Floats, panel: Panel) -> SizePrior:
    """Return the prior that the sites of a panel teach; `value_kw` holds its values as magnitudes."""
    present = ~np.isnan(value_kw)
    count = present.sum(axis=1)
    total = np.where(present, value_kw, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    level = np.log(np.maximum(np.abs(mean), _LEAST_KW))
    level[np.isnan(mean)] = np.nan
    plate = _nameplate(panel)
    share = level - np.log(np.maximum(plate, _LEAST_KW))
    classes = panel.class_index
    return SizePrior(typical_kw=_by_class(level, classes), of_nameplate_frac=_by_class(share, classes))


def expected_kw(prior: SizePrior, panel: Panel) -> Floats:
    """Return the N mean magnitudes that the sites of a panel are expected to have."""
    last = len(prior.typical_kw) - 1
    classes = np.full(len(panel.names), last)
    if panel.class_index is not None:
        known = (panel.class_index >= 0) & (panel.class_index < last)
        classes = np.where(known, panel.class_index, last)
    plate = _nameplate(panel)
    by_plate = plate * prior.of_nameplate_frac[classes]
    expected = np.where(np.isnan(by_plate), prior.typical_kw[classes], by_plate)
    return np.asarray(np.maximum(expected, _LEAST_KW))


def _nameplate(panel: Panel) -> Floats:
    if panel.nameplate_kw is None:
        return np.full(len(panel.names), np.nan)
    return np.where(panel.nameplate_kw > 0.0, panel.nameplate_kw, np.nan)


def _by_class(level: Floats, class_index: NDArray[np.int64] | None) -> Floats:
    """Return the typical value of each class, drawn to that of all sites, which comes last."""
    known = ~np.isnan(level)
    classes = 0 if class_index is None else int(class_index.max(initial=-1)) + 1
    if not known.any():
        return np.full(classes + 1, np.nan)
    overall = float(np.median(level[known]))
    found = []
    for number in range(classes):
        assert class_index is not None
        own = level[known & (class_index == number)]
        weight = len(own) / (len(own) + _SHRINK_SITES)
        found.append(overall if not len(own) else weight * float(np.median(own)) + (1 - weight) * overall)
    return np.asarray(np.exp(np.array([*found, overall])))
