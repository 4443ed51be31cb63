"""The routes of the groups: hierarchies, the groups of any level or right below one, a single one with its path."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from shoal.api.answers import GroupDetail, GroupPage, Hierarchy
from shoal.api.contract import answer, answers
from shoal.api.groups.trees import GroupQuery, Order
from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import MOST_LEVELS

MAX_GROUPS: Final = 1_000
MAX_TEXT_CHARACTERS: Final = 200

OfHierarchy = Annotated[str | None, Query(description="Only of this hierarchy.")]
Parent = Annotated[str | None, Query(description="Those right below this group.")]
Level = Annotated[int | None, Query(ge=0, lt=MOST_LEVELS, description="All of this level, 0 for the roots.")]
Text = Annotated[
    str, Query(max_length=MAX_TEXT_CHARACTERS, description="Those whose name or id contains it.")
]
Sorting = Annotated[Order, Query(description="How they are sorted; `coverage` puts the least first.")]
Offset = Annotated[int, Query(ge=0, description="How many to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_GROUPS, description="How many to list at most.")]


def group_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", tags=["groups"])
    model = plant.model

    @router.get("/hierarchies", responses=answers(list[Hierarchy]))
    async def read_hierarchies() -> Response:
        """Return every hierarchy, and how many groups and levels it has."""
        return answer(model.tree.hierarchies())

    @router.get("/groups", responses=answers(GroupPage, 404, 422))
    async def read_groups(
        hierarchy: OfHierarchy = None,
        parent: Parent = None,
        level: Level = None,
        text: Text = "",
        order: Sorting = "registry",
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> Response:
        """Return groups with their newest figures: without `parent`, `level` and `text` the roots."""
        query = GroupQuery(hierarchy=hierarchy, parent=parent, level=level, text=text, order=order)
        plant.hub.catch_up()
        numbers = model.select_groups(query)
        page = GroupPage(
            as_of_ms=model.groups_as_of_ms,
            total=len(numbers),
            offset=offset,
            limit=limit,
            groups=model.groups(numbers[offset : offset + limit]),
        )
        return answer(page)

    @router.get("/groups/{group_id}", responses=answers(GroupDetail, 404, 503))
    async def read_group(group_id: str) -> Response:
        """Return one group with its newest figures, and those above it."""
        plant.hub.catch_up()
        number = model.tree.number(group_id)
        as_of_ms = model.groups_as_of_ms
        if as_of_ms is None:
            raise UnavailableError("the groups' figures", "none have come yet")
        *path, group = model.groups([*model.tree.path(number), number])
        return answer(GroupDetail(as_of_ms=as_of_ms, group=group, path=path))

    return router
