"""Forecasts of the load or the solar generation of N sites at once, by four methods behind one protocol.

`naive` repeats last week; `local` is a model a site; `global` is one model for all; `adapted` mixes the last two site by
site as their losses tell. All four are calibrated alike on days that did not teach them, and go on learning that from day
to day by `adapt`. A site that the model never saw is forecast by its size and class until it has data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.protocol import (
    LEVELS,
    Forecast,
    Horizon,
    Model,
    Panel,
    check_fits,
    packed,
    sealed,
    sorted_levels,
)
from shoal.forecast.sites_adapt import LEAST_SPREAD_FRAC, Experts, fresh_state, observe
from shoal.forecast.sites_features import FEATURES, RECENT_DAYS, WINDOW_DAYS, Grid, first_known, grid_of
from shoal.forecast.sites_global import ask_global, fit_global
from shoal.forecast.sites_local import BLOCKS, LocalSettings, ask_local, fit_local
from shoal.forecast.sites_mind import Mind, mind_of, replace_state
from shoal.forecast.sites_prior import expected_kw, learn_prior
from shoal.forecast.sites_score import SiteScores
from shoal.forecast.sites_trees import TreeSettings

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Method: TypeAlias = Literal["naive", "local", "global", "adapted"]

METHODS: Final[tuple[Method, ...]] = ("naive", "local", "global", "adapted")
RECIPE: Final = 1
_YOUNG_DAYS: Final = 56.0
_LEAST_OWN_DAYS: Final = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """What is forecast and how.

    Attributes:
        quantity: Consumption (values at least mostly above 0) or generation (values at most 0).
        horizon: How far and how fine.
        origin_slots: Slots of the local day at which forecasts are made; the model learns to stand there.
        inputs: Names of the known-ahead inputs that it looks at.
        quantile_level: Levels in pairs around the median.
        training_days: How much of the history teaches, at most.
        calibration_days: How many of the last days are kept from the experts to learn trust and widths.
        most_rows: Steps that the global model learns from, at most.
        trees: The global model's trees.
    """

    quantity: Literal["load", "solar"]
    horizon: Horizon
    origin_slots: tuple[int, ...] = (0,)
    inputs: tuple[str, ...] = ()
    quantile_level: tuple[float, ...] = LEVELS
    training_days: int = 400
    calibration_days: int = 42
    most_rows: int = 150_000
    trees: TreeSettings = field(default_factory=TreeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteForecaster:
    """Forecasts sites by one method; see the module and `shoal.forecast.protocol.Adaptive`."""

    method: Method
    settings: SiteSettings

    @property
    def kind(self) -> str:
        """Name and number of the recipe."""
        return f"site-{self.settings.quantity}-{self.method}/{RECIPE}"

    @property
    def _sign(self) -> float:
        return 1.0 if self.settings.quantity == "load" else -1.0

    @property
    def _local(self) -> LocalSettings:
        load = self.settings.quantity == "load"
        return LocalSettings(is_rooted=load, is_naive=self.method == "naive", skips_dark=not load)

    def fit(self, history: Panel, *, seed: int = 0) -> Model:
        """Return a model trained on all but the last days, and calibrated on these.

        Raises:
            InvalidInputError: when the panel's steps are not those of the settings, an input is missing, or no site
                has data.
        """
        settings = self.settings
        _check_panel(settings, history)
        level = np.array(sorted_levels(settings.quantile_level))
        grid = grid_of(history, settings.horizon, settings.inputs, is_generation=self._sign < 0)
        held_days = min(settings.calibration_days, grid.known_steps // grid.slots // 4)
        split = grid.known_steps - held_days * grid.slots
        prior = learn_prior(grid.value[:, :split], history)
        prior_kw = expected_kw(prior, history)
        if np.isnan(prior_kw).any():
            raise InvalidInputError(
                field="history", value="no values", fix="give at least one site with data"
            )
        first = grid.known_steps - settings.training_days * grid.slots
        origins = grid.origins(settings.origin_slots, first)
        teaching = origins[origins + settings.horizon.reach_steps <= split]
        arrays: dict[str, NDArray[Any]] = {
            "prior_typical_kw": prior.typical_kw,
            "prior_of_nameplate_frac": prior.of_nameplate_frac,
        }
        if self.method != "global":
            arrays |= fit_local(grid, prior_kw, teaching, self._local, level).arrays()
        if self.method in ("global", "adapted"):
            arrays |= fit_global(
                grid,
                prior_kw,
                teaching,
                level=level,
                skips_dark=self._local.skips_dark,
                most_rows=settings.most_rows,
                settings=settings.trees,
                seed=seed,
            ).arrays()
        trained_days = np.maximum(split - first_known(grid.value), 0) / grid.slots
        arrays |= fresh_state(len(history.names), len(level), trained_days).arrays()
        model = Model(
            kind=self.kind,
            names=history.names,
            from_ns=history.first_ns + max(first, 0) * history.step_ns,
            to_ns=history.first_ns + split * history.step_ns,
            step_ns=history.step_ns,
            lead_steps=settings.horizon.lead_steps,
            horizon_steps=settings.horizon.steps,
            quantile_level=settings.quantile_level,
            features=(*FEATURES, *settings.inputs),
            seed=seed,
            settings={
                "method": self.method,
                "quantity": settings.quantity,
                "is_nonnegative": settings.quantity == "solar" or bool(np.nanmin(grid.value) >= 0.0),
                "trained_to_ns": history.first_ns + split * history.step_ns,
            },
            scores={},
            arrays=packed(arrays),
        )
        learned, scores = self._learn(model, history, grid, origins[origins >= split])
        return sealed(msgspec.structs.replace(learned, scores=scores.as_dict(level)))

    def predict(self, model: Model, recent: Panel, horizon: Horizon) -> Forecast:
        """Return what comes after the last step of `recent`, of which the last 37 days are looked at.

        Raises:
            InvalidInputError: when model, panel and horizon do not belong together.
        """
        check_fits(self.kind, model, recent, horizon)
        _check_panel(self.settings, recent)
        panel = recent.last(RECENT_DAYS * recent.steps_per_day)
        grid = grid_of(panel, model.horizon, self.settings.inputs, is_generation=self._sign < 0)
        mind = self._mind(model, panel)
        told = mind.told(self._experts(mind, grid, grid.known_steps), _blocks(grid, grid.known_steps))
        asked = slice(horizon.lead_steps - model.lead_steps, horizon.reach_steps - model.lead_steps)
        quantile, mean = told[:, asked, :-1], told[:, asked, -1]
        if self._sign < 0:  # the mirror of a quantile is the quantile of the mirrored level
            quantile, mean = 0.0 - quantile[:, :, ::-1], 0.0 - mean
        steps = horizon.lead_steps + np.arange(horizon.steps, dtype=np.int64)
        return Forecast(
            start_ns=recent.end_ns + steps * recent.step_ns,
            quantile_level=np.array(model.quantile_level),
            quantile=np.ascontiguousarray(quantile),
            mean=np.ascontiguousarray(mean),
            issued_ns=recent.end_ns,
            version=model.version,
        )

    def adapt(self, model: Model, recent: Panel) -> Model:
        """Return the model after the days of `recent` that came true since; new sites join it.

        The days that are taken in need 37 days of `recent` before them. A site that had little data gets a model of its own
        from what there is of it in `recent`.

        Raises:
            InvalidInputError: when model and panel do not belong together.
        """
        check_fits(self.kind, model, replace(recent, inputs={}), model.horizon)
        _check_panel(self.settings, recent)
        grid = grid_of(recent, model.horizon, self.settings.inputs, is_generation=self._sign < 0)
        seen = (model.to_ns - recent.first_ns) // recent.step_ns
        origins = grid.origins(self.settings.origin_slots)
        learned, _ = self._learn(model, recent, grid, origins[origins + model.horizon.reach_steps > seen])
        return sealed(self._with_young(learned, recent, grid, origins))

    def _learn(self, model: Model, panel: Panel, grid: Grid, origin_at: Ints) -> tuple[Model, SiteScores]:
        """Take in what came true after each origin, forecast from what was known there."""
        level = np.array(model.quantile_level)
        mind = self._mind(model, panel)
        scores = SiteScores.none(len(panel.names), len(level))
        state = mind.state
        for origin in origin_at.tolist():
            experts = self._experts(mind, grid, origin)
            block = _blocks(grid, origin)
            at = origin + grid.lead_steps
            observed = grid.value[:, at : at + grid.steps]
            told = replace(mind, state=state).told(experts, block)
            scale = _usual(grid, origin, mind.prior_kw)
            width = LEAST_SPREAD_FRAC * scale
            scores = scores.added(observed, told[:, :, :-1], level, least_width=width)
            state = observe(
                state,
                experts,
                observed,
                scale=scale,
                block_index=block,
                level=level,
                is_nonnegative=mind.is_nonnegative,
            )
        seen_ns = panel.first_ns
        if len(origin_at):
            seen_ns += (int(origin_at[-1]) + model.horizon.reach_steps) * panel.step_ns
        return replace_state(model, panel.names, mind, state, max(model.to_ns, seen_ns)), scores

    def _with_young(self, model: Model, panel: Panel, grid: Grid, origin_at: Ints) -> Model:
        """Fit the sites that are too young to have been, or were on less than there is now; the others stay."""
        mind = self._mind(model, panel)
        if mind.local is None:
            return model
        known_days = (~np.isnan(grid.value)).sum(axis=1) / grid.slots
        trained_days = mind.state.trained_days
        young = (trained_days < _YOUNG_DAYS) & (known_days >= _LEAST_OWN_DAYS) & (known_days > trained_days)
        row = np.flatnonzero(young)
        if not len(row):
            return model
        some = grid_of(panel.rows(row), model.horizon, self.settings.inputs, is_generation=self._sign < 0)
        level = np.array(model.quantile_level)
        own = fit_local(some, mind.prior_kw[row], origin_at, self._local, level, known=mind.local)
        parts = {
            name: getattr(mind.local, name).copy() for name in ("weight", "left_over_scale", "moment_scale")
        }
        for name, array in parts.items():
            array[row] = getattr(own, name)
        state = replace(mind.state, trained_days=np.where(young, known_days, trained_days))
        grown = replace(mind, local=replace(mind.local, **parts))
        return replace_state(model, panel.names, grown, state, model.to_ns)

    def _mind(self, model: Model, panel: Panel) -> Mind:
        return mind_of(model, panel, is_naive=self.method == "naive")

    def _experts(self, mind: Mind, grid: Grid, origin: int) -> Experts:
        """Return what the one or two experts say from an origin."""
        said = []
        if mind.local is not None:
            said.append(ask_local(mind.local, grid, mind.prior_kw, origin, self._local))
        if mind.trees is not None:
            dark = self._local.skips_dark
            said.append(ask_global(mind.trees, grid, mind.prior_kw, origin, skips_dark=dark))
        return tuple(said)


def _blocks(grid: Grid, origin: int) -> Ints:
    at = origin + grid.lead_steps
    return np.asarray(grid.slot_index[at : at + grid.steps] * BLOCKS // grid.slots)


def _usual(grid: Grid, origin: int, prior_kw: Floats) -> Floats:
    """Return the mean magnitude of each site over the four weeks before an origin; the prior where there is none."""
    past = grid.value[:, max(0, origin - WINDOW_DAYS * grid.slots) : origin]
    known = ~np.isnan(past)
    count = known.sum(axis=1)
    total = np.abs(np.where(known, past, 0.0)).sum(axis=1)
    usual = np.divide(total, count, out=prior_kw.copy(), where=count > 0)
    return np.asarray(np.maximum(usual, 0.05 * prior_kw))


def _check_panel(settings: SiteSettings, panel: Panel) -> None:
    if panel.step_ns != settings.horizon.step_ns:
        raise InvalidInputError(
            field="step_ns", value=panel.step_ns, fix=f"give steps of {settings.horizon.step_ns} ns"
        )
    missing = [name for name in settings.inputs if name not in panel.inputs]
    if missing:
        raise InvalidInputError(field="inputs", value=missing[0], fix="give every input of the settings")
    if len({panel.inputs[name].shape[0] for name in settings.inputs}) > 1:
        raise InvalidInputError(field="inputs", value="places differ", fix="give each input for every place")
