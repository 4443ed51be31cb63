"""Scores of many sites, added up day by day: how far off, in units of a site's own mean, and how honest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteScores:
    """Sums over the steps scored so far, for each of N sites.

    Attributes:
        count: N steps with an outcome.
        size_total: N sums of outcomes' magnitudes.
        error_total: N sums of the median's absolute errors.
        pinball_total: N sums of the mean pinball loss over the levels.
        inside_count: N x P outcomes inside each of the P intervals, the widest first.
        spread_count: N steps whose widest interval was wide enough to be judged; only these count for `inside_count`.
    """

    count: Floats
    size_total: Floats
    error_total: Floats
    pinball_total: Floats
    inside_count: Floats
    spread_count: Floats

    @classmethod
    def none(cls, sites: int, level_count: int) -> SiteScores:
        """Return the scores before the first step."""
        zero = np.zeros(sites)
        return cls(
            count=zero,
            size_total=zero,
            error_total=zero,
            pinball_total=zero,
            inside_count=np.zeros((sites, level_count // 2)),
            spread_count=zero,
        )

    def added(self, observed: Floats, quantile: Floats, level: Floats, *, least_width: Floats) -> SiteScores:
        """Return the scores with N x T outcomes (NaN: not scored) against N x T x Q quantiles.

        An interval counts for coverage when the widest one is wider than the site's `least_width`: at night nothing is to be
        said about the sun, and saying so right is no merit.
        """
        known = ~np.isnan(observed)
        middle = len(level) // 2
        gap = np.where(known[:, :, None], observed[:, :, None] - quantile, 0.0)
        pinball = np.maximum(level * gap, (level - 1.0) * gap).mean(axis=2)
        spread = known & (quantile[:, :, -1] - quantile[:, :, 0] > least_width[:, None])
        inside = np.stack(
            [
                (spread & (quantile[:, :, at] <= observed) & (observed <= quantile[:, :, -1 - at])).sum(
                    axis=1
                )
                for at in range(middle)
            ],
            axis=1,
        )
        return SiteScores(
            count=self.count + known.sum(axis=1),
            size_total=self.size_total + np.where(known, np.abs(observed), 0.0).sum(axis=1),
            error_total=self.error_total + np.abs(gap[:, :, middle]).sum(axis=1),
            pinball_total=self.pinball_total + pinball.sum(axis=1),
            inside_count=self.inside_count + inside,
            spread_count=self.spread_count + spread.sum(axis=1),
        )

    def mae(self) -> float:
        """Return the mean absolute error of the median over all steps, in the unit of the outcomes."""
        return float(self.error_total.sum() / max(self.count.sum(), 1.0))

    def scaled_mae(self) -> float:
        """Return the mean over the sites of their absolute error in units of their mean magnitude."""
        usable = self.size_total > 0.0
        return float(np.mean(self.error_total[usable] / self.size_total[usable])) if usable.any() else 0.0

    def scaled_pinball(self) -> float:
        """Return the mean over the sites of their pinball loss in units of their mean magnitude."""
        usable = self.size_total > 0.0
        return float(np.mean(self.pinball_total[usable] / self.size_total[usable])) if usable.any() else 0.0

    def coverage(self) -> Floats:
        """Return the share of outcomes inside each of the P intervals, over all sites."""
        return np.asarray(self.inside_count.sum(axis=0) / max(float(self.spread_count.sum()), 1.0))

    def site_coverage(self) -> Floats:
        """Return N x P shares of outcomes inside each interval, NaN where a site has none scored."""
        count = np.where(self.spread_count > 0.0, self.spread_count, np.nan)
        return np.asarray(self.inside_count / count[:, None])

    def as_dict(self, level: Floats) -> dict[str, float]:
        """Return the scores over all sites by name, ``coverage_80`` that of the 80 % interval; none when nothing was scored."""
        if not self.count.any():
            return {}
        found = {"mae": self.mae(), "scaled_mae": self.scaled_mae(), "scaled_pinball": self.scaled_pinball()}
        for at, share in enumerate(self.coverage().tolist()):
            found[f"coverage_{round(100 * (level[-1 - at] - level[at]))}"] = share
        return found
