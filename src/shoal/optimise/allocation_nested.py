"""The split of one set-point over many sites inside the limits of the groups that they hang from, in whole watts.

As in `split_setpoint_w` everybody follows one price, but for what is below a group at its limit: that has a price of its
own, and the difference is what the limit costs. Limits hold for what flows at the group's connection: what the sites do
anyway (load, solar power, charging cars) and what is asked of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._allocation_kernel import guess_price
from shoal.optimise._inputs import column, whole_column
from shoal.optimise._nested_kernel import solve_prices
from shoal.optimise._nested_round import place_down, round_sites, share_out
from shoal.optimise._nested_tree import (
    MOST_W,
    WEIGHT_RANGE,
    check,
    number_groups,
    order_sites,
    pack,
    reach_up,
    sum_up,
    survey_groups,
)

_SAMPLE_SIZE = 8192
# As good as no limit, and far from the end of int64.
_NO_LIMIT_W = 1 << 60

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Sites = tuple[Whole, Whole, Floats, Floats, Whole]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedAllocation:
    """A set-point split within the limits of groups.

    Attributes:
        power_w: Power of each site, load-positive, shape (N,).
        unmet_w: Target less the sum of the powers, exactly; 0 when the target is within reach.
        group_w: What flows at each group's connection, its base and the powers below it, shape (G,).
        bound_rows: Groups whose limit changed what their sites do, shape (B,).
        bound_above_mask: Of each of these, whether it is the upper limit.
        shadow_price_per_w: Of each, by how much the cost of the split would fall per W more room; >= 0.
        held_rows: Why something is unmet: groups whose limit keeps back power that the target wants, the most first.
        held_w: How much each of these keeps back, with the sign of `unmet_w`; inner groups first take what is theirs.
        short_w: How much of the target would be unmet without any group's limit: the sites themselves cannot do more.
        overload_rows: Groups that their sites cannot bring within the limits: what is below them does all it can.
        overload_w: By how much each of these is above its upper limit (> 0) or below its lower one (< 0).
    """

    power_w: Whole
    unmet_w: int
    group_w: Whole
    bound_rows: Whole
    bound_above_mask: NDArray[np.bool_]
    shadow_price_per_w: Floats
    held_rows: Whole
    held_w: Whole
    short_w: int
    overload_rows: Whole
    overload_w: Whole


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tree:
    """Groups by number (see `_nested_tree`) and the sites in order of them."""

    place: Whole
    above: Whole
    end: Whole
    starts: Whole
    in_order: int
    order: NDArray[np.int32]


def split_nested_w(
    target_w: int,
    *,
    lower_w: Whole,
    upper_w: Whole,
    weight: Floats,
    preferred_w: Floats,
    leaf: Whole,
    parent: Whole,
    group_lower_w: Whole,
    group_upper_w: Whole,
    base_w: Whole,
) -> NestedAllocation:
    """Return whole watts that add up to `target_w`, within 1 W of the powers nearest to the preferred ones.

    Minimises ``sum((power - preferred)**2 / weight) / 2`` within the limits of sites and groups, exactly, and rounds so
    that neither the sum nor a limit is missed by a watt. A site of weight 0 stays at its preferred power rounded to a
    whole watt. The limits of sites always hold; those of groups do wherever the sites can bring that about, an inner
    group coming before the one around it. What does not fit is `unmet_w`.

    Args:
        target_w: Wanted sum of all powers, load-positive.
        lower_w: Lowest power of each site, shape (N,).
        upper_w: Highest power of each site, shape (N,).
        weight: Readiness to leave the preferred power, >= 0, shape (N,); less than 1e-12 of the largest counts as that.
        preferred_w: Power of each site if there were no target, shape (N,).
        leaf: Row of the group that each site hangs from, -1 for none, shape (N,); quickest when sites of a group are
            neighbours.
        parent: Row of the group around each group, -1 for none, shape (G,); it comes before the group.
        group_lower_w: Least that may flow at each group's connection: minus its export limit, shape (G,).
        group_upper_w: Most that may: its import limit, shape (G,).
        base_w: What flows at each site besides the power that is split, shape (N,).

    Raises:
        InvalidInputError: An array is malformed or out of range, a lower limit above its upper one, or a group's
            parent does not come before it.

    Example:
        Two homes on a feeder that already carries 1 kW and may carry 4 kW, and one home elsewhere.

        >>> got = split_nested_w(
        ...     9000,
        ...     lower_w=np.full(3, -5000), upper_w=np.full(3, 5000), weight=np.ones(3), preferred_w=np.zeros(3),
        ...     leaf=np.array([0, 0, -1]), parent=np.array([-1]),
        ...     group_lower_w=np.array([-4000]), group_upper_w=np.array([4000]), base_w=np.array([400, 600, 0]),
        ... )
        >>> got.power_w.tolist(), got.unmet_w, got.held_rows.tolist(), got.held_w.tolist()
        ([1500, 1500, 5000], 1000, [0], [7000])
    """
    tree = _tree(leaf, parent)
    groups, count = tree.above.size, int(tree.starts[-1])
    given = _columns(count, lower_w, upper_w, weight, preferred_w, base_w)
    low_limit, high_limit = _limits(group_lower_w, group_upper_w, tree.place)
    bad, lightest, heaviest, farthest = check(given)
    if bad:
        _name_unusable(count, lower_w, upper_w, weight, preferred_w, base_w)
    sites, scale = given, 1.0
    if tree.in_order == 0 or lightest < heaviest * WEIGHT_RANGE or lightest == 0.0:
        whole, real = (np.empty((3, count), dtype=np.int64), np.empty((2, count)))
        sites, scale = (whole[0], whole[1], real[0], real[1], whole[2]), heaviest or 1.0
        pack(tree.in_order, tree.order, given, sites, scale)
        lightest, heaviest = max(lightest / scale, WEIGHT_RANGE), 1.0
    guess = _guess(int(target_w), sites)
    base, least, most, lowest, highest, overload = np.empty((6, groups), dtype=np.int64)
    size, total, slope, price = np.zeros((4, groups))
    survey_groups(guess, tree.starts, sites, base, least, most, size, total, slope)
    own = (least.copy(), most.copy())
    reach_up(tree.above, low_limit, high_limit, base, least, most, size, lowest, highest, overload)
    target = min(max(int(target_w), int(least[0])), int(most[0]))
    far = 4.0 * (float(size[0]) + farthest + 1.0) / min(lightest, 1.0)
    leap = 1.0 / (heaviest or 1.0)
    bound = np.zeros(groups, dtype=np.int8)
    shape = (tree.above, tree.end, tree.starts)
    ranges = (least, most, lowest, highest)
    solve_prices(float(target), guess, far, leap, total, slope, *shape, sites, *ranges, size, price, bound)
    power, flow = _whole_watts(target, tree, sites, price, own, (lowest, highest))
    sum_up(flow, tree.above)
    price[np.abs(price) >= far] *= np.inf
    known = (flow + base, price / scale, bound, overload)
    return _result(int(target_w) - target, power, tree, known, ranges)


def _whole_watts(
    target: int,
    tree: _Tree,
    sites: Sites,
    price: Floats,
    own: tuple[Whole, Whole],
    limits: tuple[Whole, Whole],
) -> tuple[Whole, Whole]:
    """Return the whole watts of each site as given, and the sums of each group's own sites."""
    groups, count = tree.above.size, sites[0].size
    real, wish = np.empty(count), np.empty(groups)
    low, high, share = (np.empty(groups, dtype=np.int64) for _ in range(3))
    place_down(price, tree.starts, sites, real, low, high, wish)
    if not share_out(target, tree.end, tree.above, low, high, wish, *limits, share):
        share_out(target, tree.end, tree.above, *own, wish, *limits, share)
    power = np.empty(count, dtype=np.int64)
    round_sites(share, tree.starts, sites[0], sites[1], real, tree.in_order, tree.order, power)
    return power, share


