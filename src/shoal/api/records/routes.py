"""The routes of what is on record: bids, awards, statements, runs, and the history of telemetry."""

from __future__ import annotations

import asyncio
import io
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query
from pyarrow import csv, parquet
from pydantic import Field
from starlette.responses import Response

from shoal.api.answers import (
    Award,
    EnergyAnswer,
    HistoryAnswer,
    HistoryColumn,
    HistoryStatus,
    HistoryTier,
    SettledInterval,
    SiteShare,
    StatementDetail,
    StatementRow,
)
from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.groups.energy import hierarchy_energy
from shoal.api.live import state
from shoal.api.live.views import run_view
from shoal.api.plant import Plant
from shoal.api.records.books import award_intervals, bid_view, day_bids, known_resources
from shoal.bidding.awarded import Awarded
from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.domain.fleet import Resource
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market_module
from shoal.settle import statement as settled
from shoal.store.history import History
from shoal.store.records import Statement as KeptStatement

MAX_ROWS: Final = 10_000
MAX_FILE_ROWS: Final = 200_000
MAX_SQL_CHARACTERS: Final = 20_000
QUERIES_AT_ONCE: Final = 2
NICENESS: Final = 10
"""Of the threads that answer questions about history: the live view goes first."""
AWARD_SPAN_NS: Final = 8 * 24 * NS_PER_HOUR
FAR_NS: Final = 2**62
_WH_PER_MWH: Final = 1_000_000
_DIGITS: Final = 8
R = TypeVar("R")
_STATEMENT: Final = msgspec.json.Decoder(settled.Statement)

