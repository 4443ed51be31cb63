"""What goes over the live socket: one snapshot, then deltas; and what a client says and gets of the groups it opened."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.api.live.feeds import FeedSaid
from shoal.api.live.state import FleetSeries, Group, LiveState


class SnapshotMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="snapshot"):
    """The first message of a live socket: every part of the state that belongs to the topics asked for.

    `epoch` names the run of the process in which `seq` counts. `feeds` are what is followed besides, by topic.
    """

    seq: int
    epoch: str
    state: LiveState
    feeds: dict[str, FeedSaid]


class DeltaMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="delta"):
    """What changed between two numbers: parts that are replaced, points that the series grew by, feeds that are new.

    It follows on what the client has as of `from`.
    """

    from_: int = msgspec.field(name="from")
    seq: int
    set: dict[str, Any]
    append: dict[str, FleetSeries]
    feeds: dict[str, FeedSaid] = {}


class GroupsMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="groups"):
    """The newest figures of the groups that this client watches; it is outside of the sequence of deltas."""

    as_of_ms: int
    groups: list[Group]


class SlowMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="slow"):
    """Said to a client that reads slowly, and once more with False when it keeps up again; outside of the sequence."""

    slow: bool


class WatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says; what is left out stays as it is.

    `watch` are the groups that it wants the figures of from now on, at most 200. `topics` are what it follows from now
    on: names of topics, and feeds as `<name>/<key>`, at most 16 of those.
    """

    watch: list[str] | None = None
    topics: list[str] | None = None
