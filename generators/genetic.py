"""Evolution of the campaign's best crystals, kept diverse by niches of structural fingerprints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field

from generators.base import Generator, GeneratorSettings, Guide
from materials.archive import Archive, Record
from materials.base import Candidate, Crystal, Origin
from materials.space import Space

if TYPE_CHECKING:
    import pymatgen.core as pmg

KIND: Final = "genetic"
# Crystals closer than this (fingerprint distance) share a niche, of which only the best becomes a parent.
NICHE = 0.03
# How many of the best are looked at for each parent wanted.
RECORDS_PER_PARENT = 5
MOST_MISSES = 300
OPERATORS: Final = {"heredity": 0.4, "transmutation": 0.4, "permutation": 0.15, "strain": 0.05}


class GeneticSettings(GeneratorSettings):
    """Children of the best crystals of the campaign."""

    kind: Literal["genetic"] = KIND
    parents: int = Field(default=20, ge=1)
    """How many of the best, one from each niche, have children."""

    def build(self, space: Space) -> Genetic:
        return Genetic(space, self.parents)


class Genetic(Generator):
    """Heredity, transmutation, permutation and strain, drawn with the weights in OPERATORS."""

    def __init__(self, space: Space, parents: int) -> None:
        self._space = space
        self._parents = parents

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n different children in the space, none the same as a material of the archive.

        Nothing while the archive has no parents. Better parents are likelier, as 1 / (1 + rank). Ends early after
        MOST_MISSES draws in a row that gave nothing new.
        """
        from generators.novelty import known_materials

        parents = self.niches(archive)
        known = known_materials(archive)
        misses = 0
        while n > 0 and parents and misses < MOST_MISSES:
            candidate = self._child(parents, rng)
            misses += 1
            if candidate is not None and known.find(candidate.material) is None:
                known.add(candidate.id, candidate.material)
                misses, n = 0, n - 1
                yield candidate

    def niches(self, archive: Archive) -> list[tuple[Record, pmg.Structure]]:
        """The best record of each niche with its structure, best first."""
        from generators.fingerprint import Fingerprint, distance, fingerprint

        chosen: list[tuple[Record, pmg.Structure]] = []
        prints: list[Fingerprint] = []
        for record in archive.incumbents(RECORDS_PER_PARENT * self._parents):
            if not isinstance(record.material, Crystal) or not record.material.is_ordered:
                continue
            mark = fingerprint(record.material.structure)
            if len(chosen) < self._parents and all(distance(mark, other) > NICHE for other in prints):
                chosen.append((record, record.material.structure))
                prints.append(mark)
        return chosen

    def _child(
        self, parents: list[tuple[Record, pmg.Structure]], rng: np.random.Generator
    ) -> Candidate | None:
        from generators import operators

        weights = 1.0 / (1.0 + np.arange(len(parents)))
        names, shares = zip(*OPERATORS.items(), strict=True)
        operator = names[int(rng.choice(len(names), p=shares))]
        couple = 2 if operator == "heredity" else 1
        if couple > len(parents):
            return None
        picked = [
            parents[i] for i in rng.choice(len(parents), couple, replace=False, p=weights / weights.sum())
        ]
        first = picked[0][1]
        child = (
            operators.heredity(first, picked[1][1], self._space, rng)
            if operator == "heredity"
            else operators.transmutation(first, self._space, rng)
            if operator == "transmutation"
            else operators.permutation(first, rng)
            if operator == "permutation"
            else operators.strain(first, rng)
        )
        if child is None or self._space.why_not(Crystal(child)) is not None:
            return None
        return Candidate(
            Crystal(child), Origin(KIND, tuple(record.id for record, _ in picked), note=operator)
        )
