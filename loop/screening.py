"""Fills a round's pool: draws candidates, refuses invalid and known ones, counts every refusal by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from loop.database.rows import Duplicate
from loop.events import Listener
from materials.base import Candidate
from materials.identity import IdentityIndex
from materials.space import Space

DRAWS_PER_PLACE = 20
"""How many candidates are drawn at most for each place in the pool, so that a dry space ends the search."""


@dataclass(frozen=True)
class Pool:
    """Candidates that are valid and new, (generator, reason) -> how many were refused for it, and the refused
    ones that are the same material as a known one."""

    candidates: tuple[Candidate, ...]
    refusals: dict[tuple[str, str], int]
    duplicates: tuple[Duplicate, ...]


def fill_pool(
    proposals: Iterator[Candidate], wanted: int, space: Space, known: IdentityIndex, listener: Listener
) -> Pool:
    """The first `wanted` proposals that lie in the space and match nothing known or already in the pool."""
    in_pool = IdentityIndex()
    accepted: list[Candidate] = []
    refusals: Counter[tuple[str, str]] = Counter()
    duplicates: dict[str, Duplicate] = {}
    for draw, candidate in enumerate(proposals):
        if draw >= wanted * DRAWS_PER_PLACE:
            break
        reason = space.why_not(candidate.material)
        if reason is None and (twin := known.find(candidate.material)) is not None:
            reason = "duplicate of a known candidate"
            if twin != candidate.id:
                duplicates.setdefault(candidate.id, Duplicate(candidate, twin))
        elif reason is None and in_pool.find(candidate.material) is not None:
            reason = "duplicate in the pool"
        if reason is not None:
            refusals[candidate.origin.generator, reason] += 1
            continue
        in_pool.add(candidate.id, candidate.material)
        accepted.append(candidate)
        listener.pool_grew(len(accepted), wanted)
        if len(accepted) == wanted:
            break
    return Pool(tuple(accepted), dict(refusals), tuple(duplicates.values()))
