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
