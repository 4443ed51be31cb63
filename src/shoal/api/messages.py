"""What goes over the live socket: one snapshot, then deltas; and what a client says and gets of the groups it opened."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.api.state import FleetSeries, Group, LiveState


class SnapshotMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="snapshot"):
    """The first message of a live socket: everything."""

    seq: int
    state: LiveState


class DeltaMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="delta"):
    """Every further message: parts of the state that are replaced, and points that the series grew by."""

    seq: int
    set: dict[str, Any]
    append: dict[str, FleetSeries]


class GroupsMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="groups"):
    """The newest figures of the groups that this client watches; it is outside of the sequence of deltas."""

    as_of_ms: int
    groups: list[Group]


class WatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says: which groups it wants the figures of from now on, at most 200; they replace the former ones."""

    watch: list[str]
