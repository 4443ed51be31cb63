"""The contract of the interface: each answer's type in OpenAPI, from the same declarations that encode it."""

from __future__ import annotations

import html
from functools import cache
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from shoal.api.admin.answers import ADMIN_TYPES
from shoal.api.alarms.answers import ALARM_TYPES
from shoal.api.answers import (
    AlarmDetail,
    AlarmPage,
    AlertDetail,
    AlertSites,
    Alive,
    Award,
    EnergyAnswer,
    GroupDetail,
    GroupPage,
    Hierarchy,
    HistoryAnswer,
    HistoryStatus,
    OwnedUnit,
    Ready,
    Session,
    SiteDetail,
    SitePage,
    StatementDetail,
    StatementRow,
    TwinPage,
    UserStepView,
    UserView,
)
from shoal.api.commands.answers import COMMAND_TYPES
from shoal.api.dispatch.order_answers import DISPATCH_TYPES
from shoal.api.events.answers import EVENT_TYPES
from shoal.api.fleet.answers import FLEET_TYPES
from shoal.api.forecasts.answers import FORECAST_TYPES
from shoal.api.groups.answers import NODE_TYPES
from shoal.api.home.answers import HOME_TYPES
from shoal.api.limits.answers import LIMIT_TYPES
from shoal.api.live.messages import DeltaMessage, GroupsMessage, SlowMessage, SnapshotMessage, WatchRequest
from shoal.api.market.act_answers import MARKET_TYPES
from shoal.api.problem import MEDIA_TYPE, Problem
from shoal.api.programs.answers import ProgramNow, SitePrograms
from shoal.api.runs.answers import RUN_TYPES
from shoal.api.services.answers import SERVICE_TYPES
from shoal.api.settlement.answers import SETTLEMENT_TYPES
from shoal.api.site.answers import SITE_TYPES

TYPES: Final[tuple[Any, ...]] = (
    SnapshotMessage,
    DeltaMessage,
    GroupsMessage,
    SlowMessage,
    WatchRequest,
    SitePage,
    SiteDetail,
    TwinPage,
    OwnedUnit,
    Hierarchy,
    GroupPage,
    GroupDetail,
    AlertDetail,
    AlertSites,
    Award,
    StatementRow,
    StatementDetail,
    HistoryAnswer,
    HistoryStatus,
    EnergyAnswer,
    AlarmPage,
    AlarmDetail,
    Session,
    UserView,
    UserStepView,
    ProgramNow,
    SitePrograms,
    *ADMIN_TYPES,
    *ALARM_TYPES,
    *COMMAND_TYPES,
    *DISPATCH_TYPES,
    *EVENT_TYPES,
    *FLEET_TYPES,
    *FORECAST_TYPES,
    *HOME_TYPES,
    *LIMIT_TYPES,
    *MARKET_TYPES,
    *NODE_TYPES,
    *RUN_TYPES,
    *SERVICE_TYPES,
    *SETTLEMENT_TYPES,
    *SITE_TYPES,
    Alive,
    Ready,
    Problem,
)
"""Everything that is answered; what lies inside comes along."""
_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "An open virtual power plant. Power is load-positive: charging, consumption and import are positive; discharge, "
    "generation and export negative. Instants are milliseconds since 1970 in UTC, intervals are half-open, absent is "
    "null. `/api/live` is a WebSocket: it sends one `SnapshotMessage` of the topics asked for, then `DeltaMessage`s of "
    "which each says from which number on it counts; a client that comes back with `epoch` and `seq` gets what it missed. "
    "It may send a `WatchRequest`, and then gets a `GroupsMessage` with those groups' figures at most once a second."
)


def answer(content: object, *, status: int = 200) -> Response:
    """Return a record as JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


def answers(kind: Any, *also: int) -> dict[int | str, dict[str, Any]]:
    """Return how a route's answer of type `kind` stands in OpenAPI, with the faults it may answer instead."""
    content = {"application/json": {"schema": _schema_of(kind)}}
    return {200: {"description": "The answer", "content": content}, **faults(*also)}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the faults that a route may answer stand in OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    return {status: {"description": "A fault, and what to do", "content": content} for status in statuses}


@cache
def _schema_of(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema


def describe(app: FastAPI) -> None:
    """Let the application describe itself with every type that it answers."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title="Shoal", version=app.version, description=_ABOUT, routes=app.routes)
            _, components = msgspec.json.schema_components(TYPES, ref_template=_REF)
            made.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def docs_page(contract: dict[str, Any]) -> str:
    """Return the contract for people, as plain HTML: no script, nothing from elsewhere."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Shoal interface</title>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "code{font-size:.95em}dd{margin:0 0 .5rem 1.5rem}</style>",
        f"<h1>{_text(contract['info']['title'])} {_text(contract['info']['version'])}</h1>",
        f"<p>{_text(contract['info']['description'])}</p>",
        "<p>The same for machines: <a href=openapi.json>openapi.json</a>.</p><h2>Paths</h2><dl>",
    ]
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            named = ", ".join(f"<code>{_text(p['name'])}</code>" for p in operation.get("parameters", []))
            answered = _schema(operation["responses"].get("200", {}))
            parts.append(
                f"<dt><code>{method.upper()} {_text(path)}</code></dt><dd>{_text(operation.get('description', ''))}"
                + (f"<br>Takes {named}." if named else "")
                + (f"<br>Answers {answered}." if answered else "")
                + "</dd>"
            )
    parts.append("</dl><h2>Types</h2><dl>")
    for name, schema in sorted(contract["components"]["schemas"].items()):
        fields = ", ".join(f"<code>{_text(field)}</code>" for field in schema.get("properties", {}))
        parts.append(
            f"<dt id='{_text(name)}'><code>{_text(name)}</code></dt>"
            f"<dd>{_text(schema.get('description', ''))}<br>{fields}</dd>"
        )
    return "".join([*parts, "</dl></html>"])


def _schema(response: dict[str, Any]) -> str:
    for content in response.get("content", {}).values():
        schema = content.get("schema", {})
        many = "a list of " if schema.get("type") == "array" else ""
        name = _text(str(schema.get("items", schema).get("$ref", "")).rpartition("/")[2])
        return f"{many}<a href='#{name}'><code>{name}</code></a>" if name else ""
    return ""


def _text(value: str) -> str:
    return html.escape(value, quote=True)
