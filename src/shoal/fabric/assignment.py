"""Who should own what: a pure function of who is alive, what each is willing to own, and who owns what now.

Every member computes it for itself from the same facts and comes to the same answer, so nobody has to lead. What is
owned stays where it is, unless the loads of two members differ by more than one and a unit can be passed on, directly
or over others, from the one to the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping


def assign(
    willing: Mapping[str, Collection[str]], owners: Mapping[str, str], *, balance: bool = True
) -> dict[str, str]:
    """Return the member that should own each unit.

    Args:
        willing: The units that each live member is willing to own.
        owners: The member that owns each unit now; members that are not alive or not willing do not count.
        balance: Whether units may move from one live owner to another; otherwise only those without one are given.
    """
    units = sorted({unit for wanted in willing.values() for unit in wanted})
    able = {unit: sorted(member for member in willing if unit in willing[member]) for unit in units}
    target: dict[str, str] = {}
    held: dict[str, set[str]] = {member: set() for member in willing}
    for unit in units:
        if owners.get(unit) in able[unit]:
            target[unit] = owners[unit]
            held[owners[unit]].add(unit)
    free = [unit for unit in units if unit not in target]
    for unit in sorted(free, key=lambda unit: (len(able[unit]), unit)):
        target[unit] = min(able[unit], key=lambda member: (len(held[member]), member))
        held[target[unit]].add(unit)
    while balance and (path := _improvement(held, able)):
        for giver, unit, taker in path:
            held[giver].remove(unit)
            held[taker].add(unit)
            target[unit] = taker
    return target


def _improvement(
    held: Mapping[str, Collection[str]], able: Mapping[str, Collection[str]]
) -> list[tuple[str, str, str]]:
    """Return the moves (giver, unit, taker) that take one unit off a busy member, or none when loads are balanced."""
    for busiest in sorted(held, key=lambda member: (-len(held[member]), member)):
        reached: dict[str, list[tuple[str, str, str]]] = {busiest: []}
        queue = deque([busiest])
        while queue:
            giver = queue.popleft()
            for unit in sorted(held[giver], reverse=True):
                for taker in able[unit]:
                    if taker in reached:
                        continue
                    reached[taker] = [*reached[giver], (giver, unit, taker)]
                    queue.append(taker)
        idlest = min(reached, key=lambda member: (len(held[member]), len(reached[member]), member))
        if len(held[idlest]) <= len(held[busiest]) - 2:
            return reached[idlest]
    return []
