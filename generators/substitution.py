"""Charge-balanced element substitution into prototypes, the user's structures and the campaign's own best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from generators.base import Generator, GeneratorSettings, Guide
from generators.novelty import known_materials
from materials.archive import Archive
from materials.base import Candidate, Crystal, Origin
from materials.settings import InputPath
from materials.space import Space

if TYPE_CHECKING:
    from generators.decoration import Decorator
    from generators.species import Species
    from generators.templates import Template

KIND: Final = "substitution"
# Attempts in a row without anything new after which the space counts as exhausted.
MOST_MISSES = 5_000
# Attempts at one number of elements before another is drawn.
ATTEMPTS_PER_SIZE = 50
# The part of the draws that start from the campaign's best, once there are any.
SHARE_OF_PARENTS = 0.3


class SubstitutionSettings(GeneratorSettings):
    """Charge-balanced substitution of elements into known structures."""

    kind: Literal["substitution"] = KIND
    prototypes: bool = True
    """Substitute into the AFLOW prototypes."""
    structures: tuple[InputPath, ...] = ()
    """More structures to substitute into: CIF files or folders, extxyz, CSV with a column `cif`."""
    parents: int = Field(default=10, ge=0)
    """How many of the best of the campaign to substitute into."""

    @model_validator(mode="after")
    def _some_source(self) -> SubstitutionSettings:
        if not (self.prototypes or self.structures or self.parents):
            raise ValueError("nothing to substitute into: set prototypes: true, or name structures")
        return self

    def build(self, space: Space) -> Substitution:
        from generators.decoration import Decorator
        from generators.templates import aflow_templates, template_from
        from materials.reading import stream_materials

        templates = [*aflow_templates(space.number_of_atoms[1])] if self.prototypes else []
        for path in self.structures:
            templates += [
                template_from(entry.name, entry.material.structure)
                for entry in stream_materials(path)
                if isinstance(entry.material, Crystal) and entry.material.is_ordered
            ]
        return Substitution(space, templates, Decorator(space), self.parents)


class Substitution(Generator):
    """Puts the space's elements on the orbits of templates; see `SubstitutionSettings.build`."""

    def __init__(self, space: Space, templates: list[Template], decorator: Decorator, parents: int) -> None:
        self._space = space
        self._decorator = decorator
        self._parents = parents
        self._templates = self._by_size(templates)

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n different candidates of the space, none the same as a material of the archive.

        Every number of elements the space allows is equally likely. Ends early after MOST_MISSES attempts in a row
        that gave nothing new.
        """
        parents = self._parent_templates(archive)
        seen = {r.candidate.origin.note for r in archive.values()}
        known = known_materials(archive)
        sizes = sorted({*self._templates, *parents})
        misses = 0
        while n > 0 and misses < MOST_MISSES and sizes:
            size = int(rng.choice(sizes))
            for _ in range(ATTEMPTS_PER_SIZE):
                candidate = self._attempt(self._template(parents, size, rng), size, seen, rng)
                misses += 1
                if candidate is not None and known.find(candidate.material) is None:
                    known.add(candidate.id, candidate.material)
                    misses, n = 0, n - 1
                    yield candidate
                    break

    def _template(self, parents: dict[int, list[Template]], size: int, rng: np.random.Generator) -> Template:
        library, own = self._templates.get(size, []), parents.get(size, [])
        chosen = own if own and (not library or rng.random() < SHARE_OF_PARENTS) else library
        return chosen[int(rng.integers(len(chosen)))]

    def _attempt(
        self, template: Template, size: int, seen: set[str], rng: np.random.Generator
    ) -> Candidate | None:
        species = self._decorator.draw(template, size, rng)
        note = "" if species is None else _note(template, species)
        if species is None or note in seen:
            return None
        seen.add(note)
        if not template.is_ionic(species):
            return None
        crystal = Crystal(template.decorated(species))
        if self._space.why_not(crystal) is not None:
            return None
        origin = Origin(KIND, parents=(template.parent,) if template.parent else (), note=note)
        return Candidate(crystal, origin)

    def _parent_templates(self, archive: Archive) -> dict[int, list[Template]]:
        from generators.templates import template_from

        return self._by_size(
            [
                template_from(f"candidate {record.id}", record.material.structure, parent=record.id)
                for record in archive.incumbents(self._parents)
                if isinstance(record.material, Crystal) and record.material.is_ordered
            ]
        )

    def _by_size(self, templates: list[Template]) -> dict[int, list[Template]]:
        by_size: dict[int, list[Template]] = {}
        for template in templates:
            for size in self._decorator.sizes(template):
                by_size.setdefault(size, []).append(template)
        return by_size


def _note(template: Template, species: tuple[Species, ...]) -> str:
    """Names the template and what replaces what; orbits are numbered where one element becomes several."""
    changes: dict[tuple[str, str], list[int]] = {}
    for orbit, ((old, _), (new, _)) in enumerate(zip(template.species, species, strict=True)):
        changes.setdefault((old, new), []).append(orbit)
    olds = [old for old, _ in changes]
    words = [f"{old}{orbits if olds.count(old) > 1 else ''}->{new}" for (old, new), orbits in changes.items()]
    return f"{template.name}: {', '.join(words)}"
