"""Asks several potentials about one structure, and doubts the material where they disagree."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from materials.base import Crystal, Measurement
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from oracles.base import OracleSettings, Resources
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.opinions import (
    Committee,
    NonFiniteOpinionError,
    Opinion,
    Spread,
    UnknownElementEnergyError,
)
from oracles.potential_choice import PotentialChoice
from surrogates.heads.shipped import shipped_descriptor, shipped_head, weights_digest

JUDGED_BY = "formation_energy"
"""The head whose training data tell what is known: it saw the most crystals."""


def _named(potential: object) -> object:
    return {"potential": potential} if isinstance(potential, str) else potential


Choice = Annotated[PotentialChoice, BeforeValidator(_named, json_schema_input_type=str | PotentialChoice)]


class CommitteeSettings(OracleSettings):
    """The spread of several potentials' energies and forces; a material on which they disagree is doubted.

    Potentials that learned the same data share its errors, so the spread is a lower bound of the error. Put it after
    the relaxation. See docs/trust.md for how the limits were found.
    """

    kind: Literal["committee"] = "committee"
    potentials: tuple[Choice, ...] = Field(
        default=(PotentialChoice(potential="7net-0"), PotentialChoice(potential="7net-l3i5"))
    )
    """Who is asked: names, or blocks {potential, sha256, arguments}."""
    largest_energy_spread: float = Field(default=0.016, gt=0)
    """Doubted above, eV/atom; the default potentials stay below for 95 % of known phases near the hull."""
    largest_force_spread: float = Field(default=0.16, gt=0)
    """Doubted above, eV/angstrom; found likewise."""
    farthest: float = Field(default=1.43, gt=0)
    """Doubted when farther from the training data; 99 % of known phases near the hull are nearer than the default."""
    typical_seconds: ClassVar[float] = 1.0

    @field_validator("potentials")
    @classmethod
    def _different(cls, potentials: tuple[PotentialChoice, ...]) -> tuple[PotentialChoice, ...]:
        if len(potentials) < 2:
            raise ValueError(f"{len(potentials)} given; at least two can disagree")
        versions = [choice.potential_version for choice in potentials]
        for choice, version in zip(potentials, versions, strict=True):
            if versions.count(version) > 1:
                raise ValueError(
                    f"{choice.potential} is there twice; a potential never disagrees with itself"
                )
        return potentials

    @property
    def resources(self) -> Resources:  # type: ignore[override]  # depends on the machine
        return Resources(memory=2.0, gpus=int(any(choice.takes_gpu for choice in self.potentials)))

    @property
    def measures(self) -> tuple[str, ...]:
        return ("energy_spread", "force_spread")

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        versions = [choice.potential_version for choice in self.potentials]
        return ", ".join([*versions, f"head {weights_digest((JUDGED_BY,))}"])

    def committee(self) -> Committee:
        """The potentials, loaded once per process."""
        zeros = {choice.potential_zero for choice in self.potentials}
        return Committee([choice.load() for choice in self.potentials], relative_to_elements=len(zeros) > 1)

    def build(self) -> CommitteeOracle:
        return CommitteeOracle(self)


class CommitteeOracle(OneByOneOracle):
    """Answers with the spreads at the geometry that the stage before left."""

    def __init__(self, settings: CommitteeSettings) -> None:
        self._settings = settings
        self._committee = settings.committee()

    def measure(self, request: Request) -> Answer:
        material = request.material
        if not (isinstance(material, Crystal) and material.is_ordered):
            message = (
                "potentials can be asked about a crystal without partial occupancies only; order it first"
            )
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{material.formula}: {message}")
        opinions = self._opinions(material)
        found = Spread.of(opinions)
        distance = distance_to_known(material)
        values = {"energy_spread": found.energy, "force_spread": found.largest_force}
        measurements = [self._measurement(name, value, request.oracle) for name, value in values.items()]
        potentials = [member.potential for member in self._committee.members]
        provenance: dict[str, Any] = {
            "potentials": [potential.name for potential in potentials],
            "versions": [potential.version for potential in potentials],
            "energies": [opinion.energy for opinion in opinions],
            "relative_to_elements": self._committee.relative_to_elements,
            "stress_spread": found.stress,
            "distance": distance,
        }
        return Answer(tuple(measurements), provenance=provenance, doubt=self._doubt(found, distance))

    def _opinions(self, material: Crystal) -> tuple[Opinion, ...]:
        try:
            return self._committee.opinions(material.structure)
        except NonFiniteOpinionError as error:
            raise RejectedError(FailureKind.NOT_FINITE, str(error)) from error
        except UnknownElementEnergyError as error:
            raise RejectedError(FailureKind.UNKNOWN_REFERENCE, f"{material.formula}: {error}") from error

    def _measurement(self, name: str, value: float, oracle: str) -> Measurement:
        return Measurement(name, value, property_named(name).unit, self._settings.fidelity, oracle)

    def _doubt(self, found: Spread, distance: float | None) -> str | None:
        limits = self._settings
        reasons = []
        if found.energy > limits.largest_energy_spread:
            reasons.append(
                f"potentials disagree on the energy: spread {found.energy:.3g} eV/atom (limit "
                f"{limits.largest_energy_spread:g})"
            )
        if found.largest_force > limits.largest_force_spread:
            reasons.append(
                f"potentials disagree on the forces: spread {found.largest_force:.3g} eV/angstrom (limit "
                f"{limits.largest_force_spread:g})"
            )
        if distance is None:
            reasons.append("what is known cannot be compared with it")
        elif distance > limits.farthest:
            reasons.append(f"far from anything known: distance {distance:.3g} (limit {limits.farthest:g})")
        return "; ".join(reasons) or None


def distance_to_known(material: Crystal) -> float | None:
    """How far an ordered crystal lies from the crystals that the formation-energy head learned from.

    In units of what is usual among them (see `surrogates.heads.neighbourhood`): at most 1 for 95 % of them. None for an
    element that the descriptor does not know.
    """
    descriptor = shipped_descriptor("structure")
    if descriptor.why_not(material) is not None:
        return None
    described = descriptor.describe([material]).astype(float)
    return float(shipped_head(JUDGED_BY, "structure").predict([material], described).distance[0])
