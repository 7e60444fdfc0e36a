"""Fills a round's pool: draws candidates, refuses invalid and known ones, counts every refusal by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from loop.events import Listener
from materials.base import Candidate
from materials.identity import IdentityIndex
from materials.space import Space

DRAWS_PER_PLACE = 20
"""How many candidates are drawn at most for each place in the pool, so that a dry space ends the search."""


@dataclass(frozen=True)
class Pool:
    """Candidates that are valid and new, and (generator, reason) -> how many were refused for it."""

    candidates: tuple[Candidate, ...]
    refusals: dict[tuple[str, str], int]


def fill_pool(
    proposals: Iterator[Candidate], wanted: int, space: Space, known: IdentityIndex, listener: Listener
) -> Pool:
    """The first `wanted` proposals that lie in the space and match nothing known or already in the pool."""
    in_pool = IdentityIndex()
    accepted: list[Candidate] = []
    refusals: Counter[tuple[str, str]] = Counter()
    for draw, candidate in enumerate(proposals):
        if draw >= wanted * DRAWS_PER_PLACE:
            break
        reason = space.why_not(candidate.material) or _seen_before(candidate, known, in_pool)
        if reason:
            refusals[candidate.origin.generator, reason] += 1
            continue
        in_pool.add(candidate.id, candidate.material)
        accepted.append(candidate)
        listener.pool_grew(len(accepted), wanted)
        if len(accepted) == wanted:
            break
    return Pool(tuple(accepted), dict(refusals))


def _seen_before(candidate: Candidate, known: IdentityIndex, in_pool: IdentityIndex) -> str | None:
    if known.find(candidate.material) is not None:
        return "duplicate of a known candidate"
    if in_pool.find(candidate.material) is not None:
        return "duplicate in the pool"
    return None
