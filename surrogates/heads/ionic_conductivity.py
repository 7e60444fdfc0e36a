"""The head for ionic conductivities: trees on what measured lithium conductors are made of.

Four hundred measurements are too few for a network. Each tree is grown without some groups of near-duplicates, so the
trees that never saw a row's group say how wrong the forest is on new chemistry, and no row is given up for calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from materials.base import Composition, Material
from surrogates.element_statistics import describe_material
from surrogates.heads.base import Head, HeadError, HeadPrediction
from surrogates.heads.files import part_of, read_weights
from surrogates.heads.forest import Forest, Growth
from surrogates.heads.laplace import LaplaceMixture, widening
from surrogates.heads.neighbourhood import Neighbourhood

FORMAT = "matloop-forest-head-1"
SMOOTHINGS = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Decades; the scales of the Laplace distribution about each tree's value that are tried."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ConductivityTraining:
    """How the head is trained: the trees, the parts that groups are dealt into, how often limits are redrawn."""

    growth: Growth = field(default_factory=Growth)
    parts: int = 10
    rounds: int = 2


class IonicConductivityHead(Head):
    """log10 of the ionic conductivity at room temperature in S/cm, of lithium conductors, as measured.

    Every tree's value with a Laplace distribution about it, and the mixture of these widened until the 90 % interval
    holds 90 % of rows whose groups the trees had not seen.
    """

    property: ClassVar[str] = "log_ionic_conductivity"
    fidelity: ClassVar[str] = "experiment"

    def __init__(
        self,
        forest: Forest,
        neighbourhood: Neighbourhood,
        descriptor: str,
        columns: int,
        smoothing: float,
        widening: float,
    ) -> None:
        self.forest = forest
        self.neighbourhood = neighbourhood
        self.descriptor = descriptor
        self.columns = columns
        self.smoothing = smoothing
        self.widening = widening

    @classmethod
    def fit(
        cls,
        materials: Sequence[Material],
        descriptors: Floats,
        values: Floats,
        at_most: Flags,
        groups: Integers,
        descriptor: str,
        how: ConductivityTraining,
        seed: int,
    ) -> Self:
        """Trained on n materials, their descriptors [n, d] and values [n], and calibrated.

        at_most [n]: the value is an upper limit. groups [n]: near-duplicates share a number. Raises ValueError where
        there are fewer groups than parts.
        """
        row_part, tree_part = _dealt(groups, how, seed)
        grown_on = tree_part[:, None] != row_part[None, :]
        targets = np.tile(values, (len(tree_part), 1))
        rng = np.random.default_rng([seed, 1])
        for turn in range(how.rounds + 1):
            forest = Forest.grow(descriptors, targets, grown_on, how.growth, seed + turn)
            unseen = _unseen(forest.values(descriptors), row_part, tree_part)
            smoothing, factor = _calibrated(unseen, values, at_most)
            if at_most.any():
                told = _mixture(unseen[:, at_most], smoothing).widened(factor)
                targets[:, at_most] = _below(told, values[at_most], len(targets), rng)
        neighbourhood = Neighbourhood.of(_statistics(materials), seed)
        return cls(forest, neighbourhood, descriptor, descriptors.shape[1], smoothing, factor)

    def distribution(self, descriptors: Floats) -> LaplaceMixture:
        """What the head says of rows [n, d], as a distribution. Raises HeadError for rows of another descriptor."""
        if descriptors.shape[1] != self.columns:
            raise HeadError(
                f"the {self.property} head reads {self.columns} columns ({self.descriptor}), not "
                f"{descriptors.shape[1]}; describe materials with surrogates.heads.shipped.descriptor_of"
            )
        return _mixture(self.forest.values(descriptors), self.smoothing).widened(self.widening)

    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        known = np.asarray(np.isfinite(descriptors).all(axis=1), dtype=bool)
        value, std, low, high, distance = np.full((5, len(materials)), np.nan)
        if known.any():
            told = self.distribution(descriptors[known])
            value[known], std[known] = told.quantile(0.5), told.std
            low[known], high[known] = told.quantile(0.05), told.quantile(0.95)
            described = [material for material, row in zip(materials, known, strict=True) if row]
            distance[known] = self.neighbourhood.distance(_statistics(described))
        return HeadPrediction(value, std, low, high, distance)

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.numpy import save_file

        arrays = {f"forest.{k}": v for k, v in self.forest.arrays().items()}
        arrays |= {
            f"neighbourhood.{k}": np.asarray(v, np.float32) for k, v in self.neighbourhood.arrays().items()
        }
        about = {
            "format": FORMAT,
            "property": self.property,
            "descriptor": self.descriptor,
            "columns": str(self.columns),
            "smoothing": repr(self.smoothing),
            "widening": repr(self.widening),
        }
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, str(path), metadata=about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`. Raises HeadError for a file that does not hold this head."""
        about, arrays = read_weights(path, FORMAT, cls.property)
        near = {k: np.asarray(v, float) for k, v in part_of(arrays, "neighbourhood").items()}
        return cls(
            Forest.from_arrays(part_of(arrays, "forest")),
            Neighbourhood.from_arrays(near),
            about["descriptor"],
            int(about["columns"]),
            float(about["smoothing"]),
            float(about["widening"]),
        )