def _result(
    unmet: int,
    power: Whole,
    tree: _Tree,
    known: tuple[Whole, Floats, NDArray[np.int8], Whole],
    ranges: tuple[Whole, Whole, Whole, Whole],
) -> NestedAllocation:
    flow, price, bound, overload = known
    least, most, lowest, highest = ranges
    at = tree.place
    bound_rows = np.flatnonzero(bound[at] != 0)
    bound_at = at[bound_rows]
    around, inside = price[tree.above[bound_at]], price[bound_at]
    finite = np.isfinite(around) & np.isfinite(inside)
    shadow = np.full(bound_rows.size, np.inf)
    shadow[finite] = np.abs(around[finite] - inside[finite])
    kept = (most - highest if unmet > 0 else least - lowest)[at]
    kept_w = int(kept.sum())
    held_rows = np.flatnonzero(kept) if unmet != 0 else np.zeros(0, dtype=np.int64)
    held_rows = held_rows[np.argsort(-np.abs(kept[held_rows]), kind="stable")]
    overload_rows = np.flatnonzero(overload[at])
    return NestedAllocation(
        power_w=power,
        unmet_w=unmet,
        group_w=flow[at],
        bound_rows=bound_rows,
        bound_above_mask=bound[bound_at] > 0,
        shadow_price_per_w=shadow,
        held_rows=held_rows,
        held_w=kept[held_rows],
        short_w=max(unmet - kept_w, 0) if unmet > 0 else min(unmet - kept_w, 0),
        overload_rows=overload_rows,
        overload_w=overload[at][overload_rows],
    )


