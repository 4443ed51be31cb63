"""What the hub of the live sockets counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatistics:
    """Counters of the hub since its start.

    Attributes:
        clients: Open live sockets.
        messages_total: Live messages taken.
        conflated_total: Those of them that a newer one replaced before they were read.
        watched: Groups that clients watch, each client's counted.
        feeds: Feeds that are read, because somebody follows them.
        feeds_read_total: How often one was read.
        feeds_failed_total: How often one could not be.
        malformed_total: Live messages that could not be decoded, or are of another fleet.
        deltas_total: Times that changes were put up for the clients.
        snapshots_total: Clients that were given everything.
        resumed_total: Clients that went on from where they were.
        slow: Clients that read slowly now; they get fewer messages, and nobody waits for them.
        refused_total: Clients refused because there were too many.
        books_read_total: How often the ledger was read.
        books_failed_total: How often it could not be read.
        last_message_age_s: Wall time since the last live message, in seconds; None before the first.
    """

    clients: int
    messages_total: int
    conflated_total: int
    watched: int
    feeds: int
    feeds_read_total: int
    feeds_failed_total: int
    malformed_total: int
    deltas_total: int
    snapshots_total: int
    resumed_total: int
    slow: int
    refused_total: int
    books_read_total: int
    books_failed_total: int
    last_message_age_s: float | None