def negative_log_likelihood(mixture: LaplaceMixture, values: Floats, at_most: Flags) -> Floats:
    """[n], in nats: by the density of a value, and by the probability of lying below an upper limit."""
    tiny = np.finfo(float).tiny
    return -np.log(np.maximum(np.where(at_most, mixture.cumulative(values), mixture.density(values)), tiny))


def _statistics(materials: Sequence[Material]) -> Floats:
    """Where a material lies among others: in the statistics of its elements, so that a new one is far, too."""
    return np.array([describe_material(Composition(material.formula)) for material in materials])


def _dealt(groups: Integers, how: ConductivityTraining, seed: int) -> tuple[Integers, Integers]:
    """The part of each row [n] and the part that each tree never sees [t]; a group lies in one part."""
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < how.parts:
        raise ValueError(
            f"{len(names)} groups of materials cannot be dealt into {how.parts} parts; give more, or fewer parts"
        )
    part = np.random.default_rng(seed).permutation(len(names)) % how.parts
    return part[member], np.arange(how.growth.trees) % how.parts


def _unseen(values: Floats, row_part: Integers, tree_part: Integers) -> Floats:
    """[t / parts, n] from [t, n]: of each row the trees that never saw its part."""
    return np.stack([values[tree_part == part, i] for i, part in enumerate(row_part)], axis=1)


def _mixture(values: Floats, smoothing: float) -> LaplaceMixture:
    return LaplaceMixture(values, np.full_like(values, smoothing), np.zeros(values.shape[1]))


def _calibrated(unseen: Floats, values: Floats, at_most: Flags) -> tuple[float, float]:
    """The smoothing of the best likelihood, each with the widening that gives intervals their coverage."""
    exact = ~at_most
    found = []
    for smoothing in SMOOTHINGS:
        factor = widening(_mixture(unseen[:, exact], smoothing), values[exact])
        told = _mixture(unseen, smoothing).widened(factor)
        found.append((float(negative_log_likelihood(told, values, at_most).mean()), smoothing, factor))
    _, smoothing, factor = min(found)
    return smoothing, factor


def _below(mixture: LaplaceMixture, limits: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """[draws, n] from what a mixture says, given that the values lie below `limits` [n].

    A tree that learns from such draws learns from the limit and not from a value that nobody measured (multiple
    imputation: Rubin 1987).
    """
    from scipy.stats import laplace

    below = laplace.cdf(limits, mixture.medians, mixture.scales)
    shares = np.cumsum(below, axis=0) / below.sum(axis=0)
    member = (rng.random((draws, 1, len(limits))) > shares).sum(axis=1).clip(max=len(shares) - 1)
    column = np.arange(len(limits))
    level = (1 - rng.random(member.shape)) * below[member, column]
    return np.asarray(laplace.ppf(level, mixture.medians[member, column], mixture.scales[member, column]))
