"""Weather alerts on both databases: the latest word of each issuer, until it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from shoal.domain.alert import Area, WeatherAlert
from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.store.database import writing
from shoal.store.weather_alerts import HOLDS_NS, KEPT_NS, KeptAlert, WeatherAlertLog

SQUARE = Area(polygons=((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)),),))


@pytest.fixture
def log(engine: Engine) -> WeatherAlertLog:
    return WeatherAlertLog(engine)


def make_alert(name: str, *, event: str = "Frost", until_h: int | None = 2) -> WeatherAlert:
    effective = None if until_h is None else Interval(start_ns=1, end_ns=until_h * NS_PER_HOUR)
    return WeatherAlert(alert_id=name, event=event, severity="minor", area=SQUARE, effective=effective)


def kept(alert: WeatherAlert, taken_ns: int = 5) -> KeptAlert:
    return KeptAlert.of(alert, taken_ns=taken_ns, taken_by="ada")


def test_alerts_stand_until_they_end(log: WeatherAlertLog) -> None:
    first, second, endless = (
        kept(make_alert("a")),
        kept(make_alert("b", until_h=1)),
        kept(make_alert("", until_h=None)),
    )
    log.record([first, second, endless], now_ns=5)
    assert log.standing(5) == [second, first, endless]
    assert log.standing(NS_PER_HOUR) == [first, endless]
    assert log.standing(2 * NS_PER_HOUR) == [endless]
    assert log.standing(5 + HOLDS_NS) == []


def test_the_latest_word_of_an_issuer_counts(log: WeatherAlertLog) -> None:
    log.record([kept(make_alert("a")), kept(make_alert("a", event="Flood"))], now_ns=5)
    assert [one.alert.event for one in log.standing(5)] == ["Flood"]
    corrected = kept(make_alert("a", event="Gale", until_h=9), taken_ns=6)
    log.record([corrected], now_ns=6)
    assert log.standing(6) == [replace(corrected, taken_ns=5)], "it stands since it was taken first"
    again_ns = 10 * NS_PER_HOUR
    again = kept(make_alert("a", event="Gale", until_h=12), taken_ns=again_ns)
    log.record([again], now_ns=again_ns)
    assert log.standing(again_ns) == [again], "one that was over begins anew"


def test_alerts_are_withdrawn_and_let_go_of(log: WeatherAlertLog, engine: Engine) -> None:
    alert = kept(make_alert("a"))
    log.record([alert], now_ns=5)
    assert log.withdraw(alert.key)
    assert not log.withdraw(alert.key)
    log.record([alert], now_ns=5)
    log.record([], now_ns=2 * NS_PER_HOUR + KEPT_NS + 1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM weather_alert")).scalar() == 0


def test_one_that_cannot_be_read_is_told(log: WeatherAlertLog, engine: Engine) -> None:
    alert = kept(make_alert("a"))
    log.record([alert], now_ns=5)
    with writing(engine) as connection:
        connection.execute(text("UPDATE weather_alert SET alert = '{}'"))
    with pytest.raises(CorruptStateError, match=alert.key):
        log.standing(5)
    good = kept(make_alert("b"))
    log.record([good], now_ns=5)
    found, broken = log.readable(5)
    assert found == [good]
    assert list(broken) == [alert.key]
