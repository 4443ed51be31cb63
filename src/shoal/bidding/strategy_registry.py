"""Every strategy by its name. A new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shoal.bidding.strategy import Setting, Strategy
from shoal.bidding.strategy_markov import MarkovStrategy
from shoal.bidding.strategy_outlook import OutlookStrategy
from shoal.bidding.strategy_schedules import ScheduleStrategy, lagged, shape, top_and_bottom
from shoal.domain.errors import UnknownIdError

STRATEGIES: Final[dict[str, Callable[[Setting], Strategy[Any]]]] = {
    "outlook": lambda setting: OutlookStrategy(setting=setting),
    "markov": lambda setting: MarkovStrategy(setting=setting),
    "shape": lambda setting: ScheduleStrategy(setting=setting, guess=shape),
    "backcast": lambda setting: ScheduleStrategy(setting=setting, guess=lagged(1)),
    "backcast_week": lambda setting: ScheduleStrategy(setting=setting, guess=lagged(7)),
    "top_bottom": lambda setting: ScheduleStrategy(setting=setting, guess=top_and_bottom(setting)),
}
BASELINES: Final = ("shape", "backcast", "backcast_week", "top_bottom")
PERFECT: Final = "perfect"
"""The name of hindsight, which is no strategy: it is handed the prices."""


def make_strategy(name: str, setting: Setting) -> Strategy[Any]:
    """Return a strategy by its name.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    if name not in STRATEGIES:
        raise UnknownIdError("strategy", name)
    return STRATEGIES[name](setting)
