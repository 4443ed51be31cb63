"""Which of many sites lie inside an area: sites sorted once, then whole runs of them are judged by each edge.

Sites lie in blocks of neighbouring latitudes, and from west to east within a block. Of an edge that crosses a block all
sites to its west are on one side and those to its east on the other; only the few beside it are looked at.

Coordinates are rounded to 1e-7 degree (a centimetre) and everything after is whole numbers, so the answer is exact and
the same everywhere. The rule is even-odd over the rings of a polygon, so that a ring inside a ring is a hole; an area is
the union of its polygons. **A place on an edge** is inside when the interior lies to the east of it (north of it, where
the edge runs east and west); so of two areas that share an edge exactly one has the places on it.

An edge that spans more than 180 degrees of longitude is taken to go the short way, across the antimeridian; one of
exactly 360 degrees is taken as drawn.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alert import Area, Polygon
from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel

_PER_DEGREE: Final = 10_000_000
_HALF_TURN: Final = 180 * _PER_DEGREE
_TURN: Final = 360 * _PER_DEGREE
_BLOCK_SITES: Final = 256
"""Sites that share one choice of edges."""


class ZoneIndex:
    """Places of sites, ready to be asked for those inside an area.

    Args:
        latitude_deg: N latitudes.
        longitude_deg: N longitudes, -180 to 180 (or beyond: they are taken modulo a turn).

    Raises:
        InvalidInputError: when a place is not on the map.
    """

    def __init__(self, latitude_deg: NDArray[np.float64], longitude_deg: NDArray[np.float64]) -> None:
        wrong = ~((np.abs(latitude_deg) <= 90.0) & (np.abs(longitude_deg) <= 360.0))
        for row in np.flatnonzero(wrong)[:1]:
            raise InvalidInputError(
                field=f"place of row {row}",
                value=(float(latitude_deg[row]), float(longitude_deg[row])),
                fix="give degrees on the map",
            )
        y = np.rint(latitude_deg * _PER_DEGREE).astype(np.int64)
        x = np.rint(longitude_deg * _PER_DEGREE).astype(np.int64)
        x = (x + _HALF_TURN) % _TURN - _HALF_TURN
        by_latitude = np.argsort(y, kind="stable")
        block = np.empty(len(y), dtype=np.int64)
        block[by_latitude] = np.arange(len(y)) // _BLOCK_SITES
        self._row_of: NDArray[np.int64] = np.lexsort((x, block))
        self._x, self._y = x[self._row_of], y[self._row_of]
        self._low = y[by_latitude[::_BLOCK_SITES]]
        last = np.minimum(np.arange(_BLOCK_SITES, len(y) + _BLOCK_SITES, _BLOCK_SITES), len(y)) - 1
        self._high = y[by_latitude[last]]

    def inside(self, area: Area) -> NDArray[np.int64]:
        """Return the rows of the sites inside the area, ascending.

        Raises:
            InvalidInputError: when a polygon encloses nothing, or a ring goes round a pole.
        """
        taken = np.zeros(len(self._y), dtype=np.bool_)
        for number, polygon in enumerate(area.polygons):
            edges = polygon_edges(polygon, f"area.polygon[{number}]")
            while edges[:, 0::2].max() >= -_HALF_TURN:
                self._mark(edges, taken)
                edges = edges - np.array([_TURN, 0, _TURN, 0])
        inside = np.zeros(len(taken), dtype=np.bool_)
        inside[self._row_of[taken]] = True
        return np.flatnonzero(inside)

    def _mark(self, edges: NDArray[np.int64], taken: NDArray[np.bool_]) -> None:
        first = np.searchsorted(self._high, edges[:, 1].min(), side="left")
        end = np.searchsorted(self._low, edges[:, 3].max(), side="left")
        _mark_inside(self._x, self._y, self._low, self._high, int(first), int(end), edges, taken)


def polygon_edges(polygon: Polygon, name: str = "polygon") -> NDArray[np.int64]:
    """Return the edges of a polygon, E x 4 (x, y, x, y) in 1e-7 degree, the lower end first, by their lower ends.

    Edges along a parallel are left out: the rule never asks for them.

    Raises:
        InvalidInputError: when a ring encloses nothing or goes round a pole.
    """
    rings: list[NDArray[np.int64]] = []
    for position, ring in enumerate(polygon):
        places = np.rint(np.array(ring, dtype=np.float64) * _PER_DEGREE).astype(np.int64)
        where = f"{name}.ring[{position}]"
        places[:, 0] = _unwrapped(places[:, 0], where)
        west, east = int(places[:, 0].min()), int(places[:, 0].max())
        if rings:  # a hole lies less than half a turn from the middle of its outer ring
            outer = rings[0][:, 0]
            away = (int(outer.min()) + int(outer.max()) - west - east) // 2
            places[:, 0] += round(away / _TURN) * _TURN
        else:  # an outer ring begins within [-180, 180)
            places[:, 0] -= (west + _HALF_TURN) // _TURN * _TURN
        if not _encloses(places):
            raise InvalidInputError(
                field=where, value="a ring without area", fix="give at least three places not on one line"
            )
        rings.append(places)
    edges = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in rings])
    edges = edges[edges[:, 1] != edges[:, 3]]
    down = edges[:, 1] > edges[:, 3]
    edges[down] = edges[down][:, [2, 3, 0, 1]]
    return np.ascontiguousarray(edges[np.argsort(edges[:, 1], kind="stable")])


def _unwrapped(x: NDArray[np.int64], where: str) -> NDArray[np.int64]:
    """Return longitudes that run on across the antimeridian instead of jumping."""
    step = np.diff(x)
    short = np.rint(step / _TURN).astype(np.int64)
    turns: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.where(np.abs(step) == _TURN, 0, -short))])
    if turns[-1]:
        raise InvalidInputError(
            field=where,
            value="a ring round a pole",
            fix="cut it along the antimeridian and close it over the pole",
        )
    unwrapped: NDArray[np.int64] = x + turns * _TURN
    return unwrapped


def _encloses(places: NDArray[np.int64]) -> bool:
    """Whether a ring's places are not all on one line."""
    apart = places - places[0]
    x, y = apart[:, 0].tolist(), apart[:, 1].tolist()
    corner = int(np.argmax(np.abs(apart[:, 0]) + np.abs(apart[:, 1])))
    return any(x[corner] * b != y[corner] * a for a, b in zip(x, y, strict=True))


