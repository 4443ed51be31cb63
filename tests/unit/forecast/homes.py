"""Homes with a known pattern: for tests of site forecasts."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.protocol import Horizon, Panel
from shoal.forecast.sites import Method, SiteForecaster, SiteSettings
from shoal.forecast.sites_trees import TreeSettings

DAY: Final = 24
HORIZON: Final = Horizon(steps=24, step_ns=NS_PER_HOUR)
FIRST_NS: Final = 1_704_067_200 * 10**9  # Monday 2024-01-01
TREES: Final = TreeSettings(tree_count=40, leaf_count=8, least_rows=40, learning_frac=0.15)


def loads(sites: int, days: int, seed: int = 0) -> NDArray[np.float64]:
    """Return N x H kW: an evening peak of each home's own size and hour, more at weekends, with lognormal noise."""
    draw = np.random.default_rng(seed)
    hour = np.arange(days * DAY) % DAY
    weekend = (np.arange(days * DAY) // DAY % 7) >= 5
    size = np.exp(draw.normal(0.0, 0.5, sites))[:, None]
    peak = 18.0 + draw.normal(0.0, 1.5, sites)[:, None]
    shape = 0.3 + np.exp(-0.5 * ((hour - peak) / 2.0) ** 2) * (1.0 + 0.5 * weekend)
    common = np.repeat(draw.normal(0.0, 0.1, days), DAY)
    noise = draw.normal(0.0, 0.25, (sites, days * DAY))
    return np.asarray(size * shape * np.exp(common + noise))


def panel(value: NDArray[np.float64], **more: Any) -> Panel:
    """Return the panel of homes h0, h1, ..."""
    names = tuple(f"h{row}" for row in range(len(value)))
    return Panel(names=names, first_ns=FIRST_NS, step_ns=NS_PER_HOUR, value=value, **more)


def forecaster(method: Method, quantity: Literal["load", "solar"] = "load", **more: Any) -> SiteForecaster:
    """Return a forecaster with small trees."""
    return SiteForecaster(
        method=method, settings=SiteSettings(quantity=quantity, horizon=HORIZON, trees=TREES, **more)
    )


def suns(sites: int, days: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return N x H kW of generation (at most 0) and N nameplates; clouds are common and change from day to day."""
    draw = np.random.default_rng(seed)
    hour = np.arange(days * DAY) % DAY
    clear = np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0)
    cloud = np.repeat(draw.beta(4.0, 1.5, days), DAY)
    plate = draw.uniform(2.0, 8.0, sites)
    noise = np.clip(1.0 + draw.normal(0.0, 0.1, (sites, days * DAY)), 0.0, 1.2)
    return -plate[:, None] * 0.8 * clear * cloud * noise, plate
