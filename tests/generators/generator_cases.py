"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from generators.base import Generator
from materials.archive import Archive
from materials.base import Candidate, Crystal

ELEMENTS = ["Li", "P", "S", "O", "Cl", "Br", "I", "F", "N", "Si", "Al", "Y"]

Evaluated = Callable[[Sequence[Candidate]], Archive]


def propose(generator: Generator, n: int, archive: Archive, seed: int = 0) -> list[Candidate]:
    return list(generator.propose(n, archive, np.random.default_rng(seed)))


def crystal(candidate: Candidate) -> Crystal:
    assert isinstance(candidate.material, Crystal)
    return candidate.material
