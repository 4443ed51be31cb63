"""What the HTTP interface answers beyond the page's state: sites, awards, statements, history.

Money is a decimal string with every digit that is settled, so that sums of it are exact. Signs and instants are those
of the page's state.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.api.state import AwardedInterval, SettlementStatus


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One site: its nameplate by column, and the group it hangs from in each hierarchy."""

    site_id: str
    latitude_deg: float
    longitude_deg: float
    nameplate: dict[str, float]
    groups: dict[str, str]


class SitePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sites, in the order of the registry."""

    total: int
    offset: int
    limit: int
    sites: list[Site]


class SiteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A site with the latest record of its twin.

    `latest` has the columns of the telemetry table; it is None when the site was never heard, or when the twins
    cannot be asked now, which `latest_unavailable` then says.
    """

    site: Site
    as_of_ms: int | None
    latest: dict[str, float | int] | None
    latest_unavailable: str | None


class Award(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one auction for one resource and day."""

    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    version: int
    published_ms: int
    intervals: list[AwardedInterval]


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one settled day; received amounts are positive."""

    resource_id: str
    delivery_date: str
    version: int
    known_ms: int
    status: SettlementStatus
    currency: str
    award_mwh: float
    delivered_mwh: float
    award_amount: str
    imbalance_amount: str
    deviation_charge: str
    net_amount: str


class SettledInterval(msgspec.Struct, frozen=True, kw_only=True):
    """One settled interval."""

    start_ms: int
    end_ms: int
    award_mwh: float
    delivered_mwh: float
    price_per_mwh: float
    award_amount: str
    imbalance_amount: str
    deviation_charge: str
    net_amount: str
    estimated: bool


class SiteShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one site's owner receives of a day."""

    site_id: str
    amount: str


class StatementDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A settled day down to its intervals and shares; the shares and the operator's part add up to the net amount."""

    summary: StatementRow
    intervals: list[SettledInterval]
    shares: list[SiteShare]
    operator_amount: str


class HistoryColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of an answer, with its type as Arrow names it."""

    name: str
    type: str


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question about history; `truncated` when there were more rows than asked for."""

    columns: list[HistoryColumn]
    rows: list[list[Any]]
    truncated: bool
    took_s: float


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process turns."""

    role: str
    status: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this role can serve; its neighbours do not count. `last_message_age_s` is None before the first."""

    role: str
    status: str
    reason: str
    sites: int
    page_built: bool
    last_message_age_s: float | None
