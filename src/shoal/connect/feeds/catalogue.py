"""All feeds, for the places that somebody wants: the one list that commands and pollers go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from shoal.connect.feeds.aemo import REGIONS
from shoal.connect.feeds.aemo_feeds import aemo_feeds
from shoal.connect.feeds.elexon import ElexonFeed
from shoal.connect.feeds.energy_charts import EnergyChartsFeed
from shoal.connect.feeds.entsoe import entsoe_feeds
from shoal.connect.feeds.ercot import HUBS_AND_ZONES, ercot_feeds
from shoal.connect.feeds.feed import Feed, FeedError
from shoal.connect.feeds.weather_dwd import DwdFeed
from shoal.connect.feeds.weather_met import MetNorwayFeed

_OPEN_ZONES: Final = ("AT", "BE", "CH", "CZ", "DE-LU", "DK1", "DK2", "FR", "HU", "NL", "NO2", "PL")
"""Zones that the mirror gives under CC BY 4.0; others are for private use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """For which places the feeds are asked.

    Attributes:
        nem: Regions.
        ercot: Settlement points; ``*`` at the end stands for anything.
        entsoe: Bidding zones.
        energy_charts: Bidding zones that have an open licence.
        dwd: Stations.
        met_norway: ``NAME=LATITUDE,LONGITUDE``.
    """

    nem: tuple[str, ...] = REGIONS
    ercot: tuple[str, ...] = HUBS_AND_ZONES
    entsoe: tuple[str, ...] = ("DE-LU",)
    energy_charts: tuple[str, ...] = ("DE-LU",)
    dwd: tuple[str, ...] = ("10637",)
    met_norway: tuple[str, ...] = ("berlin=52.52,13.405",)


def places(given: Sequence[str]) -> Places:
    """Return places from texts such as ``nem=VIC1`` and ``met-norway=berlin=52.52,13.405``.

    What is given for a provider replaces its defaults.

    Raises:
        FeedError: when a text does not begin with a provider, or names a place that cannot be.
    """
    known = {field.name.replace("_", "-"): field.name for field in fields(Places)}
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        provider, equals, place = text.partition("=")
        if not equals or not place or provider not in known:
            raise FeedError(
                feed="places",
                field="place",
                value=text,
                fix=f"begin it with one of {', '.join(known)} and '='",
            )
        if provider == "nem" and place not in REGIONS:
            raise FeedError(feed="places", field="nem", value=place, fix=f"give one of {', '.join(REGIONS)}")
        if provider == "energy-charts" and place not in _OPEN_ZONES:
            raise FeedError(
                feed="places",
                field=provider,
                value=place,
                fix=f"give one of {', '.join(_OPEN_ZONES)}",
            )
        found[known[provider]] = (*found.get(known[provider], ()), place)
    return replace(Places(), **found)


def catalogue(wanted: Places | None = None) -> dict[str, Feed]:
    """Return every feed by its name.

    Raises:
        FeedError: when a place cannot be.
    """
    for_places = wanted or Places()
    feeds: list[Feed] = [
        *aemo_feeds(for_places.nem),
        *ercot_feeds(for_places.ercot),
        *entsoe_feeds(for_places.entsoe),
        *(EnergyChartsFeed(zone) for zone in for_places.energy_charts),
        ElexonFeed(),
        DwdFeed(for_places.dwd),
        *(MetNorwayFeed(place) for place in for_places.met_norway),
    ]
    return {feed.description.name: feed for feed in feeds}
