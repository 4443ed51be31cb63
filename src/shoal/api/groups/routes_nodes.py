"""The route of what bounds a group: its limits and those above it, who set them, and how much of them is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.fleet.answers import NodeFlow, NodeLimit, NodeLimits
from shoal.api.limits.answers import BoundView
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.control.grid_room import GroupNow
from shoal.control.grid_state import LimitsState, kept_limits
from shoal.store.limit_records import ConnectionLimit, OperatingEnvelope
from shoal.store.limits import LimitStore, StandingLimits

_W_PER_KW: Final = 1_000.0


def node_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read the database, so they run in threads."""
    router = APIRouter(prefix="/api", tags=["groups"])
    store = LimitStore(plant.database)
    tree = plant.model.tree

    @router.get("/groups/{group_id}/limits", responses=answers(NodeLimits, 404, 503))
    def read_limits(group_id: str) -> Response:
        """Return what may flow through a group: its own limits first, then those of the groups above it."""
        number = tree.number(group_id)
        chain = [plant.fleet.groups[one] for one in (number, *reversed(tree.path(number)))]
        names = {str(group.group_id): group.name for group in chain}
        now_ns = plant.now_ns()
        return answer(_limits(group_id, names, store.standing(now_ns), kept_limits(plant.ledger), now_ns))

    return router


def _limits(
    group_id: str,
    names: Mapping[str, str],
    standing: StandingLimits,
    state: LimitsState | None,
    now_ns: int,
) -> NodeLimits:
    """Return the limits of groups, in the order of `names`."""
    flows = {} if state is None else {one.group_id: one for one in state.groups}
    found: list[NodeLimit] = []
    for one, name in names.items():
        envelopes = [e for e in standing.envelopes if e.kind == "group" and e.target == one]
        # of several that hold the one issued last counts, and they come in that order
        holding = next((e for e in reversed(envelopes) if e.start_ns <= now_ns < e.end_ns), None)
        for limit in standing.limits:
            if limit.kind == "group" and limit.target == one:
                found += _of_connection(limit, name, holds=holding is None, flow=flows.get(one))
        for envelope in sorted(envelopes, key=lambda e: e.start_ns):
            found += _of_envelope(envelope, name, holds=envelope is holding, flow=flows.get(one))
    own = flows.get(group_id)
    return NodeLimits(
        group_id=group_id,
        limits=found,
        flow=None if own is None or state is None else _flow(own, state.t_ns),
    )


def _of_connection(
    limit: ConnectionLimit, name: str, *, holds: bool, flow: GroupNow | None
) -> list[NodeLimit]:
    made = []
    for kind, limit_w in (("import", limit.import_limit_w), ("export", limit.export_limit_w)):
        if limit_w is not None:
            made.append(
                NodeLimit(
                    group_id=limit.target,
                    name=name,
                    kind="import" if kind == "import" else "export",
                    limit_kw=limit_w / _W_PER_KW,
                    source="connection",
                    now=holds,
                    set_by=limit.by,
                    reason=limit.reason,
                    from_ms=to_ms(limit.at_ns),
                    until_ms=None,
                    used_frac=_used(kind, limit_w, flow) if holds else None,
                )
            )
    return made


def _of_envelope(
    envelope: OperatingEnvelope, name: str, *, holds: bool, flow: GroupNow | None
) -> list[NodeLimit]:
    made = []
    for kind, limit_w in (("import", envelope.import_limit_w), ("export", envelope.export_limit_w)):
        made.append(
            NodeLimit(
                group_id=envelope.target,
                name=name,
                kind="import" if kind == "import" else "export",
                limit_kw=limit_w / _W_PER_KW,
                source="envelope",
                now=holds,
                set_by=envelope.by,
                reason="",
                from_ms=to_ms(envelope.start_ns),
                until_ms=to_ms(envelope.end_ns),
                used_frac=_used(kind, limit_w, flow) if holds else None,
            )
        )
    return made


def _used(kind: str, limit_w: int, flow: GroupNow | None) -> float | None:
    """Return the share of a limit that flows its way; None when nobody knows, or nothing may flow at all."""
    if flow is None or limit_w <= 0:
        return None
    flow_w = flow.flow_w if kind == "import" else -flow.flow_w
    return round(max(flow_w, 0) / limit_w, 4)


def _flow(of: GroupNow, t_ns: int) -> NodeFlow:
    return NodeFlow(
        as_of_ms=to_ms(t_ns),
        flow_kw=of.flow_w / _W_PER_KW,
        low_kw=of.low_w / _W_PER_KW,
        high_kw=of.high_w / _W_PER_KW,
        sites=of.sites,
        silent_sites=of.silent_sites,
        bound=msgspec.convert(msgspec.to_builtins(of.bound), type=list[BoundView]),
    )
