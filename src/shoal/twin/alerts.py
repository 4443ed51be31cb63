"""Weather alerts as their issuers write them, GeoJSON, and what of a fleet each one touches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alert import SEVERITIES, Area, Polygon, Ring, WeatherAlert
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import Interval, to_ns
from shoal.twin.layout import Layout

_SHAPES: Final = "a Polygon, a MultiPolygon, a Feature of one or a FeatureCollection of them"
_MOST_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertImpact:
    """What of a fleet lies inside an alert's area.

    Attributes:
        rows: The sites, ascending.
        charge_kw: Their rated charging power together.
        discharge_kw: Their rated discharging power together.
        capacity_kwh: What their batteries hold when full.
        sites_by_group: How many of them each group has at or below it, of the groups that have any.
    """

    rows: NDArray[np.int64]
    charge_kw: float
    discharge_kw: float
    capacity_kwh: float
    sites_by_group: dict[GroupId, int]


def impact_of(rows: NDArray[np.int64], fleet: Fleet, layout: Layout) -> AlertImpact:
    """Return what these sites, as `ZoneIndex.inside` found them, mean to the fleet."""
    plates = layout.plates[layout.plate_of[rows]]
    counts = layout.sites_by_group(rows)
    return AlertImpact(
        rows=rows,
        charge_kw=int(plates["charge_w"].sum()) / 1e3,
        discharge_kw=int(plates["discharge_w"].sum()) / 1e3,
        capacity_kwh=int(plates["capacity_wh"].sum()) / 1e3,
        sites_by_group={
            fleet.groups[number].group_id: int(counts[number]) for number in np.flatnonzero(counts).tolist()
        },
    )


def alerts_from_geojson(content: object) -> tuple[WeatherAlert, ...]:
    """Return the alerts of a GeoJSON object; one without an area (it names zones only) is left out.

    Of a feature's properties `id`, `event`, `severity`, `effective` or `onset`, and `ends` or `expires` are read.

    Raises:
        InvalidInputError: when it is something else, or an area is wrong; the field says where.
    """
    kind = _kind(content, "geojson")
    assert isinstance(content, Mapping)
    if kind == "FeatureCollection":
        features = enumerate(_items(content.get("features"), "geojson.features"))
        named = [(feature, f"geojson.features[{number}]") for number, feature in features]
    else:
        named = [(content, "geojson")]
    alerts: list[WeatherAlert] = []
    for feature, where in named:
        if _kind(feature, where) != "Feature":
            alerts.append(_alert({}, area_from_geojson(feature, where), where))
        elif feature.get("geometry") is not None:
            properties = feature.get("properties") or {}
            if not isinstance(properties, Mapping):
                raise InvalidInputError(
                    field=f"{where}.properties", value=_short(properties), fix="give an object, or null"
                )
            area = area_from_geojson(feature["geometry"], f"{where}.geometry")
            alerts.append(_alert({"id": feature.get("id"), **properties}, area, where))
    return tuple(alerts)


def area_from_geojson(geometry: object, where: str = "geometry") -> Area:
    """Return the area of a GeoJSON Polygon or MultiPolygon; heights are left out.

    Raises:
        InvalidInputError: when it is something else, or a ring is wrong; the field says where.
    """
    kind = _kind(geometry, where)
    assert isinstance(geometry, Mapping)
    coordinates = geometry.get("coordinates")
    if kind == "Polygon":
        return Area(polygons=(_polygon(coordinates, f"{where}.coordinates"),))
    if kind == "MultiPolygon":
        parts = enumerate(_items(coordinates, f"{where}.coordinates"))
        return Area(
            polygons=tuple(_polygon(part, f"{where}.coordinates[{number}]") for number, part in parts)
        )
    raise InvalidInputError(field=f"{where}.type", value=kind, fix=f"give {_SHAPES}")


def _kind(value: object, where: str) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(kind, str):
        raise InvalidInputError(field=where, value=_short(value), fix=f"give {_SHAPES}")
    return kind


def _items(value: object, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError(field=where, value=_short(value), fix="give a list")
    return value


def _polygon(value: object, where: str) -> Polygon:
    rings = enumerate(_items(value, where))
    return tuple(_ring(ring, f"{where}[{number}]") for number, ring in rings)


def _ring(value: object, where: str) -> Ring:
    places: list[tuple[float, float]] = []
    for number, place in enumerate(_items(value, where)):
        numbers = place[:2] if isinstance(place, list | tuple) else ()
        if len(numbers) < 2 or not all(type(part) in (int, float) for part in numbers):
            raise InvalidInputError(
                field=f"{where}[{number}]", value=_short(place), fix="give longitude, then latitude"
            )
        places.append((float(numbers[0]), float(numbers[1])))
    return tuple(places)


def _alert(properties: Mapping[str, Any], area: Area, where: str) -> WeatherAlert:
    severity = str(properties.get("severity") or "unknown").lower()
    if severity not in SEVERITIES:
        raise InvalidInputError(
            field=f"{where}.properties.severity", value=severity, fix=f"one of {', '.join(SEVERITIES)}"
        )
    start_ns = _instant(properties, ("effective", "onset"), where)
    end_ns = _instant(properties, ("ends", "expires"), where)
    known = start_ns is not None and end_ns is not None
    return WeatherAlert(
        alert_id=str(properties.get("id") or ""),
        event=str(properties.get("event") or ""),
        severity=next(item for item in SEVERITIES if item == severity),
        area=area,
        effective=Interval(start_ns=start_ns, end_ns=end_ns) if known else None,  # type: ignore[arg-type]
    )


def _instant(properties: Mapping[str, Any], names: Sequence[str], where: str) -> int | None:
    for name in names:
        if properties.get(name) is not None:
            try:
                instant_ns = to_ns(datetime.fromisoformat(properties[name]))
                if abs(instant_ns) > _MOST_NS:
                    raise ValueError("beyond what 64 bits hold")
                return instant_ns
            except (TypeError, ValueError, InvalidInputError) as error:
                raise InvalidInputError(
                    field=f"{where}.properties.{name}",
                    value=_short(properties[name]),
                    fix="write it like 2026-05-04T16:00:00-05:00, up to the year 2261",
                ) from error
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
