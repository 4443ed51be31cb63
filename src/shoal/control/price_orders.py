"""Prices as orders: what a search found is put where all orders are, and reaches homes as everything else does.

One order holds the homes of a group, that is of a feeder. A newer revision takes the place of the one before; what somebody
has cancelled or aborted stays so, and its homes follow no prices until the search goes under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.control.price_groups import PriceGroups, most_weighted
from shoal.domain.errors import FencedOutError, InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge.price_round import most_rows, series_of
from shoal.store.order_records import Order, PriceSpec, Scope

BY: Final = "prices"

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


class OrderStore(Protocol):
    """Where orders are kept; see `shoal.store.orders.Orders`."""

    def order(self, order_id: str) -> Order: ...
    def orders(self, *, after_ns: int) -> list[Order]: ...
    def put(self, order: Order) -> Order: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Prices for some sites.

    Attributes:
        order_id: The same from search to search.
        series: What is added to their tariff.
        sites: Who follows it.
    """

    order_id: str
    series: PriceSeries
    sites: tuple[str, ...]

    @property
    def end_ns(self) -> int:
        """When the last interval ends."""
        return self.series.start_ns + len(self.series.import_per_kwh) * self.series.step_s * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of it.

    Attributes:
        orders: How many orders stand.
        sites: How many sites they mean.
        stopped: Orders that somebody has cancelled or aborted, and who.
    """

    orders: int
    sites: int
    stopped: tuple[str, ...]


def prefix_of(fleet: str) -> str:
    """Return how the ids of a search's orders begin."""
    return f"{fleet}-prices-"


def drafts_of(
    fleet: str,
    *,
    groups: PriceGroups,
    agents: Rows,
    columns: Rows,
    site_ids: Sequence[str],
    prices_per_kwh: Floats,
    weights: Floats,
    start_ns: int,
    step_s: int,
) -> list[Draft]:
    """Return the orders that realise a mixture, one a group.

    Args:
        fleet: The search's name.
        groups: Who takes part.
        agents: Rows of the sites that answered for themselves.
        columns: Rows of those that were answered for.
        site_ids: Names of all sites.
        prices_per_kwh: Rows of prices of each feeder, shape (R, F, T).
        weights: The share of each row in each group, shape (G, R).
        start_ns: When the first interval begins.
        step_s: Length of each.
    """
    drafts = []
    for rows, kind, answering in ((agents, "a", True), (columns, "c", False)):
        group_of = groups.group_of(rows, answering=answering)
        for group in np.unique(group_of).tolist():
            feeder = int(groups.feeder_of[group])
            most = most_rows(prices_per_kwh.shape[2])
            some, shares = most_weighted(prices_per_kwh[:, feeder], weights[group], most)
            drafts.append(
                Draft(
                    order_id=f"{prefix_of(fleet)}{feeder}{kind}",
                    series=series_of(some, shares, start_ns=start_ns, step_s=step_s),
                    sites=tuple(str(site_ids[row]) for row in rows[group_of == group].tolist()),
                )
            )
    return drafts


def publish(
    store: OrderStore, drafts: Sequence[Draft], *, fleet: str, program: str, now_ns: int, reason: str
) -> Published:
    """Put the orders; those of an earlier search that are not needed any more end now. Blocks.

    Raises:
        FencedOutError: somebody else puts the orders of this search too.
        UnavailableError: the store cannot be reached.
    """
    standing: list[Draft] = []
    stopped: list[str] = []
    for draft in drafts:
        held = _held(store, draft.order_id)
        if held is not None and held.state != "standing":
            stopped.append(f"{draft.order_id} {held.state} by {held.by}")
            continue
        order = Order(
            order_id=draft.order_id,
            revision=1 if held is None else held.revision + 1,
            program=program,
            scope=Scope(sites=draft.sites),
            start_ns=draft.series.start_ns,
            end_ns=draft.end_ns,
            spec=PriceSpec(prices=draft.series),
            by=BY,
            at_ns=now_ns,
            reason=reason,
        )
        _put(store, order)
        standing.append(draft)
    named = {draft.order_id for draft in drafts}
    for order in store.orders(after_ns=now_ns):
        if order.order_id.startswith(prefix_of(fleet)) and order.order_id not in named:
            _put(store, _ended(order, now_ns))
    return Published(
        orders=len(standing), sites=sum(len(draft.sites) for draft in standing), stopped=tuple(stopped)
    )


def _held(store: OrderStore, order_id: str) -> Order | None:
    try:
        return store.order(order_id)
    except UnknownIdError:
        return None


def _put(store: OrderStore, order: Order) -> None:
    try:
        store.put(order)
    except InvalidInputError as error:
        if error.field == "revision":
            raise FencedOutError(held=order.revision, newest=order.revision + 1) from error
        if error.field != "order":
            raise  # one that was cancelled a moment ago stays so


def _ended(order: Order, now_ns: int) -> Order:
    """Return an order as one that ends now; not as a cancelled one, so that its id serves again."""
    return Order(
        order_id=order.order_id,
        revision=order.revision + 1,
        program=order.program,
        scope=order.scope,
        start_ns=min(order.start_ns, now_ns - 1),
        end_ns=now_ns,
        spec=order.spec,
        by=BY,
        at_ns=now_ns,
        reason="nobody follows these prices any more",
    )