def _guess(target: int, sites: Sites) -> float:
    """Return a price to begin with: the one that would be right if no group had a limit, by a sample."""
    count = sites[0].size
    if count == 0:
        return 0.0
    low, high = guess_price(float(target), *sites[:4], False, min(count, _SAMPLE_SIZE))
    return 0.5 * (low + high) if np.isfinite(low + high) else 0.0


def _tree(leaf: ArrayLike, parent: ArrayLike) -> _Tree:
    """Number the groups and order the sites.

    Raises:
        InvalidInputError: A group does not exist, or does not come before those below it.
    """
    hangs, over = _int64("leaf", leaf), _int64("parent", parent)
    place = np.empty(over.size, dtype=np.int64)
    above, end = np.empty(over.size + 1, dtype=np.int64), np.empty(over.size + 1, dtype=np.int64)
    row = number_groups(over, place, above, end)
    if row >= 0:
        raise InvalidInputError(
            field=f"parent[{row}]",
            value=int(over[row]),
            fix="give the row of a group that comes before, or -1",
        )
    starts = np.zeros(over.size + 2, dtype=np.int64)
    order = np.empty(hangs.size, dtype=np.int32)
    in_order = order_sites(hangs, place, starts, order)
    if in_order < 0:
        row = -1 - in_order
        raise InvalidInputError(
            field=f"leaf[{row}]",
            value=int(hangs[row]),
            fix=f"give -1 or the row of one of {over.size} groups",
        )
    return _Tree(place=place, above=above, end=end, starts=starts, in_order=in_order, order=order)


def _limits(lower: ArrayLike, upper: ArrayLike, place: Whole) -> tuple[Whole, Whole]:
    """Return the limits of groups by number; whatever stands above all of them has none."""
    given = [_int64("group_lower_w", lower, place.size), _int64("group_upper_w", upper, place.size)]
    crossed = given[0] > given[1]
    if crossed.any():
        row = int(np.argmax(crossed))
        raise InvalidInputError(
            field=f"group_lower_w[{row}]", value=int(given[0][row]), fix=f"give at most {given[1][row]}"
        )
    by_number = np.array([[-_NO_LIMIT_W], [_NO_LIMIT_W]], dtype=np.int64).repeat(place.size + 1, axis=1)
    by_number[:, place] = np.clip(np.array(given), -_NO_LIMIT_W, _NO_LIMIT_W)
    return by_number[0], by_number[1]


def _int64(field: str, values: ArrayLike, length: int | None = None) -> Whole:
    array = np.ascontiguousarray(values)
    if array.dtype == np.int64 and array.ndim == 1 and length in (None, array.size):
        return array
    return whole_column(field, array, length=length)


def _columns(
    count: int,
    lower: ArrayLike,
    upper: ArrayLike,
    weight: ArrayLike,
    preferred: ArrayLike,
    base: ArrayLike,
) -> Sites:
    """Return the columns as they are, by type and shape; what is in them `pack` checks."""
    readiness, rest = (np.ascontiguousarray(values, dtype=np.float64) for values in (weight, preferred))
    if readiness.shape != (count,) or rest.shape != (count,):
        column("weight", readiness, length=count)
        column("preferred_w", rest, length=count)
    low, high = _int64("lower_w", lower, count), _int64("upper_w", upper, count)
    return low, high, readiness, rest, _int64("base_w", base, count)


def _name_unusable(
    count: int,
    lower: ArrayLike,
    upper: ArrayLike,
    weight: ArrayLike,
    preferred: ArrayLike,
    base: ArrayLike,
) -> None:
    """Raise the error that names what is wrong with the columns of sites."""
    low = column("lower_w", lower, length=count, low=-MOST_W, high=MOST_W)
    high = column("upper_w", upper, length=count, low=-MOST_W, high=MOST_W)
    column("weight", weight, length=count, low=0.0)
    column("preferred_w", preferred, length=count, low=-MOST_W, high=MOST_W)
    column("base_w", base, length=count, low=-MOST_W, high=MOST_W)
    row = int(np.argmax(low > high))
    raise InvalidInputError(
        field=f"lower_w[{row}]", value=int(low[row]), fix=f"give at most {int(high[row])}"
    )
