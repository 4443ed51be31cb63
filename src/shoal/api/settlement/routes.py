"""The routes of settlement: days, one day down to its intervals, where its money went, and all of it as a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from shoal.api.contract import answer, answers, faults
from shoal.api.plant import Plant
from shoal.api.settlement.answers import SettlementDays, SettlementDetail, SettlementWaterfall
from shoal.api.settlement.files import (
    MEDIA_TYPES,
    FileForm,
    as_file,
    days_table,
    intervals_table,
    lines_table,
    shares_table,
)
from shoal.api.settlement.views import day_view, detail_view, money, waterfall_view
from shoal.bidding.settled_days import DayBook, SettledDays, day_intervals
from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.settle.waterfall import to_cents
from shoal.store.facts import FactStore
from shoal.store.settlings import Settlings

MOST_DAYS: Final = 92
USUAL_DAYS: Final = 31
FIRST_DAY: Final = date(1990, 1, 1)
LAST_DAY: Final = date(2199, 12, 31)
FORESIGHT_S: Final = 10.0
"""Who asks where the money went waits so long for those who asked before."""
_DAY: Final = r"^\d{4}-\d{2}-\d{2}$"

OfResource: TypeAlias = Annotated[str, Query(max_length=64, description="The resource.")]
FromDay: TypeAlias = Annotated[
    str | None,
    Query(alias="from", pattern=_DAY, description="The first delivery day, YYYY-MM-DD; 31 days when absent."),
]
ToDay: TypeAlias = Annotated[
    str | None, Query(alias="to", pattern=_DAY, description="The last delivery day; tomorrow when absent.")
]
ResourceInPath: TypeAlias = Annotated[str, Path(max_length=64, description="The resource.")]
DayInPath: TypeAlias = Annotated[str, Path(pattern=_DAY, description="The delivery day, YYYY-MM-DD.")]
Form: TypeAlias = Annotated[FileForm, Query(description="Which kind of file.")]
What: TypeAlias = Annotated[
    Literal["lines", "intervals", "shares"],
    Query(description="The newest version's lines, the day's intervals, or each home's share."),
]


def settlement_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read the database in threads."""
    router = APIRouter(prefix="/api/settlement", tags=["settlement"])
    reader = SettledDays(plant.ledger, Settlings(plant.database), FactStore(plant.database))
    foresight = threading.Lock()  # what it would have been with perfect foresight is computed: one at a time

    def books(resource: str, first: str | None, last: str | None) -> tuple[Market, date, date, list[DayBook]]:
        market = _market(plant, resource)
        from_day, to_day = _span(market, plant.now_ns(), first, last)
        now_ns = plant.now_ns()
        days = reader.dates(resource, market, first=from_day, last=to_day)
        return market, from_day, to_day, [reader.book(resource, market, day, as_of_ns=now_ns) for day in days]

    def book(resource: str, text: str) -> DayBook:
        market = _market(plant, resource)
        day = _date("day", text)
        found = reader.book(resource, market, day, as_of_ns=plant.now_ns())
        if found.award is None and found.newest is None:
            raise UnknownIdError(f"award or settlement of {resource} for", text)
        return found

    @router.get("", responses=answers(SettlementDays, 404, 422))
    def read_days(resource: OfResource, first: FromDay = None, last: ToDay = None) -> Response:
        """Return the days of a resource with award, delivery, imbalance and net, the newest first; at most 92."""
        market, from_day, to_day, found = books(resource, first, last)
        settled = [one.newest.settlement.amount for one in found if one.newest is not None]
        return answer(
            SettlementDays(
                resource_id=resource,
                market_id=market.rules.market_id,
                zone=market.rules.zone,
                currency=market.rules.currency,
                from_date=from_day.isoformat(),
                to_date=to_day.isoformat(),
                days=[day_view(one, day_intervals(one)) for one in reversed(found)],
                settled_days=len(settled),
                net_amount=money(sum(settled)),
                net_cents=to_cents(sum(settled)),
            )
        )

    @router.get("/export", responses=_file(404, 422), response_class=Response)
    def export_days(
        resource: OfResource, format: Form = "csv", first: FromDay = None, last: ToDay = None
    ) -> Response:
        """Return the same days as a CSV or Parquet file, amounts as exact decimals."""
        _, from_day, to_day, found = books(resource, first, last)
        name = f"settlement-{resource}-{from_day}-{to_day}"
        return as_file(days_table([(one, day_intervals(one)) for one in found]), name, format)

    @router.get("/{resource_id}/{day}", responses=answers(SettlementDetail, 404, 422))
    def read_day(resource_id: ResourceInPath, day: DayInPath) -> Response:
        """Return a day with its intervals, every version, what the check found, and who receives the money."""
        found = book(resource_id, day)
        return answer(detail_view(found, day_intervals(found), reader.shares(found)))

    @router.get("/{resource_id}/{day}/waterfall", responses=answers(SettlementWaterfall, 404, 422, 503))
    def read_waterfall(resource_id: ResourceInPath, day: DayInPath) -> Response:
        """Return where the money of a day went, from perfect foresight to what was settled; the cents add up."""
        found = book(resource_id, day)
        with _alone(foresight):
            told = reader.money(found, as_of_ns=plant.now_ns())
        return answer(waterfall_view(found, told))

    @router.get("/{resource_id}/{day}/export", responses=_file(404, 422), response_class=Response)
    def export_day(
        resource_id: ResourceInPath, day: DayInPath, format: Form = "csv", what: What = "lines"
    ) -> Response:
        """Return a day's lines, intervals or shares as a CSV or Parquet file, amounts as exact decimals."""
        found = book(resource_id, day)
        shares = reader.shares(found) if what == "shares" else None
        if (what == "lines" and found.newest is None) or (what == "shares" and shares is None):
            fix = "wait until the day is settled, or ask for what=intervals"
            raise InvalidInputError(field="what", value=what, fix=fix)
        if shares is not None:
            table = shares_table(found, *shares)
        else:
            table = lines_table(found) if what == "lines" else intervals_table(found, day_intervals(found))
        return as_file(table, f"settlement-{resource_id}-{day}-{what}", format)

    return router


