"""Candidates the user brings along: a folder of CIFs, an extended XYZ file, or a table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np

from generators.base import Generator, GeneratorSettings, Guide
from materials.archive import Archive
from materials.base import Candidate, Origin
from materials.settings import InputPath
from materials.space import Space

KIND: Final = "files"
# Entries understood in one pass over the files: more passes or more memory.
ENTRIES_PER_PASS = 256

logger = logging.getLogger(__name__)


class FilesSettings(GeneratorSettings):
    """Candidates of the user's own."""

    kind: Literal["files"] = KIND
    path: InputPath
    """A folder of CIFs, .cif, .extxyz, or .csv with a column `cif` or `formula`."""
    order: Literal["random", "given"] = "random"
    """Draw every entry with equal probability, or keep the order of the file (by path in folders)."""
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")

    def build(self, space: Space) -> Files:
        return Files(self.path, self.order)


class Files(Generator):
    """Proposes the entries of a file or folder, holding no more than ENTRIES_PER_PASS of them at a time."""

    def __init__(self, path: Path, order: Literal["random", "given"]) -> None:
        from materials.reading import count_materials

        self._path = path
        self._order = order
        self._count = count_materials(path)
        self._reported: set[str] = set()

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n entries the archive does not hold, each once, valid or not.

        An entry that cannot be read is passed over, with a warning in the log the first time.
        """
        order = rng.permutation(self._count) if self._order == "random" else np.arange(self._count)
        given: set[str] = set()
        for start in range(0, self._count, ENTRIES_PER_PASS):
            for candidate in self._read(order[start : start + ENTRIES_PER_PASS].tolist()):
                if n <= 0:
                    return
                if candidate.id not in archive and candidate.id not in given:
                    given.add(candidate.id)
                    n -= 1
                    yield candidate

    def _read(self, places: list[int]) -> list[Candidate]:
        """The candidates at these places of the file, in the order of `places`."""
        from materials.reading import Problem, stream_materials

        found: dict[int, Candidate] = {}
        problems: list[Problem] = []
        wanted = sorted(places)
        for entry in stream_materials(self._path, problems, only=frozenset(places)):
            origin = Origin(KIND, note=f"{entry.name} of {entry.source}" if entry.source else entry.name)
            found[len(found) + len(problems)] = Candidate(entry.material, origin)
        for problem in problems:
            if str(problem) not in self._reported:
                self._reported.add(str(problem))
                logger.warning("generator files: %s", problem)
        by_place = {wanted[i]: candidate for i, candidate in found.items()}
        return [by_place[place] for place in places if place in by_place]
