"""From PBE gaps to HSE gaps: a correction learned from materials calculated with both, and the head that uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from materials.base import Material
from surrogates.element_statistics import NUMBER_OF_COLUMNS
from surrogates.element_statistics import VERSION as STATISTICS_VERSION
from surrogates.heads.band_gap import METAL, BandGapHead
from surrogates.heads.base import Head, HeadPrediction
from surrogates.heads.files import Arrays, part_of, read_weights
from surrogates.heads.forest import Forest
from surrogates.heads.laplace import LaplaceMixture
from surrogates.heads.neighbourhood import Neighbourhood

Floats = npt.NDArray[np.float64]
FORMAT = "matloop-correction-1"
OF_A_CRYSTAL = 2
"""The last columns of the composition statistics, volume and density, which a formula does not have."""
GAPS = 20
"""Equally likely PBE gaps that stand for what the band-gap head says of one material."""
FOLDS = 5
CALCULATED = "calculated"
SMALLEST_ERROR = 0.02
"""eV; errors are told apart down to this."""
BOOSTING: Mapping[str, Any] = {"learning_rate": 0.1, "subsample": 0.6, "max_features": 0.2, "init": "zero"}


@dataclass(frozen=True)
class Boosted:
    """A sum of trees and a constant (Friedman, Annals of Statistics 29, 1189, 2001)."""

    forest: Forest
    start: float

    @classmethod
    def regression(cls, rows: Floats, values: Floats, trees: int, depth: int, seed: int) -> Boosted:
        """Fitted to values [n] at rows [n, d] under Huber's loss, which outliers hardly move."""
        from sklearn.ensemble import GradientBoostingRegressor

        start = float(np.median(values))
        settings = {"n_estimators": trees, "max_depth": depth, "random_state": seed, **BOOSTING}
        model = GradientBoostingRegressor(loss="huber", **settings).fit(rows, values - start)
        return cls(Forest.of(model.estimators_[:, 0], model.learning_rate), start)

    @classmethod
    def log_odds(
        cls, rows: Floats, true: npt.NDArray[np.bool_], trees: int, depth: int, seed: int
    ) -> Boosted:
        """Fitted to the odds that a row of [n, d] is one of the true ones [n]."""
        from sklearn.ensemble import GradientBoostingClassifier

        settings = {"n_estimators": trees, "max_depth": depth, "random_state": seed, **BOOSTING}
        model = GradientBoostingClassifier(**settings).fit(rows, true)
        return cls(Forest.of(model.estimators_[:, 0], model.learning_rate), 0.0)

    def values(self, rows: Floats) -> Floats:
        """[n] for rows [n, d]."""
        return np.asarray(self.start + self.forest.values(rows).sum(axis=0))


