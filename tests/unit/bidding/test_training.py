"""The training job: models kept once, contests that can be gone on with, promotion as the only way to the top."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.bidding.training import TrainingJob, enter_model, fit_model, judge_days, model_in_use
from shoal.bidding.training_store import ModelStore
from shoal.domain.errors import CorruptStateError, UnknownIdError
from shoal.forecast.champion import ContestRules
from shoal.forecast.protocol import Forecast, Horizon, Model, Panel
from shoal.forecast.sites import SiteForecaster
from shoal.store.database import migrate, open_database
from tests.unit.forecast.homes import DAY, forecaster, loads, panel

SERIES = "load/homes/test"
WHOLE = panel(loads(6, 120))
RULES = ContestRules(least_days=7)


def at(day: int) -> int:
    """Return the instant at which so many days were known."""
    return WHOLE.first_ns + day * DAY * WHOLE.step_ns


def known_at(to_ns: int) -> Panel:
    return WHOLE.until((to_ns - WHOLE.first_ns) // WHOLE.step_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worse:
    """A forecaster that is made worse by a factor: the older model of the tests."""

    inner: SiteForecaster
    factor: float

    @property
    def kind(self) -> str:
        return self.inner.kind

    def fit(self, history: Panel, *, seed: int = 0) -> Model:
        return self.inner.fit(history, seed=seed)

    def adapt(self, model: Model, recent: Panel) -> Model:
        return self.inner.adapt(model, recent)

    def predict(self, model: Model, recent: Panel, horizon: Horizon) -> Forecast:
        told = self.inner.predict(model, recent, horizon)
        if model.seed:  # the challenger's seed
            return told
        return replace(told, quantile=told.quantile * self.factor)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'models.db'}"
    migrate(url)
    made = open_database(url)
    yield made
    made.dispose()


@pytest.fixture
def store(tmp_path: Path, engine: Engine) -> ModelStore:
    return ModelStore(tmp_path / "models", engine)


def job(factor: float = 1.0, seed: int = 0, history: Callable[[int], Panel] = known_at) -> TrainingJob:
    return TrainingJob(
        series_id=SERIES,
        forecaster=Worse(inner=forecaster("local"), factor=factor),
        history=history,
        rules=RULES,
        seed=seed,
    )


def test_model_is_trained_once_and_comes_back_bit_for_bit(store: ModelStore, tmp_path: Path) -> None:
    asked: list[int] = []

    def history(to_ns: int) -> Panel:
        asked.append(to_ns)
        return known_at(to_ns)

    first = fit_model(store, job(history=history), to_ns=at(80), at_ns=1)
    assert fit_model(store, job(history=history), to_ns=at(80), at_ns=2) == first
    assert asked == [at(80)]
    assert store.load(first) == forecaster("local").fit(known_at(at(80)))
    assert len(list((tmp_path / "models").rglob("*.model"))) == 1
    assert not list((tmp_path / "models").rglob(".writing-*"))
    assert [kept.version for kept in store.models(SERIES)] == [first]


def test_spoilt_or_absent_file_is_said_and_mended_by_keeping_again(store: ModelStore, tmp_path: Path) -> None:
    version = fit_model(store, job(), to_ns=at(80), at_ns=1)
    model = store.load(version)
    (file,) = (tmp_path / "models").rglob("*.model")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CorruptStateError, match="content"):
        store.load(version)
    file.unlink()
    with pytest.raises(CorruptStateError, match="read"):
        store.load(version)
    store.keep(SERIES, model, asked_ns=at(80), kept_ns=2)
    assert store.load(version) == model
    with pytest.raises(UnknownIdError):
        store.load("nobody")


def test_first_model_is_champion_and_only_promotion_changes_that(store: ModelStore) -> None:
    first = fit_model(store, job(), to_ns=at(80), at_ns=1)
    assert enter_model(store, job(), first, at_ns=1) == "champion"
    assert enter_model(store, job(), first, at_ns=2) == "champion"
    second = fit_model(store, job(), to_ns=at(84), at_ns=3)
    assert enter_model(store, job(), second, at_ns=3) == "challenger"
    champion = store.champion(SERIES)
    assert champion is not None
    assert champion.version == first
    assert champion.reason == "the first"
    assert store.promote(SERIES, second, instead_of=champion, since_ns=4, reason="test")
    assert not store.promote(SERIES, first, instead_of=champion, since_ns=5, reason="too late")
    assert [p.version for p in store.promotions(SERIES)] == [second, first]
    assert store.contest(SERIES) is None
    with pytest.raises(UnknownIdError):
        store.promote(SERIES, "nobody", instead_of=store.champion(SERIES), since_ns=6, reason="")


def run_contest(store: ModelStore, factor: float) -> list[str]:
    old, new = job(factor), job(factor, seed=1)
    enter_model(store, old, fit_model(store, old, to_ns=at(80), at_ns=1), at_ns=1)
    enter_model(store, new, fit_model(store, new, to_ns=at(84), at_ns=2), at_ns=2)
    return [judge_days(store, old, to_ns=at(day), at_ns=day)[0] for day in range(84, 120)]


def test_better_challenger_is_promoted_with_what_it_learned(store: ModelStore) -> None:
    said = run_contest(store, 1.6)
    won = said.index("promote")
    assert set(said[:won]) <= {"collecting", "keep"}
    assert set(said[won + 1 :]) == {"alone"}
    champion = store.champion(SERIES)
    assert champion is not None
    assert champion.number == 2
    assert "better" in champion.reason
    in_use = model_in_use(store, SERIES)
    assert in_use is not None
    assert in_use.seed == 1
    assert in_use.to_ns == at(119)
    assert in_use.version != champion.version


def test_equal_challenger_is_not_promoted(store: ModelStore) -> None:
    assert "promote" not in run_contest(store, 1.0)
    champion = store.champion(SERIES)
    assert champion is not None
    assert champion.number == 1


def test_contest_in_one_go_is_the_contest_day_by_day_whoever_died(tmp_path: Path) -> None:
    """A run that died after it kept what the models learned, before it kept the score, is done again alike."""
    found = []
    for name, days in (("one", (100,)), ("many", (90, 95, 100)), ("died", (90, 95, 100))):
        migrate(f"sqlite:///{tmp_path / name}.db")
        engine = open_database(f"sqlite:///{tmp_path / name}.db")
        store = ModelStore(tmp_path / name, engine)
        old, new = job(1.1), job(1.1, seed=1)
        enter_model(store, old, fit_model(store, old, to_ns=at(80), at_ns=1), at_ns=1)
        enter_model(store, new, fit_model(store, new, to_ns=at(84), at_ns=2), at_ns=2)
        for day in days:
            before = store.contest(SERIES)
            judge_days(store, old, to_ns=at(day), at_ns=day)
            if name == "died" and day == 95 and before is not None:
                store.put_contest(SERIES, before[0], before[1])
                judge_days(store, old, to_ns=at(day), at_ns=day)
        in_use = model_in_use(store, SERIES)
        assert in_use is not None
        found.append((store.contest(SERIES), in_use.version))
        engine.dispose()
    assert found[0] == found[1] == found[2]
    assert found[0][0] is not None


def test_without_a_champion_nothing_is_judged(store: ModelStore) -> None:
    assert judge_days(store, job(), to_ns=at(90), at_ns=1)[0] == "none"
    assert model_in_use(store, SERIES) is None


def test_day_without_outcomes_counts_for_nobody(store: ModelStore) -> None:
    value = WHOLE.value.copy()
    value[:, 85 * DAY : 86 * DAY] = np.nan
    holed = replace(WHOLE, value=value)
    some = job(1.2, history=lambda to_ns: holed.until((to_ns - WHOLE.first_ns) // WHOLE.step_ns))
    new = replace(some, seed=1)
    enter_model(store, some, fit_model(store, some, to_ns=at(80), at_ns=1), at_ns=1)
    enter_model(store, new, fit_model(store, new, to_ns=at(84), at_ns=2), at_ns=2)
    judge_days(store, some, to_ns=at(88), at_ns=3)
    running = store.contest(SERIES)
    assert running is not None
    assert running[0].day_count == 4
    assert running[0].challenger_total < running[0].champion_total