@contextmanager
def _alone(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock, or say that others were first.

    Raises:
        UnavailableError: when it is not free soon.
    """
    if not lock.acquire(timeout=FORESIGHT_S):
        raise UnavailableError("the plan with perfect foresight", "others are being computed; ask again")
    try:
        yield
    finally:
        lock.release()


def _file(*also: int) -> dict[int | str, dict[str, Any]]:
    """Return how a file stands in OpenAPI, with the faults that may be answered instead."""
    content = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()}
    return {200: {"description": "The file", "content": content}, **faults(*also)}


def _market(plant: Plant, resource_id: str) -> Market:
    """Return the market of a resource.

    Raises:
        UnknownIdError: when there is no such resource, or its market is not known.
    """
    for resource in plant.fleet.resources:
        if resource.resource_id == resource_id:
            return market_module(resource.market_id)
    raise UnknownIdError("resource", resource_id)


def _date(field: str, text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(field=field, value=text, fix="give a day of the calendar") from error
    if not FIRST_DAY <= found <= LAST_DAY:
        raise InvalidInputError(field=field, value=text, fix=f"stay within {FIRST_DAY} and {LAST_DAY}")
    return found


def _span(market: Market, now_ns: int, first: str | None, last: str | None) -> tuple[date, date]:
    """Return the first and the last day asked for.

    Raises:
        InvalidInputError: when they are no days, in the wrong order, or too many.
    """
    to_day = market.delivery_date(now_ns) + timedelta(days=1) if last is None else _date("to", last)
    from_day = to_day - timedelta(days=USUAL_DAYS - 1) if first is None else _date("from", first)
    if from_day > to_day:
        raise InvalidInputError(field="from", value=from_day.isoformat(), fix=f"begin by {to_day}")
    if (to_day - from_day).days >= MOST_DAYS:
        raise InvalidInputError(
            field="from", value=from_day.isoformat(), fix=f"ask for at most {MOST_DAYS} days"
        )
    return from_day, to_day
