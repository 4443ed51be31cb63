"""The stories that there are, in the order in which such plants grew, bad days last."""

from __future__ import annotations

from typing import Final

from shoal.cli.stories.cut import CUT
from shoal.cli.stories.emergency import EMERGENCY
from shoal.cli.stories.islanded import ISLANDED
from shoal.cli.stories.markets import BATTERY, MARKET
from shoal.cli.stories.peak import PEAK
from shoal.cli.stories.regulation import REGULATION
from shoal.cli.stories.storm import STORM
from shoal.cli.stories.story import Story
from shoal.domain.errors import InvalidInputError

STORIES: Final = (BATTERY, PEAK, MARKET, REGULATION, STORM, EMERGENCY, ISLANDED, CUT)


def story(name: str) -> Story:
    """Return a story by its name.

    Raises:
        InvalidInputError: when there is none of that name.
    """
    for one in STORIES:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in STORIES)
    raise InvalidInputError(field="--scenario", value=name, fix=f"choose among {known}")
