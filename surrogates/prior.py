"""What is known of a property before a campaign measures it: the mean a Gaussian process starts from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from materials.base import Composition, Material
from surrogates.descriptors import DescriptorSettings
from surrogates.heads.base import HeadPrediction
from surrogates.heads.shipped import (
    CONDUCTIVITY,
    CORRECTED,
    DESCRIPTORS,
    PROPERTIES,
    Basis,
    Level,
    descriptor_of,
    judged_by,
    shipped_head,
)

Floats = npt.NDArray[np.float64]

FARTHEST = 3.0
"""Beyond this distance from its training data a head extrapolates, and its answer is worth no more than the mean."""


class Prior(ABC):
    """Predictions that cost next to nothing beside the descriptors; they may be biased, the campaign corrects them."""

    @property
    @abstractmethod
    def properties(self) -> tuple[str, ...]:
        """The properties it knows."""

    @abstractmethod
    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        """Mean [n] and standard deviation [n] of a property in its unit, NaN where it has no answer.

        descriptors: [n, d], those of the surrogate; NaN where a material cannot be described. The same material must
        always get the same answer while a campaign's model is in use.
        """


class HeadPrior(Prior):
    """The heads that ship: on the structure where the surrogate's descriptor is theirs, else on the formula alone."""

    def __init__(self, descriptor: DescriptorSettings, level: Level = "PBE") -> None:
        """level: what the predictions imitate; HSE knows band gaps only."""
        self._on_structure = descriptor.version == DESCRIPTORS["structure"].version
        self._level: Level = level

    @property
    def properties(self) -> tuple[str, ...]:
        return PROPERTIES if self._level == "PBE" else CORRECTED

    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        if self._on_structure and name != CONDUCTIVITY:
            return _trusted(shipped_head(name, "structure", self._level).predict(materials, descriptors))
        mean, std = np.full((2, len(materials)), np.nan)
        judged = [_judged(material, name) for material in materials]
        for basis in DESCRIPTORS:
            chosen = [i for i, (_, found) in enumerate(judged) if found == basis]
            if chosen:
                part = [judged[i][0] for i in chosen]
                described = descriptor_of(name, basis).describe(part).astype(float)
                mean[chosen], std[chosen] = _trusted(
                    shipped_head(name, basis, self._level).predict(part, described)
                )
        return mean, std


def _judged(material: Material, name: str) -> tuple[Material, Basis]:
    """The conductivity head takes a cell with its own few columns; the others would need the union descriptor."""
    if name == CONDUCTIVITY:
        return judged_by(material, name)
    return Composition(material.formula), "composition"


def _trusted(answer: HeadPrediction) -> tuple[Floats, Floats]:
    with np.errstate(invalid="ignore"):
        known = answer.distance <= FARTHEST
    return np.where(known, answer.value, np.nan), np.where(known, answer.std, np.nan)
