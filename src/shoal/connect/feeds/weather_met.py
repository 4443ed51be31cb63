"""MET Norway's Locationforecast: the forecast for any place on earth, as JSON; the provider asks users who they are.

Steps are hourly at first and six-hourly later. What is said of an instant is taken until the next step; the last
step lasts as long as the answer says (``next_1_hours``, ``next_6_hours``).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Licence, Reading, SeriesNote
from shoal.connect.feeds.gather import LATEST_NS, Gatherer, finite, instant_ns, number, refuse_html
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval

LICENCE: Final = Licence(
    name="CC BY 4.0 or NLOD 2.0 (commercial use allowed; say who you are, at most 20 requests a second)",
    url="https://api.met.no/doc/License",
    attribution="Data from MET Norway",
)
_API: Final = "https://api.met.no/weatherapi/locationforecast/2.0/compact"
_PLACE: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})=(-?[0-9]{1,2}(?:\.[0-9]+)?),(-?[0-9]{1,3}(?:\.[0-9]+)?)"
)
_VARIABLES: Final = {
    "air_temperature": ("temperature", "°C", "celsius"),
    "cloud_area_fraction": ("cloud-cover", "%", "%"),
    "relative_humidity": ("humidity", "%", "%"),
    "wind_speed": ("wind-speed", "m/s at 10 m", "m/s"),
}
_LENGTHS: Final = (("next_1_hours", 1), ("next_6_hours", 6))
_LONGEST_NS: Final = 12 * NS_PER_HOUR


class _Meta(msgspec.Struct, frozen=True):
    updated_at: str
    units: dict[str, str]


class _Step(msgspec.Struct, frozen=True):
    time: str
    data: dict[str, Any]


class _Properties(msgspec.Struct, frozen=True):
    meta: _Meta
    timeseries: list[_Step]


class _Answer(msgspec.Struct, frozen=True):
    properties: _Properties


class MetNorwayFeed(Feed):
    """The forecast for one place.

    Args:
        place: ``NAME=LATITUDE,LONGITUDE`` in degrees, north and east positive: ``berlin=52.52,13.405``.

    Raises:
        FeedError: when it is no place.
    """

    def __init__(self, place: str) -> None:
        match = _PLACE.fullmatch(place)
        latitude_deg = number(match[2]) if match else None
        longitude_deg = number(match[3]) if match else None
        if match is None or latitude_deg is None or longitude_deg is None:
            raise FeedError(
                feed="met-norway", field="place", value=place, fix="give NAME=LATITUDE,LONGITUDE in degrees"
            )
        if abs(latitude_deg) > 90.0 or abs(longitude_deg) > 180.0:
            raise FeedError(
                feed="met-norway",
                field="place",
                value=place,
                fix="give a latitude in ±90 and a longitude in ±180",
            )
        self._place = match[1]
        # The provider asks for at most four decimals, so that its answers can be shared.
        self._query = f"lat={latitude_deg:.4f}&lon={longitude_deg:.4f}"
        self._description = FeedDescription(
            name=f"met-norway-{self._place}",
            source="met-norway",
            about=f"weather forecast for {self._place}, nine days ahead",
            series=tuple(
                SeriesNote(
                    pattern=f"weather/met-norway/{self._place}/{variable}", unit=unit, step="1 h, later 6 h"
                )
                for variable, unit, _ in _VARIABLES.values()
            ),
            url=f"{_API}?{self._query}",
            cadence_s=3600.0,
            delay_s=600.0,
            stale_after_s=-5 * 86_400.0,
            behind_s=0.0,
            ahead_s=9 * 86_400.0,
            licence=LICENCE,
            needs_contact=True,
        )

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return the one request: there is only the newest forecast."""
        return (Ask(url=self._description.url),)

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a forecast says.

        Raises:
            FeedError: when it is no forecast, or in other units.
        """
        name = self._description.name
        refuse_html(name, content)
        try:
            properties = msgspec.json.decode(content, type=_Answer).properties
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FeedError(
                feed=name, field="document", value=content[:80].decode("latin-1"), fix=f"no forecast: {error}"
            ) from error
        for key, (_, _, unit) in _VARIABLES.items():
            said = properties.meta.units.get(key, unit)
            if said != unit:
                raise FeedError(feed=name, field=f"units.{key}", value=said, fix=f"only {unit} is taken")
        issued_ns = instant_ns(properties.meta.updated_at)
        if issued_ns is None or not 0 <= issued_ns <= LATEST_NS:
            raise FeedError(
                feed=name, field="updated_at", value=properties.meta.updated_at, fix="it is no instant"
            )
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        gatherer.published_ns = issued_ns
        steps = [(instant_ns(step.time), step.data) for step in properties.timeseries]
        for index, (start_ns, data) in enumerate(steps):
            where = f"step {index + 1}"
            if start_ns is None:
                gatherer.quarantine(where, "time", properties.timeseries[index].time, "no instant")
                continue
            after_ns = steps[index + 1][0] if index + 1 < len(steps) else _end_ns(start_ns, data)
            if after_ns is None or not 0 < after_ns - start_ns <= _LONGEST_NS:
                gatherer.absent()
                continue
            self._take(data, start_ns, after_ns, where, issued_ns // NS_PER_MINUTE, gatherer)
        return gatherer.reading()

    def _take(
        self,
        data: dict[str, Any],
        start_ns: int,
        end_ns: int,
        where: str,
        revision: int,
        gatherer: Gatherer,
    ) -> None:
        instant = data.get("instant")
        details = instant.get("details") if isinstance(instant, dict) else None
        if not isinstance(details, dict):
            gatherer.quarantine(where, "instant.details", "", "it is missing")
            return
        for key, (variable, _, _) in _VARIABLES.items():
            value = details.get(key)
            if value is None:
                gatherer.absent()
            elif (told := finite(value)) is None:
                gatherer.quarantine(where, key, str(value)[:80], "not a number")
            else:
                gatherer.take(
                    f"weather/met-norway/{self._place}/{variable}",
                    start_ns=start_ns,
                    end_ns=end_ns,
                    value=told,
                    where=where,
                    revision=revision,
                )


def _end_ns(start_ns: int, data: dict[str, Any]) -> int | None:
    return next((start_ns + hours * NS_PER_HOUR for key, hours in _LENGTHS if key in data), None)
