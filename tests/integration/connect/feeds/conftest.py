"""A provider and fetchers of it, for the tests of feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from shoal.connect.feeds.cache import DocumentCache
from shoal.connect.feeds.fetch import Fetcher, FetchLimits
from shoal.connect.feeds.host import HostPace
from shoal.flow.retry import Backoff, Retry
from tests.integration.connect.feeds.server import Provider, provider

NOW_NS = 1_800_000_000_000_000_000
HOSTS = (
    *("https://nemweb.com.au", "https://www.ercot.com", "https://web-api.tp.entsoe.eu"),
    *(
        "https://api.energy-charts.info",
        "https://data.elexon.co.uk",
        "https://opendata.dwd.de",
        "https://api.met.no",
    ),
)

Fetchers: TypeAlias = Callable[..., Fetcher]


@pytest.fixture
def told() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def fetchers(told: Provider, tmp_path: Path) -> Fetchers:
    """Make fetchers that reach every host at the test's provider, try three times and never sleep for real."""

    async def no_sleep(_seconds: float) -> None:
        return None

    def make(**changed: Any) -> Fetcher:
        given: dict[str, Any] = {
            "cache": DocumentCache(tmp_path / "cache", max_bytes=8 << 20),
            "now_ns": lambda: NOW_NS,
            "contact": "https://plant.example/contact",
            "secrets": {"SHOAL_ENTSOE_TOKEN": "s3cret-t0ken/+"},
            "mirrors": dict.fromkeys(HOSTS, told.url),
            "limits": FetchLimits(total_s=5.0, body_bytes=1 << 20, failures_to_open=3, rest_s=60.0),
            "retry": Retry(backoff=Backoff(first_s=0.0, cap_s=0.0), tries=3, sleep=no_sleep),
            "pace": lambda rate_per_s: HostPace(rate_per_s=rate_per_s, sleep=no_sleep),
        }
        return Fetcher(**(given | changed))

    return make
