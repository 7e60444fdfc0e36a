"""The contract of a head: a property predicted from a material and its descriptor, with calibrated uncertainty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from materials.base import Material

Floats = npt.NDArray[np.float64]


class HeadError(ValueError):
    """Weights that cannot be used: damaged, of another version, or for another descriptor."""


@dataclass(frozen=True)
class HeadPrediction:
    """What a head says of n materials, in the property's unit; rows of NaN where a descriptor is missing.

    value: [n], the median. std: [n]. low, high: [n], the 90 % interval. distance: [n], to the training data in units of
    what is usual among them: about 1 inside, above 3 the head extrapolates. extras: further columns by name.
    """

    value: Floats
    std: Floats
    low: Floats
    high: Floats
    distance: Floats
    extras: Mapping[str, Floats] = field(default_factory=dict)


class Head(ABC):
    """A trained model of one property; its model card says what it learned from and must not be used for."""

    property: ClassVar[str]
    fidelity: ClassVar[str]
    """What it imitates: PBE, HSE, experiment. What it says is `learned`, whatever it imitates."""

    @abstractmethod
    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        """For n materials and their descriptors [n, d]."""