class HseCorrection:
    """From a PBE gap known exactly to the HSE gap, in eV; its rows are that gap and the composition statistics.

    What HSE adds is a sum of trees, its error another; where PBE has no gap a third tells how likely HSE has none
    either, and the first what it opens if it does. HSE: Heyd, Scuseria, Ernzerhof, J. Chem. Phys. 118, 8207 (2003).

    widenings: what gives 90 % intervals their coverage on materials with a PBE gap whose formulas were held out from
    training, for calculated PBE gaps and for those that the head of a basis predicts.
    """

    version: ClassVar[str] = f"PBE gap and composition/{STATISTICS_VERSION}"

    def __init__(
        self,
        added: Boosted,
        error: Boosted,
        opens: Boosted,
        neighbourhood: Neighbourhood,
        descriptor: str = version,
        widenings: Mapping[str, float] | None = None,
    ) -> None:
        self.added, self.error, self.opens = added, error, opens
        self.neighbourhood, self.descriptor = neighbourhood, descriptor
        self.widenings = dict(widenings or {})

    @classmethod
    def fit(cls, rows: Floats, hse: Floats, formulas: Sequence[str], seed: int) -> Self:
        """From rows [n, d] (see `correction_rows`), HSE gaps [n] and their reduced formulas; not calibrated yet.

        The errors are those on formulas left out of the fit.
        """
        from sklearn.model_selection import GroupKFold

        metal = rows[:, 0] < METAL
        opened = hse >= METAL
        telling = ~metal | opened
        inputs, target = rows[telling], (hse - rows[:, 0])[telling]
        found = np.empty(len(target))
        groups = np.asarray(formulas)[telling]
        for learned, held_out in GroupKFold(FOLDS).split(inputs, groups=groups):
            part = Boosted.regression(inputs[learned], target[learned], 300, 3, seed)
            found[held_out] = part.values(inputs[held_out])
        errors = np.log(np.maximum(np.abs(target - found), SMALLEST_ERROR))
        return cls(
            Boosted.regression(inputs, target, 300, 3, seed),
            Boosted.regression(inputs, errors, 50, 2, seed),
            Boosted.log_odds(rows[metal], opened[metal], 100, 2, seed),
            Neighbourhood.of(rows, seed),
        )

    @classmethod
    def fit_without(
        cls, rows: Floats, hse: Floats, formulas: Sequence[str], seed: int
    ) -> list[tuple[npt.NDArray[np.intp], Self]]:
        """For each of FOLDS of the formulas its rows, and a correction that learned from all others."""
        from sklearn.model_selection import GroupKFold

        names = np.asarray(formulas)
        return [
            (held_out, cls.fit(rows[learned], hse[learned], names[learned].tolist(), seed))
            for learned, held_out in GroupKFold(FOLDS).split(rows, groups=names)
        ]

    def distribution(self, rows: Floats) -> LaplaceMixture:
        """Of the HSE gap, for rows [n, d]."""
        gaps = rows[:, 0]
        closed = 1 / (1 + np.exp(self.opens.values(rows)))
        medians = gaps + self.added.values(rows)
        scales = self.widenings.get(CALCULATED, 1.0) * np.exp(self.error.values(rows))
        return LaplaceMixture(medians[None], scales[None], np.where(gaps < METAL, closed, 0.0))

    def predict(self, rows: Floats) -> HeadPrediction:
        """HSE gaps of n materials whose PBE gaps are known: rows [n, d]."""
        return HeadPrediction(*_columns(self.distribution(rows)), self.neighbourhood.distance(rows))

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.numpy import save_file

        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for name in ("added", "error", "opens"):
            model: Boosted = getattr(self, name)
            arrays |= {f"{name}.{k}": np.ascontiguousarray(v) for k, v in model.forest.arrays().items()}
            arrays[f"{name}.start"] = np.array(model.start)
        for key, value in self.neighbourhood.arrays().items():
            arrays[f"neighbourhood.{key}"] = np.ascontiguousarray(value, np.float32)
        about = {"format": FORMAT, "property": "band_gap", "descriptor": self.descriptor}
        save_file(arrays, str(path), metadata=about | {"widenings": json.dumps(self.widenings)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`. Raises HeadError for a file that does not hold this correction."""
        about, arrays = read_weights(path, FORMAT, "band_gap")
        added, error, opens = (_boosted(part_of(arrays, name)) for name in ("added", "error", "opens"))
        near = {k: np.asarray(v, float) for k, v in part_of(arrays, "neighbourhood").items()}
        neighbourhood = Neighbourhood.from_arrays(near)
        return cls(added, error, opens, neighbourhood, about["descriptor"], json.loads(about["widenings"]))


def _boosted(arrays: Arrays) -> Boosted:
    return Boosted(Forest.from_arrays(arrays), float(arrays["start"].item()))


def _columns(mixture: LaplaceMixture) -> tuple[Floats, Floats, Floats, Floats]:
    """Median, standard deviation and the ends of the 90 % interval; a gap is never negative."""
    value, low, high = (np.maximum(mixture.quantile(probability), 0.0) for probability in (0.5, 0.05, 0.95))
    return value, mixture.std, low, high


class HseGapHead(Head):
    """HSE gaps in eV of materials whose PBE gap is not known: the band-gap head, corrected, with the errors of both.

    Every PBE gap that the head holds likely is corrected, and the answers are put together. basis: what the head
    judges by, which names its widening.
    """

    property: ClassVar[str] = "band_gap"
    fidelity: ClassVar[str] = "HSE"

    def __init__(self, pbe: BandGapHead, correction: HseCorrection, basis: str) -> None:
        self._pbe, self._correction, self._basis = pbe, correction, basis

    def distribution(self, materials: Sequence[Material], descriptors: Floats) -> LaplaceMixture:
        """Of the HSE gap, for descriptors [n, d] that are finite."""
        return self._corrected(descriptors, self._likely_gaps(materials, descriptors))

    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        known = np.asarray(np.isfinite(descriptors).all(axis=1), dtype=bool)
        columns = np.full((6, len(materials)), np.nan)
        if known.any():
            described = [material for material, row in zip(materials, known, strict=True) if row]
            columns[:, known] = self._predict(described, descriptors[known])
        value, std, low, high, distance, metal = columns
        return HeadPrediction(value, std, low, high, distance, {"metal_probability": metal})

    def _predict(self, materials: Sequence[Material], descriptors: Floats) -> list[Floats]:
        gaps = self._likely_gaps(materials, descriptors)
        mixture = self._corrected(descriptors, gaps)
        distances = [
            self._pbe.neighbourhood.distance(descriptors),
            self._correction.neighbourhood.distance(correction_rows(gaps[GAPS // 2], descriptors)),
        ]
        return [*_columns(mixture), np.maximum(*distances), mixture.zero]

    def _likely_gaps(self, materials: Sequence[Material], descriptors: Floats) -> list[Floats]:
        pbe, _ = self._pbe.distribution(materials, descriptors)
        middles = (np.arange(GAPS) + 0.5) / GAPS
        return [np.maximum(pbe.quantile(probability), 0.0) for probability in middles]

    def _corrected(self, descriptors: Floats, gaps: Sequence[Floats]) -> LaplaceMixture:
        """What the correction makes of equally likely PBE gaps, as one distribution of the HSE gap."""
        medians, widths, zeros = [], [], []
        for gap in gaps:
            told = self._correction.distribution(correction_rows(gap, descriptors))
            medians.append(told.medians)
            widths.append(told.scales)
            zeros.append(told.zero)
        weights = 1 - np.array(zeros) + np.finfo(float).tiny
        whole = LaplaceMixture(
            np.concatenate(medians), np.concatenate(widths), np.mean(zeros, axis=0), weights
        )
        return whole.widened(self._correction.widenings.get(self._basis, 1.0))


def correction_rows(gaps: Floats, descriptors: Floats) -> Floats:
    """What the correction sees [n, d]: PBE gaps [n] in eV, then the composition statistics that end `descriptors`."""
    statistics = descriptors[:, -NUMBER_OF_COLUMNS:-OF_A_CRYSTAL]
    return np.column_stack([gaps, statistics])
