"""The contract of a surrogate: a joint posterior over named properties of candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from materials.archive import Archive
from materials.base import Candidate, Material, Prediction
from materials.settings import Settings
from surrogates.descriptors import DescriptorSettings
from surrogates.prior import Prior

if TYPE_CHECKING:
    from botorch.models.model import Model
    from botorch.posteriors import Posterior
    from torch import Tensor

Floats = npt.NDArray[np.float64]
FeatureSource = Callable[[Sequence[Material]], Floats]
"""Descriptors [n, d] of n materials. The loop hands one in that caches by content and uses all workers."""


@dataclass(frozen=True)
class FitReport:
    """How a property's model came to be: rows used, the model that held, what failed or was left out."""

    property: str
    rows: int
    model: str
    fallbacks: tuple[str, ...] = ()


class Surrogate(ABC):
    """Models of several properties over one descriptor space, fitted on an archive.

    widening: factors by property on the standard deviations that `predict` gives, 1 where there is none. Whoever sees
    predictions fail sets it; `model` and `posterior` stay as they were fitted.
    """

    widening: Mapping[str, float] = MappingProxyType({})

    @property
    @abstractmethod
    def properties(self) -> tuple[str, ...]:
        """The properties that have a model: after `fit` those with at least two different measured values.

        A property of which something is known before has one, too, once a candidate was described (by `fit`, `inputs`
        or `predict`): until two different values are measured its model is that prior knowledge.
        """

    @property
    @abstractmethod
    def reports(self) -> tuple[FitReport, ...]:
        """One report per modelled property, of the latest `fit`."""

    @abstractmethod
    def fit(self, archive: Archive, seed: int) -> None:
        """Learns from everything measured; failures never enter as values. Bounded by steps, not seconds."""

    @abstractmethod
    def inputs(self, candidates: Sequence[Candidate]) -> Tensor:
        """What the models see of candidates, [n, k]; usable before `fit` for space-filling designs."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """The BoTorch model; its outputs follow `properties`, in the properties' own units."""

    @abstractmethod
    def posterior(self, candidates: Sequence[Candidate]) -> Posterior:
        """The joint BoTorch posterior [n, m] over `properties`, in their units."""

    @abstractmethod
    def feasibility(self, candidates: Sequence[Candidate]) -> Floats:
        """The probability [n] that a line of oracles ends with values of a new material; 1 until one did not."""

    @abstractmethod
    def predict(self, candidates: Sequence[Candidate]) -> list[tuple[Prediction, ...]]:
        """Marginal mean, widened standard deviation and distance to the training rows, of each property of each."""

    @abstractmethod
    def save(self, folder: Path) -> Mapping[str, Path]:
        """Writes weights as safetensors with a JSON beside them; returns role -> file."""


class SurrogateSettings(Settings):
    """The block `surrogate:` of a campaign file."""

    kind: str

    def descriptor_settings(self) -> DescriptorSettings:
        """The descriptors its `FeatureSource` gives; the loop caches them and shares out their computing."""
        raise NotImplementedError

    @property
    def material_kinds(self) -> tuple[str, ...]:
        """The kinds of material it can learn from."""
        return self.descriptor_settings().material_kinds

    def build(
        self, properties: Sequence[str], features: FeatureSource, priors: Sequence[Prior] = ()
    ) -> Surrogate:
        """The unfitted surrogate for the named properties.

        priors: what is known before anything is measured; of several that know a property the first counts.
        """
        raise NotImplementedError
