"""The doors of a plant that its stories act through: the same stores that its commands write to."""

from __future__ import annotations

from shoal.cli.roles.host import sqlite_url
from shoal.cli.stories.story import Scene
from shoal.store.database import open_database
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.weather_alerts import WeatherAlertLog


def weather_alerts(scene: Scene) -> WeatherAlertLog:
    """Return where the plant takes weather alerts."""
    return WeatherAlertLog(open_database(_ledger_url(scene)))


def programs(scene: Scene) -> ProgramStore:
    """Return where owners take part, leave, and say what they keep."""
    return ProgramStore(open_database(_registry_url(scene)))


def orders(scene: Scene) -> Orders:
    """Return where events are called."""
    return Orders(open_database(_ledger_url(scene)))


def ledger(scene: Scene) -> Ledger:
    """Return where the plant keeps what must survive it."""
    return Ledger(open_database(_ledger_url(scene)))


def _registry_url(scene: Scene) -> str:
    return scene.settings.registry.database_url or sqlite_url(scene.settings, "registry.db")


def _ledger_url(scene: Scene) -> str:
    return scene.settings.bidding.database_url or sqlite_url(scene.settings, "registry.db")
