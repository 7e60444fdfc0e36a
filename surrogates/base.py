"""The contract of a surrogate: a joint posterior over named properties of candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from materials.archive import Archive
from materials.base import Candidate, Material, Prediction
from materials.settings import Settings

if TYPE_CHECKING:
    from botorch.models.model import Model
    from botorch.posteriors import Posterior
    from torch import Tensor

Floats = npt.NDArray[np.float64]
FeatureSource = Callable[[Sequence[Material]], Floats]
"""Descriptors [n, d] of n materials. The loop hands one in that caches by content and uses all workers."""


@dataclass(frozen=True)
class FitReport:
    """How one property's model came to be: rows used, the model that held, what was tried and failed before."""

    property: str
    rows: int
    model: str
    fallbacks: tuple[str, ...] = ()


class Surrogate(ABC):
    """Models of several properties over one descriptor space, fitted on an archive."""

    properties: tuple[str, ...]
    """The properties that have a model after `fit`: those with at least two different measured values."""
    reports: tuple[FitReport, ...]

    @abstractmethod
    def fit(self, archive: Archive, seed: int) -> None:
        """Learns from everything measured; failures never enter as values. Bounded by steps, not seconds."""

    @abstractmethod
    def inputs(self, candidates: Sequence[Candidate]) -> Tensor:
        """The reduced descriptors [n, k] the models see; usable before `fit` for space-filling designs."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """The BoTorch model; its outputs follow `properties`, in the properties' own units."""

    @abstractmethod
    def posterior(self, candidates: Sequence[Candidate]) -> Posterior:
        """The joint BoTorch posterior [n, m] over `properties`, in their units."""

    @abstractmethod
    def feasibility(self, candidates: Sequence[Candidate]) -> Floats:
        """The probability [n] that each candidate's line of oracles ends with values; 1 before any failure."""

    @abstractmethod
    def predict(self, candidates: Sequence[Candidate]) -> list[tuple[Prediction, ...]]:
        """Marginal mean and standard deviation of each property of each candidate."""

    @abstractmethod
    def save(self, folder: Path) -> Mapping[str, Path]:
        """Writes weights as safetensors with a JSON beside them; returns role -> file."""


class SurrogateSettings(Settings):
    """The block `surrogate:` of a campaign file."""

    kind: str
    material_kinds: ClassVar[tuple[str, ...]] = ("crystal", "composition")

    def build(self, properties: Sequence[str], features: FeatureSource) -> Surrogate:
        """The unfitted surrogate for the named properties."""
        raise NotImplementedError
