"""DWD's MOSMIX: a point forecast of Germany's weather service for a station, hourly for ten days, as KML in a ZIP.

Values stand in columns beside one list of time steps. What is measured at an instant is taken for the hour that begins
there; radiation is the energy of the hour that ends there. A ``-`` says that there is no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from shoal.connect.feeds.archive import is_zip, unpacked
from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Licence, Reading, SeriesNote
from shoal.connect.feeds.gather import LATEST_NS, Gatherer, instant_ns, number, refuse_html
from shoal.connect.feeds.xml import local, parsed
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval

LICENCE: Final = Licence(
    name="CC BY 4.0 (DWD open data, commercial use allowed)",
    url="https://www.dwd.de/EN/service/legal_notice/legal_notice.html",
    attribution="Source: Deutscher Wetterdienst (DWD)",
)
_BASE: Final = "https://opendata.dwd.de/weather/local_forecasts/mos/MOSMIX_L/single_stations"
_STATION: Final = re.compile(r"[A-Z0-9]{4,6}")
_KELVIN: Final = 273.15
_KJ_PER_M2_IN_W_PER_M2: Final = 1.0 / 3.6
_MOST_STEPS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Element:
    variable: str
    unit: str
    scaled: Callable[[float], float]
    hours_before: int = 0


def _same(value: float) -> float:
    return value


_ELEMENTS: Final = {
    "TTT": _Element(variable="temperature", unit="°C", scaled=lambda kelvin: round(kelvin - _KELVIN, 6)),
    "Rad1h": _Element(
        variable="irradiance",
        unit="W/m², global horizontal, mean of the hour",
        scaled=lambda kj: kj * _KJ_PER_M2_IN_W_PER_M2,
        hours_before=1,
    ),
    "Neff": _Element(variable="cloud-cover", unit="%", scaled=_same),
    "FF": _Element(variable="wind-speed", unit="m/s at 10 m", scaled=_same),
}


class DwdFeed(Feed):
    """MOSMIX of some stations, e.g. ``10637``.

    Raises:
        FeedError: when a station is no station's number.
    """

    def __init__(self, stations: tuple[str, ...]) -> None:
        self._description = FeedDescription(
            name="dwd-mosmix",
            source="dwd",
            about="weather forecast of stations, hourly for ten days, run four times a day (MOSMIX_L)",
            series=tuple(
                SeriesNote(pattern=f"weather/dwd/{{station}}/{item.variable}", unit=item.unit, step="1 h")
                for item in _ELEMENTS.values()
            ),
            url=f"{_BASE}/{{station}}/kml/MOSMIX_L_LATEST_{{station}}.kmz",
            cadence_s=3600.0,
            delay_s=300.0,
            stale_after_s=-5 * 86_400.0,
            behind_s=0.0,
            ahead_s=10 * 86_400.0,
            licence=LICENCE,
        )
        for station in stations:
            if not _STATION.fullmatch(station):
                raise FeedError(
                    feed=self._description.name,
                    field="station",
                    value=station,
                    fix="give a MOSMIX number, e.g. 10637",
                )
        self._stations = stations

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return one request a station: there is only the newest forecast."""
        return tuple(Ask(url=self._description.url.format(station=station)) for station in self._stations)

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a forecast says.

        Raises:
            FeedError: when it is no forecast, is cut off, or does not say when it was made.
        """
        name = self._description.name
        refuse_html(name, content)
        text = unpacked(name, content, suffix=".kml")[0][1] if is_zip(content) else content
        root = parsed(name, text)
        issued_ns: int | None = None
        steps: list[int | None] = []
        for element in root.iter():
            tag = local(element.tag)
            if tag == "IssueTime":
                issued_ns = instant_ns(element.text)
            elif tag == "TimeStep":
                steps.append(instant_ns(element.text))
        if issued_ns is None or not 0 <= issued_ns <= LATEST_NS or not steps or len(steps) > _MOST_STEPS:
            raise FeedError(
                feed=name,
                field="ProductDefinition",
                value=f"{len(steps)} time steps",
                fix="it says neither when it was made nor for when: see whether DWD changed the format",
            )
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        gatherer.published_ns = issued_ns
        for placemark in (element for element in root.iter() if local(element.tag) == "Placemark"):
            self._take(placemark, steps, issued_ns // NS_PER_MINUTE, gatherer)
        return gatherer.reading()

    def _take(
        self, placemark: ElementTree.Element, steps: list[int | None], revision: int, gatherer: Gatherer
    ) -> None:
        station = next((e.text or "" for e in placemark.iter() if local(e.tag) == "name"), "").strip()
        if station not in self._stations:
            gatherer.quarantine("placemark", "name", station, "a station that was not asked for")
            return
        for forecast in (e for e in placemark.iter() if local(e.tag) == "Forecast"):
            key = next((v for k, v in forecast.attrib.items() if local(k) == "elementName"), "")
            told = _ELEMENTS.get(key)
            if told is None:
                continue
            texts = next((e.text or "" for e in forecast if local(e.tag) == "value"), "").split()
            if len(texts) != len(steps):
                gatherer.quarantine(
                    f"{station} {key}", "value", str(len(texts)), "not one value for each time step"
                )
                continue
            for index, (step_ns, text) in enumerate(zip(steps, texts, strict=True)):
                where = f"{station} {key} step {index + 1}"
                value = number(text)
                if text == "-":
                    gatherer.absent()
                elif step_ns is None or value is None:
                    gatherer.quarantine(where, key, text, "not a number at an instant")
                else:
                    start_ns = step_ns - told.hours_before * NS_PER_HOUR
                    gatherer.take(
                        f"weather/dwd/{station}/{told.variable}",
                        start_ns=start_ns,
                        end_ns=start_ns + NS_PER_HOUR,
                        value=told.scaled(value),
                        where=where,
                        revision=revision,
                    )
