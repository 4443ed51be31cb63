"""The durable training job: fit a challenger, let it run beside the champion, promote it when it has earned it.

Every part may die anywhere and be done again: what was kept is found again by what it was asked for, and the same history
gives the same bits. A model in use goes on learning from day to day (`adapt`); each state is kept and has the training that
it comes from as its root. Who is champion changes by promotion alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID

from shoal.bidding.training_store import ModelStore
from shoal.domain.clock import Clock
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.forecast.champion import Contest, ContestRules, judged, verdict
from shoal.forecast.protocol import Adaptive, Forecast, Model, Panel

STEP_TRIES: Final = 4
STEP_REST_S: Final = 0.5
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is trained.

    Attributes:
        series_id: What is forecast, e.g. ``load/homes/north``.
        forecaster: How.
        history: Returns the panel as it was known at an instant, ending there; the same instant, the same panel.
        rules: When a challenger wins.
        seed: Of the forecaster's draws.
    """

    series_id: str
    forecaster: Adaptive
    history: Callable[[int], Panel]
    rules: ContestRules = field(default_factory=ContestRules)
    seed: int = 0


def fit_model(store: ModelStore, job: TrainingJob, *, to_ns: int, at_ns: int) -> str:
    """Return the version of the model trained on what was known at `to_ns`, training it when it was not yet."""
    held = store.trained(job.series_id, to_ns)
    if held is not None:
        return held.version
    model = job.forecaster.fit(job.history(to_ns), seed=job.seed)
    return store.keep(job.series_id, model, asked_ns=to_ns, kept_ns=at_ns)


def enter_model(store: ModelStore, job: TrainingJob, version: str, *, at_ns: int) -> str:
    """Let a trained model begin: as ``champion`` when there is none, else as ``challenger``, in place of the former.

    A challenger that is in the contest already stays in it.
    """
    champion = store.champion(job.series_id)
    if champion is None:
        if store.promote(job.series_id, version, instead_of=None, since_ns=at_ns, reason="the first"):
            return "champion"
        champion = store.champion(job.series_id)
    assert champion is not None
    if champion.version == version:
        return "champion"
    running = store.contest(job.series_id)
    if running is None or running[0].challenger != version:
        scored_to_ns = max(store.newest(champion.version).to_ns, store.newest(version).to_ns)
        store.put_contest(job.series_id, Contest(champion=champion.version, challenger=version), scored_to_ns)
    return "challenger"


def judge_days(store: ModelStore, job: TrainingJob, *, to_ns: int, at_ns: int) -> tuple[str, str]:
    """Take in the days that came true up to `to_ns`; return the verdict on the challenger, and why.

    Champion and challenger forecast each day from what was known before it, are scored, and learn from it. Without a
    challenger the champion learns alone (``alone``); without a champion nothing is done (``none``).
    """
    champion = store.champion(job.series_id)
    if champion is None:
        return "none", "nothing was trained yet"
    panel = job.history(to_ns)
    running = store.contest(job.series_id)
    if running is None or running[0].champion != champion.version:
        _learn_alone(store, job, champion.version, panel, at_ns)
        return "alone", "there is no challenger"
    contest, scored_to_ns = running
    roots = (contest.champion, contest.challenger)
    models = [_caught_up(store, job, root, panel, scored_to_ns) for root in roots]
    horizon = models[0].horizon
    step = (scored_to_ns - panel.first_ns) // panel.step_ns - horizon.lead_steps
    while step + horizon.reach_steps <= panel.steps:
        known = panel.until(step, horizon)
        told = [job.forecaster.predict(model, known, horizon) for model in models]
        first = step + horizon.lead_steps
        observed = panel.value[:, first : first + horizon.steps]
        contest = judged(contest, (_loss(told[0], observed), _loss(told[1], observed)))
        step += horizon.steps
        scored_to_ns = panel.first_ns + (step + horizon.lead_steps) * panel.step_ns
        ended = panel.until(step + horizon.lead_steps, horizon)
        models = [job.forecaster.adapt(model, ended) for model in models]
    for root, model in zip(roots, models, strict=True):
        asked_ns = store.newest(root).asked_ns
        store.keep(job.series_id, model, asked_ns=asked_ns, kept_ns=at_ns, root_version=root)
    said, why = verdict(contest, job.rules)
    if said == "promote":
        store.promote(job.series_id, contest.challenger, instead_of=champion, since_ns=at_ns, reason=why)
    else:
        store.put_contest(job.series_id, None if said == "drop" else contest, scored_to_ns)
    return said, why


