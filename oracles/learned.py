"""The lowest rung of the ladder of fidelities: what the pretrained heads say, always labelled `learned`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from materials.base import Bound, Material, Measurement
from materials.evaluation import FailureKind, Request
from materials.potential import has_gpu
from materials.properties import property_named
from oracles.base import OracleSettings, Resources
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from surrogates.conduction_columns import MOBILE
from surrogates.descriptors import Descriptor
from surrogates.heads.base import HeadPrediction
from surrogates.heads.shipped import (
    CONDUCTIVITY,
    CORRECTED,
    DESCRIPTORS,
    LEARNED_AS,
    PROPERTIES,
    Basis,
    Level,
    basis_told,
    descriptor_of,
    hse_correction,
    judged_by,
    shipped_head,
    weights_digest,
)

Floats = npt.NDArray[np.float64]


def _has_a_head(name: str) -> str:
    if name not in PROPERTIES:
        raise ValueError(f"no pretrained head for {name!r}; there is one for {', '.join(PROPERTIES)}")
    return name


class LearnedSettings(OracleSettings):
    """Predictions of the pretrained heads, in milliseconds, with their errors.

    A crystal is judged by its structure, so put it after the relaxation; a disordered one and a formula by the
    composition. Conductivities are told of materials with Li only (so the space must require it), and of disordered
    crystals with their cells. A block tells all its properties or none; what should not cost the others goes into a
    block of its own behind them. See docs/heads.md for what the heads learned from and how far to trust them.
    """

    # The base declares `measures` as a property, so the field needs a name of its own.
    model_config = ConfigDict(serialize_by_alias=True)
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")
    typical_seconds: ClassVar[float] = 0.1

    kind: Literal["learned"] = "learned"
    properties: tuple[Annotated[str, AfterValidator(_has_a_head)], ...] = Field(
        alias="measures", min_length=1
    )
    """What to predict: band_gap (eV), formation_energy (eV/atom), log_ionic_conductivity (log10 of S/cm, as measured at
    room temperature)."""
    imitates: Level = "PBE"
    """The calculation that is predicted. HSE: band_gap only, at the fidelity `learned_HSE`; from the PBE gap where an
    earlier oracle calculated it, else from a predicted one."""
    farthest: float = Field(default=3.0, gt=0)
    """Refuse a material farther than this from the training data; 1 is as far as nearly all of these lie from one
    another."""

    @model_validator(mode="after")
    def _has_a_correction(self) -> LearnedSettings:
        others = [name for name in self.properties if name not in CORRECTED]
        if self.imitates == "HSE" and others:
            raise ValueError(
                f"imitates: HSE is for {', '.join(CORRECTED)} only; put {', '.join(others)} into another block of kind "
                "learned"
            )
        return self

    @property
    def resources(self) -> Resources:  # type: ignore[override]  # depends on the machine
        # The descriptors are those of a potential, and lie where it does.
        return Resources(gpus=int(has_gpu()))

    @property
    def needed_elements(self) -> tuple[str, ...]:
        return (MOBILE,) if CONDUCTIVITY in self.properties else ()

    @property
    def measures(self) -> tuple[str, ...]:
        return self.properties

    @property
    def fidelity(self) -> str:
        return LEARNED_AS[self.imitates]

    def model_version(self) -> str:
        return f"heads {weights_digest(self.properties, self.imitates)}"

    def build(self) -> LearnedOracle:
        return LearnedOracle(self)


class LearnedOracle(OneByOneOracle):
    """Describes a material and asks the heads."""

    def __init__(self, settings: LearnedSettings) -> None:
        self._settings = settings
        for name in settings.properties:
            for basis in DESCRIPTORS:
                descriptor_of(name, basis)  # loaded now, not in the first measurement

    def measure(self, request: Request) -> Answer:
        measurements: list[Measurement] = []
        provenance: dict[str, Any] = {}
        described: dict[Descriptor, Floats] = {}
        for name in self._settings.properties:
            material, basis = judged_by(request.material, name)
            descriptor = descriptor_of(name, basis)
            if descriptor not in described:
                described[descriptor] = _described(descriptor, material)
            predicted, source = self._predict(name, basis, material, described[descriptor], request)
            distance = float(predicted.distance[0])
            if distance > self._settings.farthest:
                raise RejectedError(
                    FailureKind.UNSUPPORTED_MATERIAL,
                    f"{material.formula}: unlike what the {name} head learned from (distance {distance:.1f}, more than "
                    f"farthest: {self._settings.farthest:g})",
                )
            measurements.append(self._measurement(name, predicted, request.oracle))
            interval = [float(predicted.low[0]), float(predicted.high[0])]
            extras = {key: float(values[0]) for key, values in predicted.extras.items()}
            provenance |= {name: {"interval_90": interval, "distance": distance, "from": source, **extras}}
        return Answer(tuple(measurements), provenance=provenance)

    def _measurement(self, name: str, predicted: HeadPrediction, oracle: str) -> Measurement:
        return Measurement(
            property=name,
            value=float(predicted.value[0]),
            unit=property_named(name).unit,
            fidelity=self._settings.fidelity,
            oracle=oracle,
            std=float(predicted.std[0]),
        )

    def _predict(
        self, name: str, basis: Basis, material: Material, described: Floats, request: Request
    ) -> tuple[HeadPrediction, str]:
        """The prediction, and what it rests on."""
        if self._settings.imitates == "HSE":
            pbe = [m for m in request.measurements if (m.property, m.fidelity) == (name, "PBE")]
            if pbe and pbe[-1].bound is Bound.EXACT:
                gap = np.array([pbe[-1].value])
                from surrogates.heads.hse import correction_rows

                predicted = hse_correction().predict(correction_rows(gap, described))
                return predicted, f"the PBE value of {pbe[-1].oracle}"
        predicted = shipped_head(name, basis, self._settings.imitates).predict([material], described)
        return predicted, basis_told(material, basis)


def _described(descriptor: Descriptor, material: Material) -> Floats:
    """[1, d]. Raises RejectedError with the reason where there is none."""
    reason = descriptor.why_not(material)
    if reason is not None:
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, reason)
    return descriptor.describe([material]).astype(np.float64)
