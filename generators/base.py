"""The contract of a generator: it proposes candidates, each with its origin, and knows nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from materials.archive import Archive
from materials.base import Candidate
from materials.settings import Settings
from materials.space import Space

Guide = Callable[[Sequence[Candidate]], npt.NDArray[np.float64]]
"""Scores candidates, larger is better; built by the loop from its surrogates and handed in."""


class Generator(ABC):
    """Proposes candidates for a space. Bounded by attempts, never by the clock, so a seed decides the result."""

    @abstractmethod
    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Yields up to n candidates; fewer when the attempts run out.

        Candidates may be invalid or known: the loop screens them and counts each refusal by its reason.
        """

    def learn(self, archive: Archive, seed: int) -> None:  # noqa: B027  # most have nothing to learn
        """Called before every round's first proposal; the archive and the seed alone decide what is learned."""

    def save(self, file: Path) -> None:  # noqa: B027
        """Writes what was learned as safetensors; nothing where nothing was."""


class GeneratorSettings(Settings):
    """A block under `generators:`; `share` is its part of the pool before shares adapt to success."""

    kind: str
    share: float = Field(default=1.0, gt=0)
    """Its part of the pool, relative to the other generators; shares then follow success."""
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal",)

    def build(self, space: Space) -> Generator:
        """The generator, its heavy libraries imported here."""
        raise NotImplementedError
