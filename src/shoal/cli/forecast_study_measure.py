"""What the study measures: walks through days never seen, first days of new homes, and what it all costs."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.cli.forecast_study_homes import HomeSet, mixed_homes
from shoal.domain.errors import InvalidInputError
from shoal.forecast.protocol import LEVELS, Horizon, Model, Panel, encode_model, local_clock
from shoal.forecast.sites import METHODS, Method, SiteForecaster, SiteSettings
from shoal.forecast.sites_adapt import LEAST_SPREAD_FRAC
from shoal.forecast.sites_features import RECENT_DAYS, WINDOW_DAYS
from shoal.forecast.sites_score import SiteScores
from shoal.forecast.sites_trees import TreeSettings

Floats: TypeAlias = NDArray[np.float64]

TESTED_DAYS: Final = 120
REFIT_DAYS: Final = 30
AGES_DAYS: Final = (0, 1, 3, 7, 28)
COLD_ORIGINS: Final = 6
COST_DAYS: Final = 90
COST_CALIBRATION_DAYS: Final = 14
_LEVEL: Final = np.array(LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured: less for a smoke run."""

    tested_days: int = TESTED_DAYS
    refit_days: int = REFIT_DAYS
    cold_origins: int = COLD_ORIGINS
    trees: TreeSettings = field(default_factory=TreeSettings)


def settings_of(home: HomeSet, panel: Panel, effort: Effort) -> SiteSettings:
    """Return the settings: the 24 hours from local midnight, made at midnight."""
    return SiteSettings(
        quantity=home.quantity,
        horizon=Horizon(steps=panel.steps_per_day, step_ns=panel.step_ns),
        inputs=tuple(panel.inputs),
        trees=effort.trees,
    )