Day = Annotated[str, Query(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A delivery day, YYYY-MM-DD.")]
DayInPath = Annotated[str, Path(pattern=r"^\d{4}-\d{2}-\d{2}$", description="A delivery day, YYYY-MM-DD.")]
Latest = Annotated[int, Query(ge=1, le=1_000, description="How many of the newest to list.")]
Instant = Annotated[
    int, Query(ge=0, le=FAR_NS // state.MS_PER_NS, description="Milliseconds since 1970, UTC.")
]
OfResource = Annotated[str, Query(description="Only of this resource.")]
OfHierarchy = Annotated[str, Query(description="The hierarchy whose groups are asked for.")]
OfGroup = Annotated[str | None, Query(description="This group and those below it; all when absent.")]


class HistoryQuery(Body):
    """A question in SQL about `telemetry`, `rollup_5min`, `rollup_1h` and `sites`: one SELECT."""

    sql: str = Field(min_length=1, max_length=MAX_SQL_CHARACTERS)
    limit: int = Field(
        default=1_000,
        ge=1,
        le=MAX_FILE_ROWS,
        description=f"How many rows to answer at most; at most {MAX_ROWS} as JSON.",
    )
    from_ms: int | None = Field(
        default=None, ge=0, le=FAR_NS // state.MS_PER_NS, description="Leave out the hours before."
    )
    to_ms: int | None = Field(
        default=None, ge=0, le=FAR_NS // state.MS_PER_NS, description="Leave out the hours from there on."
    )
    format: Literal["json", "csv", "parquet"] = "json"

    def span_ns(self) -> tuple[int, int] | None:
        """Return the span whose hours are to be looked at; None for all."""
        if self.from_ms is None and self.to_ms is None:
            return None
        to_ns = FAR_NS if self.to_ms is None else self.to_ms * state.MS_PER_NS
        return (self.from_ms or 0) * state.MS_PER_NS, to_ns


def books_routes(plant: Plant) -> APIRouter:
    """Return the routes; those that read the database run in threads."""
    router = APIRouter(prefix="/api", tags=["records"])
    ledger = plant.ledger
    awarded = Awarded(cycles=ledger, market=market_module)

    @router.get("/bids", responses=answers(list[state.Bid], 422))
    def read_bids(delivery_date: Day | None = None, resource_id: OfResource | None = None) -> Response:
        """Return the latest bid of each resource and day, with its award, the newest day first."""
        views = []
        for resource in known_resources(_resources(plant, resource_id)):
            records = ledger.bids(
                resource_id=resource.resource_id, market_id=resource.market_id, delivery_date=delivery_date
            )
            by_day = {award.delivery_date: award for award in awarded.days(resource, 0, FAR_NS)}
            views += [
                bid_view(bid, by_day.get(bid.record.bid.delivery_date)) for bid in day_bids(ledger, records)
            ]
        return answer(sorted(views, key=lambda bid: bid.delivery_date, reverse=True))

    @router.get("/awards", responses=answers(list[Award], 404, 422))
    def read_awards(
        resource_id: OfResource | None = None, from_ms: Instant | None = None, to_ms: Instant | None = None
    ) -> Response:
        """Return the awards that overlap a span, by resource and day; the last and next eight days by default."""
        now_ns = plant.model.now_ns
        first_ns, last_ns = (now_ns - AWARD_SPAN_NS, now_ns + AWARD_SPAN_NS) if now_ns else (0, FAR_NS)
        from_ns = first_ns if from_ms is None else from_ms * state.MS_PER_NS
        to_ns = last_ns if to_ms is None else to_ms * state.MS_PER_NS
        return answer(
            [
                Award(
                    resource_id=award.resource_id,
                    market_id=award.market_id,
                    settlement_point=award.settlement_point,
                    delivery_date=award.delivery_date,
                    version=award.version,
                    published_ms=state.to_ms(award.published_ns),
                    intervals=award_intervals(award),
                )
                for resource in known_resources(_resources(plant, resource_id))
                for award in awarded.days(resource, from_ns, to_ns)
            ]
        )

    @router.get("/statements", responses=answers(list[StatementRow], 404))
    def read_statements(resource_id: OfResource | None = None) -> Response:
        """Return the latest statement of each resource and day, the newest day first."""
        rows = [
            statement_row(kept, _STATEMENT.decode(kept.payload))
            for resource in _resources(plant, resource_id)
            for kept in ledger.statements(resource.resource_id)
        ]
        return answer(sorted(rows, key=lambda row: row.delivery_date, reverse=True))

    @router.get("/statements/{resource_id}/{delivery_date}", responses=answers(StatementDetail, 404, 422))
    def read_statement(resource_id: str, delivery_date: DayInPath) -> Response:
        """Return one statement down to its intervals and to each site's share."""
        (resource,) = _resources(plant, resource_id)
        kept = ledger.statement(resource.resource_id, delivery_date)
        if kept is None:
            raise UnknownIdError(f"statement of {resource_id} for", delivery_date)
        sites, amounts = ledger.site_shares(resource.resource_id, delivery_date)
        shares = [
            SiteShare(site_id=site, amount=_money(amount))
            for site, amount in zip(sites, amounts.tolist(), strict=True)
        ]
        statement = _STATEMENT.decode(kept.payload)
        return answer(
            StatementDetail(
                summary=statement_row(kept, statement),
                intervals=[_interval(item) for item in statement.intervals],
                shares=shares,
                operator_amount=_money(statement.net_amount - sum(amounts.tolist())),
            )
        )

    @router.get("/runs", responses=answers(list[state.WorkflowRun], 422))
    def read_runs(latest: Latest = 50) -> Response:
        """Return the latest workflow runs, the newest first."""
        return answer([run_view(run) for run in ledger.runs(latest)])

    slots = asyncio.Semaphore(QUERIES_AT_ONCE)
    threads = ThreadPoolExecutor(QUERIES_AT_ONCE, thread_name_prefix="history", initializer=_give_way)

    async def in_thread(ask: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(threads, ask)

    @router.post("/history/query", responses=answers(HistoryAnswer, 422, 503))
    async def query_history(query: HistoryQuery) -> Response:
        """Answer one SELECT on samples (`telemetry`), roll-ups (`rollup_5min`, `rollup_1h`) and `sites`.

        As JSON, or as a CSV or Parquet file.
        """
        if slots.locked():
            raise UnavailableError("history", f"{QUERIES_AT_ONCE} questions are being answered; ask again")
        async with slots:
            if query.format == "json" and query.limit > MAX_ROWS:
                fix = f"give at most {MAX_ROWS}, or ask for format csv or parquet"
                raise InvalidInputError(field="limit", value=query.limit, fix=fix)
            if query.format != "json":
                return await in_thread(lambda: history_file(plant.history, query))
            found = await in_thread(
                lambda: ask_history(plant.history, query.sql, query.limit, query.span_ns())
            )
        return answer(found)

    @router.get("/history/energy", responses=answers(EnergyAnswer, 404, 422, 503))
    async def read_energy(
        hierarchy: OfHierarchy, from_ms: Instant, to_ms: Instant, group: OfGroup = None
    ) -> Response:
        """Return the energy of every group of a hierarchy over an interval, each site counted where it hung when.

        Exact to the watt-hour by the registers; what is under suspicion is left out.
        """
        if slots.locked():
            raise UnavailableError("history", f"{QUERIES_AT_ONCE} questions are being answered; ask again")
        async with slots:
            found = await in_thread(
                lambda: hierarchy_energy(
                    fleet=plant.fleet,
                    history=plant.history,
                    memberships=plant.memberships,
                    hierarchy_id=hierarchy,
                    group_id=group,
                    from_ms=from_ms,
                    to_ms=to_ms,
                )
            )
        return answer(found)

    @router.get("/history/status", responses=answers(HistoryStatus))
    def read_history_status() -> Response:
        """Return what history holds, and up to which position of the journal it is written."""
        return answer(history_status(plant.history))

    return router


def _give_way() -> None:
    """Let the calling thread come after others, where threads have a priority of their own."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def ask_history(
    history: History, sql: str, limit: int, span_ns: tuple[int, int] | None = None
) -> HistoryAnswer:
    """Return at most `limit` rows of the answer to a SELECT; blocks.

    Raises:
        InvalidInputError: when it is anything but one SELECT on history.
        UnavailableError: when it needs more memory or time than allowed.
    """
    started = time.perf_counter()
    table = history.query(_limited(sql, limit + 1), span_ns=span_ns)
    columns = [[_plain(value) for value in table.column(n).to_pylist()] for n in range(table.num_columns)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return HistoryAnswer(
        columns=[HistoryColumn(name=field.name, type=str(field.type)) for field in table.schema],
        rows=rows[:limit],
        truncated=len(rows) > limit,
        took_s=time.perf_counter() - started,
    )


def history_file(history: History, query: HistoryQuery) -> Response:
    """Return the answer to a SELECT as a file; blocks.

    Raises:
        InvalidInputError: see `ask_history`.
        UnavailableError: see `ask_history`.
    """
    table = history.query(_limited(query.sql, query.limit), span_ns=query.span_ns())
    sink = io.BytesIO()
    if query.format == "csv":
        csv.write_csv(table, sink)
    else:
        parquet.write_table(table, sink, compression="zstd")
    return Response(
        sink.getvalue(),
        media_type="text/csv; charset=utf-8" if query.format == "csv" else "application/vnd.apache.parquet",
        headers={"Content-Disposition": f'attachment; filename="history.{query.format}"'},
    )


def history_status(history: History) -> HistoryStatus:
    """Return what history holds; blocks."""
    found = history.status()
    return HistoryStatus(
        positions=dict(found.positions),
        tiers={
            name: HistoryTier(files=tier.files, bytes=tier.bytes, first=tier.first, last=tier.last)
            for name, tier in found.tiers.items()
        },
        parts=found.parts,
    )


def _limited(sql: str, rows: int) -> str:
    # On lines of its own, so that a comment at its end does not swallow what follows.
    inner = sql.strip().removesuffix(";")
    return f"SELECT * FROM (\n{inner}\n) AS answer LIMIT {rows}"


def statement_row(kept: KeptStatement, statement: settled.Statement) -> StatementRow:
    """Return the sums of a statement."""
    return StatementRow(
        resource_id=statement.resource_id,
        delivery_date=statement.delivery_date,
        version=kept.version,
        known_ms=state.to_ms(kept.known_ns),
        status="provisional" if any(item.estimated for item in statement.intervals) else "settled",
        currency=statement.currency,
        award_mwh=statement.award_wh / _WH_PER_MWH,
        delivered_mwh=statement.delivered_wh / _WH_PER_MWH,
        award_amount=_money(statement.award_amount),
        imbalance_amount=_money(statement.imbalance_amount),
        deviation_charge=_money(statement.deviation_charge),
        net_amount=_money(statement.net_amount),
    )


def _interval(item: settled.SettledInterval) -> SettledInterval:
    return SettledInterval(
        start_ms=state.to_ms(item.start_ns),
        end_ms=state.to_ms(item.end_ns),
        award_mwh=item.award_wh / _WH_PER_MWH,
        delivered_mwh=item.delivered_wh / _WH_PER_MWH,
        price_per_mwh=item.price_cents_per_mwh / 100,
        award_amount=_money(item.award_amount),
        imbalance_amount=_money(item.imbalance_amount),
        deviation_charge=_money(item.deviation_charge),
        net_amount=_money(item.net_amount),
        estimated=item.estimated,
    )


def _resources(plant: Plant, resource_id: str | None) -> tuple[Resource, ...]:
    """Return the resource of that name, or all.

    Raises:
        UnknownIdError: when there is none of that name.
    """
    if resource_id is None:
        return plant.fleet.resources
    wanted = ResourceId(resource_id)
    found = tuple(resource for resource in plant.fleet.resources if resource.resource_id == wanted)
    if not found:
        raise UnknownIdError("resource", resource_id)
    return found


def _money(amount: int) -> str:
    return settled.format_amount(amount, digits=_DIGITS)


def _plain(value: Any) -> Any:
    """Return a value that JSON has: a float that is no number is absent."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
