"""What a trader did before the stories begin: overrode two hours of the first day, by the page's own API, before its gate.

A day takes the plant a minute and more to deliver; so the story that follows the money of an override to the cent begins
with one that is delivered and settled already.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.request import Request, urlopen

import msgspec

from shoal.cli.demo import Progress

HOURS: Final = slice(17, 19)
"""The hours of the evening that are overridden."""
REASON: Final = "the evening is worth more than the plant expects"


class Override:
    """Makes the override at the third step of the lead-in, when the plant has made its last own bid for the day.

    Args:
        page: Where the page is, once it is up.
    """

    def __init__(self, *, page: list[str]) -> None:
        self._page = page
        self._steps = 0

    def after(self, progress: Progress) -> None:
        """Do what is due after a step of the plant."""
        if progress.phase != "lead-in" or not self._page:
            return
        self._steps += 1
        if self._steps == 3:
            self._make()

    def _make(self) -> None:
        resource = self._ask("products")["resources"][0]["resource_id"]
        rules = self._ask(f"rules?resource={resource}")
        product = rules["products"][0]
        quantity_mw = product["quantity_minimum_mw"]
        order = {"side": "sell", "quantity_mw": quantity_mw, "price_per_mwh": product["floor_per_mwh"]}
        spans = zip(product["start_ms"][HOURS], product["end_ms"][HOURS], strict=True)
        intervals = [{"start_ms": start, "end_ms": end, "orders": [order]} for start, end in spans]
        offer = {"product": product["product_id"], "shape": "orders", "intervals": intervals}
        made = self._ask(
            "manual",
            {
                "resource_id": resource,
                "delivery_date": rules["delivery_date"],
                "reason": REASON,
                "offers": [offer],
            },
        )
        assert made["state"] == "draft", made["problems"]
        self._ask(f"manual/{made['manual_id']}/submit", {})

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else msgspec.json.encode(body)
        request = Request(
            f"{self._page[0]}api/market/{path}", data=content, headers={"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=30) as answer:
            return msgspec.json.decode(answer.read())
