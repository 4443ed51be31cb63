"""Areas on the map and the weather alerts that hold in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval

Ring: TypeAlias = tuple[tuple[float, float], ...]
"""A closed line of (longitude, latitude) in degrees: the last place is the first again."""

Polygon: TypeAlias = tuple[Ring, ...]
"""An outer ring, then the rings of its holes."""

Severity: TypeAlias = Literal["extreme", "severe", "moderate", "minor", "unknown"]
SEVERITIES: Final[tuple[Severity, ...]] = ("extreme", "severe", "moderate", "minor", "unknown")
"""The degrees of the Common Alerting Protocol, the worst first."""

_MOST_LONGITUDE_DEG: Final = 360.0
_MOST_LATITUDE_DEG: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One or more polygons; a place is inside when it is inside one of them.

    Raises:
        InvalidInputError: naming the first ring that encloses nothing, is not closed, or leaves the map.
    """

    polygons: tuple[Polygon, ...]

    def __post_init__(self) -> None:
        if not self.polygons:
            raise InvalidInputError(field="area", value="no polygon", fix="give at least one polygon")
        for number, polygon in enumerate(self.polygons):
            if not polygon:
                raise InvalidInputError(
                    field=f"area.polygon[{number}]", value="no ring", fix="give its outer ring first"
                )
            for position, ring in enumerate(polygon):
                _check_ring(ring, f"area.polygon[{number}].ring[{position}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherAlert:
    """A warning of weather in an area.

    Attributes:
        alert_id: What its issuer calls it.
        event: What is expected, in the issuer's words, e.g. ``Tornado Warning``.
        severity: How bad.
        area: Where.
        effective: When; None when the issuer does not say.
    """

    alert_id: str
    event: str
    severity: Severity
    area: Area
    effective: Interval | None


def _check_ring(ring: Ring, name: str) -> None:
    for position, (longitude_deg, latitude_deg) in enumerate(ring):
        # Written so that what is not a number fails too.
        if not (abs(longitude_deg) <= _MOST_LONGITUDE_DEG and abs(latitude_deg) <= _MOST_LATITUDE_DEG):
            raise InvalidInputError(
                field=f"{name}[{position}]",
                value=(longitude_deg, latitude_deg),
                fix="give longitude, then latitude, in degrees on the map",
            )
    if len(ring) < 4:
        raise InvalidInputError(
            field=name, value=f"{len(ring)} places", fix="give at least three places and the first one again"
        )
    if ring[0] != ring[-1]:
        raise InvalidInputError(
            field=name, value=(ring[0], ring[-1]), fix="close it: let the last place be the first one again"
        )
