"""The vocabulary every room shares: materials, candidates, measurements, predictions and selections.

All of them are frozen values. What they hold can be written as JSON and read back without loss, so the
database, the workers and the wire speak one language.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import pymatgen.core as pmg

from materials.matching import ReducedCell


def canonical_json(data: Any) -> str:
    """One exact text for one value: sorted keys, no spaces, floats as their shortest exact decimal."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(data: Any) -> str:
    """The first 16 hex digits of the sha256 of `canonical_json(data)`."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()[:16]


@runtime_checkable
class Material(Protocol):
    """What a candidate is made of. Each kind declares its name, its formula and its exact JSON form."""

    kind: ClassVar[str]

    @property
    def formula(self) -> str:
        """Reduced formula in pymatgen's order, such as 'Li3PS4'."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON values only, with the key `kind`."""
        ...


@dataclass(frozen=True)
class Crystal:
    """A periodic structure; partial occupancies and oxidation states on species are allowed.

    Only lattice, species, occupancies and coordinates belong to it; site properties and a total charge do not.
    The structure is treated as immutable: copy it before changing anything.
    """

    kind: ClassVar[str] = "crystal"
    structure: pmg.Structure

    @property
    def formula(self) -> str:
        return str(self.structure.composition.reduced_formula)

    @property
    def is_ordered(self) -> bool:
        """Whether every site holds exactly one species."""
        return bool(self.structure.is_ordered)

    def to_dict(self) -> dict[str, Any]:
        """Lattice vectors in angstrom (rows), fractional coordinates, and species with their occupancies."""
        species = [{str(s): float(o) for s, o in site.species.items()} for site in self.structure]
        return {
            "kind": self.kind,
            # Adding 0.0 turns -0.0, which is equal but written differently, into 0.0.
            "lattice": (self.structure.lattice.matrix + 0.0).tolist(),
            "species": species,
            "coordinates": (self.structure.frac_coords + 0.0).tolist(),
        }

    @cached_property
    def digest(self) -> str:
        """The content hash of the exact JSON form."""
        return content_hash(self.to_dict())

    @cached_property
    def reduced(self) -> ReducedCell:
        """The cell in which it is compared with others; kept, because finding it is the dear part of a comparison."""
        return ReducedCell.of(self.structure)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Crystal:
        return cls(pmg.Structure(data["lattice"], data["species"], data["coordinates"]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crystal) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Composition:
    """A material of which only the formula is known."""

    kind: ClassVar[str] = "composition"
    text: str

    @property
    def formula(self) -> str:
        return str(pmg.Composition(self.text).reduced_formula)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "formula": self.text}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Composition:
        return cls(data["formula"])


MATERIAL_KINDS: dict[str, type[Crystal] | type[Composition]] = {
    Crystal.kind: Crystal,
    Composition.kind: Composition,
}


def material_from_dict(data: Mapping[str, Any]) -> Material:
    """The inverse of `Material.to_dict`. Raises ValueError for a kind that is not registered."""
    kind = data.get("kind")
    if kind not in MATERIAL_KINDS:
        raise ValueError(f"unknown material kind {kind!r}; known kinds: {', '.join(MATERIAL_KINDS)}")
    return MATERIAL_KINDS[kind].from_dict(data)


@dataclass(frozen=True)
class Origin:
    """Where a candidate came from: generator kind, parents' candidate ids, seed, latent vector, free note."""

    generator: str
    parents: tuple[str, ...] = ()
    seed: int | None = None
    latent: tuple[float, ...] | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Origin:
        latent = data.get("latent")
        return cls(
            generator=data["generator"],
            parents=tuple(data.get("parents", ())),
            seed=data.get("seed"),
            latent=None if latent is None else tuple(latent),
            note=data.get("note", ""),
        )


@dataclass(frozen=True)
class Recipe:
    """How to make a material: precursor amounts, temperature in K, time in hours, atmosphere."""

    precursors: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    hours: float | None = None
    atmosphere: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A material somebody might measure. Its id is the hash of material and recipe, never of its origin."""

    material: Material
    origin: Origin
    recipe: Recipe | None = None

    @cached_property
    def id(self) -> str:
        recipe = None if self.recipe is None else asdict(self.recipe)
        return content_hash({"material": self.material.to_dict(), "recipe": recipe})

    @property
    def formula(self) -> str:
        return self.material.formula


class Bound(StrEnum):
    """Whether a measured value is the value itself or only a limit to it."""

    EXACT = "exact"
    UPPER = "upper"
    LOWER = "lower"


class BadMeasurementError(ValueError):
    """A number that cannot be a measurement: not finite, or a negative standard deviation."""


@dataclass(frozen=True)
class Measurement:
    """One number an oracle gave: value and standard deviation in the property's unit, with its fidelity.

    Raises BadMeasurementError for a number that is not finite: a failed measurement is a `Failure`, never a NaN.
    """

    property: str
    value: float
    unit: str
    fidelity: str
    oracle: str
    std: float | None = None
    bound: Bound = Bound.EXACT
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {"value": self.value, "std": self.std, **self.conditions}
        for name, number in numbers.items():
            if number is not None and not math.isfinite(number):
                message = f"{self.property} by {self.oracle}: {name} is {number}, not a finite number"
                raise BadMeasurementError(message)
        if self.std is not None and self.std < 0:
            raise BadMeasurementError(
                f"{self.property} by {self.oracle}: the standard deviation {self.std} is negative"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bound": str(self.bound), "conditions": dict(self.conditions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        return cls(**{**data, "bound": Bound(data.get("bound", "exact"))})


@dataclass(frozen=True)
class Prediction:
    """What a surrogate expected before the test: mean and standard deviation in the property's unit.

    distance: how far the material lies from the model's training rows, in units of what is usual among them (up to
    about 1 is inside, above 3 nothing like it was seen); None where that is not known. widening: the factor by which
    the model's own standard deviation was multiplied, because earlier intervals had been too narrow.
    """

    property: str
    mean: float
    std: float
    distance: float | None = None
    widening: float = 1.0

    def interval(self) -> tuple[float, float]:
        """The ends of the central 90 % interval of the normal with this mean and standard deviation."""
        half = NormalDist().inv_cdf(0.95) * self.std
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Selection:
    """A candidate picked for measurement, with what was expected of it and why it was picked.

    `cost` is the expected seconds of the whole line of oracles; `acquisition_value` is None where the policy
    ranks nothing (random, the initial design).
    """

    candidate: Candidate
    oracle: str
    reason: str
    acquisition_value: float | None = None
    cost: float | None = None
    predictions: tuple[Prediction, ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)


Goal = Literal["maximize", "minimize", "target"]