def model_in_use(store: ModelStore, series_id: str) -> Model | None:
    """Return the champion of a series as far as it has learned; None when nothing was trained yet.

    Raises:
        CorruptStateError: when its file does not check out.
    """
    champion = store.champion(series_id)
    return None if champion is None else store.load(store.newest(champion.version).version)


def _learn_alone(store: ModelStore, job: TrainingJob, root: str, panel: Panel, at_ns: int) -> None:
    held = store.newest(root)
    model = job.forecaster.adapt(store.load(held.version), panel)
    if model.version != held.version:
        store.keep(job.series_id, model, asked_ns=held.asked_ns, kept_ns=at_ns, root_version=root)


def _caught_up(store: ModelStore, job: TrainingJob, root: str, panel: Panel, to_ns: int) -> Model:
    """Return a model that has learned up to the day from which the contest goes on."""
    # not its newest state: one that died after keeping it has seen days that are not scored yet
    model = store.load(store.newest(root, until_ns=to_ns).version)
    if model.to_ns >= to_ns:
        return model
    return job.forecaster.adapt(model, panel.until((to_ns - panel.first_ns) // panel.step_ns, model.horizon))


def _loss(told: Forecast, observed: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the mean pinball loss of a day in units of the day's mean magnitude; 0 when nothing was observed."""
    known = ~np.isnan(observed)
    size = float(np.abs(observed[known]).mean()) if known.any() else 0.0
    if size <= 0.0:
        return 0.0
    gap = observed[known][:, None] - told.quantile[known]
    level = told.quantile_level
    return float(np.maximum(level * gap, (level - 1.0) * gap).mean()) / size


_step: Final = DBOS.step(
    retries_allowed=True,
    max_attempts=STEP_TRIES,
    interval_seconds=STEP_REST_S,
    should_retry=lambda error: isinstance(error, UnavailableError),
)


@DBOS.dbos_class()
class TrainingWorkflow(DBOSConfiguredInstance):
    """Trains and judges, each once however often it is asked; one instance a process.

    Args:
        jobs: What is trained, by series.
        store: Where models are kept.
        clock: The plant's clock.
    """

    def __init__(self, *, jobs: Mapping[str, TrainingJob], store: ModelStore, clock: Clock) -> None:
        super().__init__(config_name="training")
        self._jobs = jobs
        self._store = store
        self._clock = clock

    def bring(self, series_id: str, to_ns: int) -> str:
        """Have a series trained up to an instant, once; return ``champion`` or ``challenger``."""
        with SetWorkflowID(training_workflow_id(series_id, to_ns)):
            handle = DBOS.start_workflow(self.train, series_id, to_ns)
        return handle.get_result(polling_interval_sec=POLL_S)

    def judge(self, series_id: str, to_ns: int) -> str:
        """Have the days up to an instant judged, once; return the verdict."""
        with SetWorkflowID(f"judge-{series_id}-{to_ns}"):
            handle = DBOS.start_workflow(self.judge_once, series_id, to_ns)
        return handle.get_result(polling_interval_sec=POLL_S)

    @DBOS.workflow()
    def train(self, series_id: str, to_ns: int) -> str:
        """Fit a model and let it begin."""
        return self.enter(series_id, self.fit(series_id, to_ns))

    @DBOS.workflow()
    def judge_once(self, series_id: str, to_ns: int) -> str:
        """Judge the days that came true."""
        return self.score(series_id, to_ns)

    @_step
    def fit(self, series_id: str, to_ns: int) -> str:
        """Fit a model and keep it; return its version."""
        return fit_model(self._store, self._job(series_id), to_ns=to_ns, at_ns=self._clock.now_ns())

    @_step
    def enter(self, series_id: str, version: str) -> str:
        """Let a model begin; return as what."""
        return enter_model(self._store, self._job(series_id), version, at_ns=self._clock.now_ns())

    @_step
    def score(self, series_id: str, to_ns: int) -> str:
        """Score champion and challenger on the days that came true; return the verdict."""
        return judge_days(self._store, self._job(series_id), to_ns=to_ns, at_ns=self._clock.now_ns())[0]

    def _job(self, series_id: str) -> TrainingJob:
        job = self._jobs.get(series_id)
        if job is None:
            raise InvalidInputError(field="series_id", value=series_id, fix=f"one of {', '.join(self._jobs)}")
        return job


def training_workflow_id(series_id: str, to_ns: int) -> str:
    """Return the workflow's id: one training a series and instant."""
    return f"train-{series_id}-{to_ns}"
