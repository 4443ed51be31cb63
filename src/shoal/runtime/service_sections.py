"""Sections of the settings for services that only some plants give."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.runtime.keys import Section, key


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Regulation(Section):
    """Following a market's regulation signal, every few seconds, with the homes of one resource."""

    resource: str = key(
        "",
        "whose sites follow its signal; empty for none, and then the role is not among all",
        pattern=r"[A-Za-z0-9_-]*",
        form="empty, or the id of a resource",
    )
    offer_kw: float = key(
        0.0, "capability assigned by the market, the same up and down", unit="kW", low=0, high=1e7
    )
    margin_frac: float = key(
        0.3, "share of the offer that is armed beyond it, for homes that drop out", low=0, high=2
    )
    signal_every_s: float = key(2.0, "time between two signals", unit="s", low=1, high=60)
    energy_target_frac: float = key(
        0.5, "share of the usable energy that the homes are brought back to while they follow", low=0, high=1
    )
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", low=0, high=65_535)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Prices(Section):
    """The search for the prices at which homes, each at its own optimum, together keep feeder limits and awards."""

    fleet: str = key(
        "",
        "name of the search, and the beginning of its orders' ids; empty for none, and then the role is not among all",
        pattern=r"[A-Za-z0-9_-]{0,30}",
        form="empty, or up to 30 letters, digits, '-' and '_'",
    )
    limits: str = key(
        "",
        "limits of groups: group=import/export in kW, several with semicolons between, none below another; export may be left "
        "out",
        pattern=r"|[^=;/\s]+=\d+(\.\d+)?(/\d+(\.\d+)?)?(;[^=;/\s]+=\d+(\.\d+)?(/\d+(\.\d+)?)?)*",
        form="empty, or such as feeder-1=50/30;feeder-2=80",
    )
    resource: str = key(
        "",
        "whose awards are commitments of the fleet; empty for none",
        pattern=r"[A-Za-z0-9_-]*",
        form="empty, or the id of a resource",
    )
    market_prices: bool = key(
        False, "whether the resource's market prices, as far as known, are added to the homes' tariffs"
    )
    every_s: float = key(900.0, "plant time between two searches", unit="s", low=60, high=86_400)
    step_s: int = key(
        900, "length of an interval, a multiple of a quarter of an hour", unit="s", low=900, high=3_600
    )
    horizon_h: float = key(24.0, "how far a search looks ahead", unit="h", low=1, high=32)
    round_timeout_s: float = key(
        2.0, "how long a round waits for homes that have not answered", unit="s", low=0.05, high=60
    )
    deadline_s: float = key(120.0, "after so long a search ends as it stands", unit="s", low=1, high=3_600)
    gap_frac: float = key(1e-3, "certified gap at which a search ends earlier", low=1e-6, high=0.5)
    excess_per_kwh: float = key(
        5.0, "what a kWh beyond a group's limit costs; well above any tariff", low=0.1, high=40
    )
    imbalance_per_kwh: float = key(0.5, "what a kWh away from an award costs", low=0, high=20)
    least_homes: int = key(
        5,
        "so many homes hide each other in a sum, but for those whose owners agreed to be seen",
        low=1,
        high=1_000,
    )
    import_per_kwh: float = key(
        0.30, "what homes that do not answer for themselves are taken to pay for a kWh", low=0, high=10
    )
    export_per_kwh: float = key(0.05, "what they are taken to earn", low=0, high=10)
    wear_per_kwh: float = key(0.02, "what wear is taken to cost them for a kWh discharged", low=0, high=10)
    http_port: int = key(0, "port of the operations endpoint; 0 takes a free one", low=0, high=65_535)