@kernel
def _is_west(ax: int, ay: int, bx: int, by: int, px: int, py: int) -> bool:
    """Whether the edge (its lower end first) crosses the parallel of a place strictly east of it."""
    if ay > py or by <= py:
        return False
    if ax > px and bx > px:
        return True
    # Both products stay below 2**63: no edge is longer than a turn.
    return (ax > px or bx > px) and (px - ax) * (by - ay) < (bx - ax) * (py - ay)


@kernel
def _mark_inside(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    first: int,
    end: int,
    edges: NDArray[np.int64],
    taken: NDArray[Any],
) -> None:
    """Mark the sites inside, block by block with the edges that reach into it."""
    count = edges.shape[0]
    active = np.empty(count, dtype=np.int64)
    turns = np.zeros(_BLOCK_SITES + 1, dtype=np.bool_)  # where in and out change places, from west to east
    reaching = 0
    following = 0
    for b in range(first, end):
        kept = 0
        for k in range(reaching):
            if edges[active[k], 3] > low[b]:
                active[kept] = active[k]
                kept += 1
        reaching = kept
        while following < count and edges[following, 1] <= high[b]:
            if edges[following, 3] > low[b]:
                active[reaching] = following
                reaching += 1
            following += 1
        if reaching == 0:
            continue
        begin = b * _BLOCK_SITES
        sites = min(_BLOCK_SITES, x.shape[0] - begin)
        turns[: sites + 1] = False
        for k in range(reaching):
            ax, ay, bx, by = edges[active[k]]
            near, beyond = 0, sites
            if ay <= low[b] and by > high[b]:
                # Where it crosses the block, with more room than rounding may take.
                slope = (bx - ax) / (by - ay)
                one, other = ax + (low[b] - ay) * slope, ax + (high[b] - ay) * slope
                near = int(np.searchsorted(x[begin : begin + sites], np.int64(min(one, other)) - 4))
                beyond = int(np.searchsorted(x[begin : begin + sites], np.int64(max(one, other)) + 4))
                turns[0] ^= True
                turns[near] ^= True
            for i in range(near, beyond):
                if _is_west(ax, ay, bx, by, x[begin + i], y[begin + i]):
                    turns[i] ^= True
                    turns[i + 1] ^= True
        odd = False
        for i in range(sites):
            odd ^= turns[i]
            if odd:
                taken[begin + i] = True
