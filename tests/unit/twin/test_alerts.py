"""Weather alerts from GeoJSON: read as issuers write them, and refused with the place that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.twin.alerts import alerts_from_geojson, area_from_geojson, impact_of
from shoal.twin.layout import Layout
from shoal.twin.zones import ZoneIndex
from tests.integration.store.fleets import make_fleet

SQUARE: list[Any] = [[-98, 30], [-96, 30], [-96, 32, 120.5], [-98, 32], [-98, 30]]


def feature(**properties: object) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_alert_is_read_with_its_words_and_times() -> None:
    (alert,) = alerts_from_geojson(
        feature(
            id="urn:1",
            event="Ice Storm Warning",
            severity="Severe",
            effective="2021-02-10T00:00:00-06:00",
            ends=None,
            expires="2021-02-10T12:00:00+00:00",
        )
    )
    assert (alert.alert_id, alert.event, alert.severity) == ("urn:1", "Ice Storm Warning", "severe")
    assert alert.effective == Interval(start_ns=1_612_936_800 * 10**9, end_ns=1_612_958_400 * 10**9)
    assert alert.area.polygons[0][0][2] == (-96.0, 32.0)


def test_collection_gives_the_alerts_that_have_an_area() -> None:
    collection = {"type": "FeatureCollection", "features": [feature(), {**feature(), "geometry": None}]}
    (alert,) = alerts_from_geojson(collection)
    assert (alert.alert_id, alert.severity, alert.effective) == ("", "unknown", None)


def test_bare_geometry_is_an_alert_without_words() -> None:
    several = {"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE, SQUARE]]}
    (alert,) = alerts_from_geojson(several)
    assert [len(polygon) for polygon in alert.area.polygons] == [1, 2]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (7, "geojson"),
        ({"type": "Point", "coordinates": [1, 2]}, "geojson.type"),
        ({"type": "FeatureCollection"}, "geojson.features"),
        ({"type": "FeatureCollection", "features": [feature(), 3]}, r"geojson.features\[1\]"),
        (feature(severity="awful"), "geojson.properties.severity"),
        (feature(effective="soon", ends="later"), "geojson.properties.effective"),
        (feature(effective="2021-02-10T00:00:00"), "geojson.properties.effective"),
        (feature(expires="9999-12-31T23:59:59Z"), "geojson.properties.expires"),
        ({**feature(), "properties": ["severe"]}, "geojson.properties"),
        ({"type": "Polygon", "coordinates": [[[1, 2], "x"]]}, r"geojson.coordinates\[0\]\[1\]"),
        ({"type": "Polygon", "coordinates": [[[1, True]]]}, r"geojson.coordinates\[0\]\[0\]"),
        ({"type": "Polygon", "coordinates": None}, "geojson.coordinates"),
        ({"type": "Polygon", "coordinates": []}, "area.polygon"),
        ({"type": "MultiPolygon", "coordinates": []}, "area"),
    ],
)
def test_wrong_geojson_is_refused_with_its_place(content: object, field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        alerts_from_geojson(content)


def test_impact_is_what_the_sites_inside_can_do() -> None:
    fleet = make_fleet(200)
    area = area_from_geojson(feature()["geometry"])
    rows = ZoneIndex(fleet.latitude_deg, fleet.longitude_deg).inside(area)
    impact = impact_of(rows, fleet, Layout.of(fleet))
    inside = (np.abs(fleet.latitude_deg - 31) < 1) & (np.abs(fleet.longitude_deg + 97) < 1)
    assert impact.rows.tolist() == np.flatnonzero(inside).tolist()
    assert impact.capacity_kwh == 13.5 * len(rows)
    assert impact.discharge_kw == pytest.approx(
        fleet.nameplate["discharge_limit_kw"][rows].sum(), abs=1e-3 * 200
    )
    by_group = {
        group.group_id: len(set(fleet.rows_in(group.group_id).tolist()) & set(rows.tolist()))
        for group in fleet.groups
    }
    assert impact.sites_by_group == {name: count for name, count in by_group.items() if count}


def test_impact_on_nobody_touches_nothing() -> None:
    fleet = make_fleet(3)
    impact = impact_of(np.empty(0, dtype=np.int64), fleet, Layout.of(fleet))
    assert (impact.capacity_kwh, impact.sites_by_group) == (0.0, {})
