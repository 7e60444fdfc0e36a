"""The vocabulary every room shares: materials, candidates, measurements, requests and outcomes.

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
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import pymatgen.core as pmg


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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Crystal:
        return cls(pmg.Structure(data["lattice"], data["species"], data["coordinates"]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crystal) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(canonical_json(self.to_dict()))


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


class FailureKind(StrEnum):
    """The closed list of ways an evaluation ends without a value."""

    NOT_CONVERGED = "not_converged"
    EXPLODED = "exploded"
    UNSUPPORTED_ELEMENT = "unsupported_element"
    UNSUPPORTED_MATERIAL = "unsupported_material"
    NOT_FINITE = "not_finite"
    NO_PERCOLATION = "no_percolation"
    UNKNOWN_REFERENCE = "unknown_reference"
    MISSING_ANSWER = "missing_answer"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    WORKER_LOST = "worker_lost"
    BAD_RESULT = "bad_result"
    ERROR = "error"


@dataclass(frozen=True)
class Failure:
    """Why an evaluation gave no value: a kind from the closed list and a sentence a person can act on."""

    kind: FailureKind
    message: str


class Status(StrEnum):
    """How an evaluation ended. FAILED may be retried, REJECTED never again, UNKNOWN asks a human."""

    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Request:
    """One question to one oracle. `material` and `measurements` are as the earlier stages left them."""

    key: str
    candidate: Candidate
    material: Material
    oracle: str
    measurements: tuple[Measurement, ...] = ()
    conditions: Mapping[str, float] = field(default_factory=dict)
    replicate: int = 0

    def measured(self, name: str) -> Measurement | None:
        """The latest measurement of the property `name` made by an earlier stage."""
        return next((m for m in reversed(self.measurements) if m.property == name), None)


def request_key(
    candidate_id: str,
    oracle: str,
    fingerprint: str,
    conditions: Mapping[str, float] | None = None,
    replicate: int = 0,
) -> str:
    """The key under which a question is asked once: equal questions have equal keys.

    `fingerprint` identifies the oracle's settings and model version (see `Settings.fingerprint`), including
    those of the stages before it, because they decide the material it is asked about.
    """
    return content_hash([candidate_id, oracle, fingerprint, dict(conditions or {}), replicate])


@dataclass(frozen=True)
class Outcome:
    """What came back for a request. `material` is set when the oracle changed it (a relaxed structure)."""

    key: str
    candidate_id: str
    oracle: str
    status: Status
    measurements: tuple[Measurement, ...] = ()
    material: Material | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "candidate_id": self.candidate_id,
            "oracle": self.oracle,
            "status": str(self.status),
            "measurements": [m.to_dict() for m in self.measurements],
            "material": None if self.material is None else self.material.to_dict(),
            "failure": None if self.failure is None else asdict(self.failure),
            "seconds": self.seconds,
            "provenance": dict(self.provenance),
            "artifacts": {name: dict(entry) for name, entry in self.artifacts.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        failure = data.get("failure")
        material = data.get("material")
        return cls(
            key=data["key"],
            candidate_id=data["candidate_id"],
            oracle=data["oracle"],
            status=Status(data["status"]),
            measurements=tuple(Measurement.from_dict(m) for m in data.get("measurements", ())),
            material=None if material is None else material_from_dict(material),
            failure=None if failure is None else Failure(FailureKind(failure["kind"]), failure["message"]),
            seconds=float(data.get("seconds", 0.0)),
            provenance=data.get("provenance", {}),
            artifacts=data.get("artifacts", {}),
        )


@dataclass(frozen=True)
class Ticket:
    """Enough to find a running evaluation again after a restart; `handle` holds JSON values only."""

    oracle: str
    key: str
    handle: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """What a surrogate expected before the test: mean and standard deviation in the property's unit."""

    property: str
    mean: float
    std: float


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