def accuracy(home: HomeSet, effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield a row a method: scores over the last days, each forecast from the days before it."""
    for method in METHODS:
        yield {"set": home.name, "method": method} | _walked(home, home.panel, method, effort)
    if home.informed is not None:  # what others teach lacks that input: the homes teach themselves
        walked = _walked(replace(home, pool=None), home.informed, "adapted", effort)
        yield {"set": home.name, "method": "adapted, told a forecast"} | walked


def _walked(home: HomeSet, panel: Panel, method: Method, effort: Effort) -> dict[str, Any]:
    who = SiteForecaster(method=method, settings=settings_of(home, panel, effort))
    horizon = who.settings.horizon
    origins = _midnights(panel, horizon)[-effort.tested_days :]
    pool = home.pool if method in ("global", "adapted") else None
    scores = SiteScores.none(len(panel.names), len(LEVELS))
    model: Model | None = None
    fit_s = told_s = adapt_s = 0.0
    fits = 0
    for day, origin in enumerate(origins.tolist()):
        known = panel.until(origin, horizon)
        if model is None or (day % effort.refit_days == 0 and pool is None):
            started = time.process_time()
            model = who.fit(known if pool is None else pool, seed=1)
            fit_s += time.process_time() - started
            fits += 1
        recent = known.last(
            (RECENT_DAYS + 2 + (who.settings.calibration_days if day == 0 else 0)) * _slots(panel)
        )
        started = time.process_time()
        model = who.adapt(model, recent)
        adapt_s += time.process_time() - started
        started = time.process_time()
        told = who.predict(model, known, horizon)
        told_s += time.process_time() - started
        observed = panel.value[:, origin : origin + horizon.steps]
        scores = scores.added(observed, told.quantile, _LEVEL, least_width=_least_width(known))
    site_days = max(len(origins) * len(panel.names), 1)
    apart = np.abs(scores.site_coverage()[:, :2] - np.array([0.9, 0.8]))
    return {
        **scores.as_dict(_LEVEL),
        "homes_within_2_points": float(np.mean(apart <= 0.02)),
        "homes": len(panel.names),
        "days": len(origins),
        "fit_s": fit_s / max(fits, 1),
        "predict_ms_per_site_day": 1e3 * told_s / site_days,
        "adapt_ms_per_site_day": 1e3 * adapt_s / site_days,
    }


def cold_start(home: HomeSet, effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield a row a method and age: the scaled error of homes that are some days old, half taught by the other half.

    The truth is the same for every age; a method that can say nothing without data says None.
    """
    panel = home.panel
    settings = settings_of(home, panel, effort)
    horizon, slots = settings.horizon, panel.steps_per_day
    origins = _midnights(panel, horizon)[-effort.tested_days :]
    picked = origins[np.linspace(0, len(origins) - 1, effort.cold_origins).astype(int)]
    sums: dict[tuple[str, str], list[Floats]] = {}
    for half in (0, 1):
        new = np.arange(len(panel.names)) % 2 == half
        strangers, known = panel.rows(np.flatnonzero(new)), panel.rows(np.flatnonzero(~new))
        taught = _taught(settings, known, strangers, int(origins[0]))
        for origin in picked.tolist():
            outcome = strangers.value[:, origin : origin + horizon.steps]
            for age in (*AGES_DAYS, None):
                young = _young(strangers, origin, age, horizon)
                for method in METHODS:
                    told = _first_days(method, settings, taught.get((method, age is None)), young, age, slots)
                    if told is None:
                        continue
                    known_at = ~np.isnan(outcome)
                    error = np.where(known_at, np.abs(outcome - told), 0.0).sum(axis=1)
                    size = np.where(known_at, np.abs(outcome), 0.0).sum(axis=1)
                    sums.setdefault((method, _age(age)), []).append(np.array([error.sum(), size.sum()]))
    for method in METHODS:
        row: dict[str, Any] = {"set": home.name, "method": method}
        for age in (*AGES_DAYS, None):
            found = sums.get((method, _age(age)))
            total = None if found is None else np.sum(found, axis=0)
            row[_age(age)] = None if total is None else float(total[0] / total[1])
        yield row


def _taught(
    settings: SiteSettings, known: Panel, strangers: Panel, origin: int
) -> dict[tuple[Method, bool], Model]:
    """Return the models that stand before the first day: those that others taught, and those of warm homes."""
    before = known.until(origin, settings.horizon)
    own = strangers.until(origin, settings.horizon)
    columns: dict[str, Any] = {"names": known.names + strangers.names}
    columns["value"] = np.concatenate((before.value, own.value))
    for name in ("nameplate_kw", "class_index", "place_index"):
        if (column := getattr(known, name)) is not None:
            columns[name] = np.concatenate((column, getattr(strangers, name)))
    everyone = replace(before, **columns)
    panels: dict[tuple[Method, bool], Panel] = {
        ("global", False): before,
        ("adapted", False): before,
        ("naive", True): own,
        ("local", True): own,
        ("global", True): everyone,
        ("adapted", True): everyone,
    }
    return {
        (method, warm): SiteForecaster(method=method, settings=settings).fit(panel, seed=1)
        for (method, warm), panel in panels.items()
    }


def _first_days(
    method: Method, settings: SiteSettings, model: Model | None, young: Panel, age: int | None, slots: int
) -> Floats | None:
    """Return the medians for young homes: by a model that others taught, or by one fitted on their own few days."""
    who = SiteForecaster(method=method, settings=settings)
    if model is None:
        own = young if age is None else young.last(max(age, 1) * slots)
        try:
            model = who.fit(own, seed=1)
        except InvalidInputError:  # nothing is known of them
            return None
    elif age is None or age > 1:
        model = who.adapt(model, young.last((RECENT_DAYS + (WINDOW_DAYS if age is None else age)) * slots))
    told = who.predict(model, young, settings.horizon)
    return told.quantile[:, :, len(LEVELS) // 2]


def _young(panel: Panel, origin: int, age: int | None, horizon: Horizon) -> Panel:
    """Return the panel as known at an origin by a plant that the homes joined some days ago."""
    known = panel.until(origin, horizon)
    if age is None:
        return known
    value = known.value.copy()
    value[:, : origin - age * panel.steps_per_day] = np.nan
    return replace(known, value=value)


def _age(age: int | None) -> str:
    return "warm" if age is None else f"{age} d"


def cost(panel: Panel, sites: int, effort: Effort) -> Iterator[dict[str, Any]]:
    """Yield a row a method: CPU seconds on one thread, and memory, for a number of mixed half-hourly homes."""
    mixed = mixed_homes(panel, sites, COST_DAYS + 1, seed=sites)
    slots = mixed.steps_per_day
    horizon = Horizon(steps=slots, step_ns=mixed.step_ns)
    past, known = mixed.until(COST_DAYS * slots, horizon), mixed.last((RECENT_DAYS + 2) * slots)
    settings = SiteSettings(
        quantity="load", horizon=horizon, calibration_days=COST_CALIBRATION_DAYS, trees=effort.trees
    )
    for method in METHODS:
        who = SiteForecaster(method=method, settings=settings)
        tracemalloc.start()
        try:
            started = time.process_time()
            model = who.fit(past, seed=1)
            fit_s = time.process_time() - started
            _, fit_bytes = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            started = time.process_time()
            model = who.adapt(model, known)
            adapt_s = time.process_time() - started
            started = time.process_time()
            who.predict(model, known, horizon)
            told_s = time.process_time() - started
            _, told_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        yield {
            "sites": sites,
            "method": method,
            "fit_s": fit_s,
            "fit_ms_per_site": 1e3 * fit_s / sites,
            "adapt_ms_per_site_day": 1e3 * adapt_s / sites,
            "predict_ms_per_site_day": 1e3 * told_s / sites,
            "history_mb": past.value.nbytes / 1e6,
            "fit_peak_mb": fit_bytes / 1e6,
            "predict_peak_mb": told_bytes / 1e6,
            "model_mb": len(encode_model(model)) / 1e6,
        }


def _midnights(panel: Panel, horizon: Horizon) -> NDArray[np.int64]:
    """Return the steps at local midnight whose whole horizon came true."""
    slot = local_clock(panel.first_ns, panel.step_ns, panel.steps, panel.zone).slot_index
    at = np.flatnonzero(slot == 0)
    return np.asarray(at[at + horizon.reach_steps <= panel.steps])


def _least_width(known: Panel) -> Floats:
    past = np.abs(known.value[:, -WINDOW_DAYS * known.steps_per_day :])
    there = ~np.isnan(past)
    total = np.where(there, past, 0.0).sum(axis=1)
    return np.asarray(LEAST_SPREAD_FRAC * total / np.maximum(there.sum(axis=1), 1))


def _slots(panel: Panel) -> int:
    return panel.steps_per_day
