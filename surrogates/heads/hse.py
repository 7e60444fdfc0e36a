"""From PBE gaps to HSE gaps: a correction learned from materials calculated with both, and the head that uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from materials.base import Material
from surrogates.element_statistics import NUMBER_OF_COLUMNS, OF_THE_WHOLE
from surrogates.element_statistics import VERSION as STATISTICS_VERSION
from surrogates.heads.band_gap import METAL, BandGapHead
from surrogates.heads.base import Head, HeadPrediction
from surrogates.heads.laplace import LaplaceMixture
from surrogates.heads.network_head import laplace_loss

Floats = npt.NDArray[np.float64]
OF_A_CRYSTAL = sum("volume" in name or "density" in name for name in OF_THE_WHOLE)
"""The last columns of the composition statistics, which a formula does not have."""
GAPS = 20
"""Equally likely PBE gaps that stand for what the band-gap head says of one material."""


class HseCorrection(BandGapHead):
    """What HSE adds to a PBE gap known exactly: its descriptor is that gap and the composition statistics.

    Among PBE metals it also tells how likely HSE opens no gap either (`zero` of the mixture); where PBE has a gap, HSE
    has one. HSE: Heyd, Scuseria, Ernzerhof, J. Chem. Phys. 118, 8207 (2003).
    """

    fidelity: ClassVar[str] = "HSE"
    version: ClassVar[str] = f"PBE gap and composition/{STATISTICS_VERSION}"

    @staticmethod
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        added = labels[:, 0]
        same = (added.abs() < METAL).float()
        odds = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 2], same)
        return odds + (laplace_loss(outputs[:, 0], outputs[:, 1], added) * (1 - same)).mean()

    def base(self, materials: Sequence[Material], descriptors: Floats) -> Floats:
        return np.asarray(descriptors[:, 0])

    def further(self, mixture: LaplaceMixture) -> Mapping[str, Floats]:
        return {}


class HseGapHead(Head):
    """HSE gaps in eV of materials whose PBE gap is not known: the band-gap head, corrected, with the errors of both.

    Every PBE gap that the head holds likely is corrected, and the answers are put together.
    """

    property: ClassVar[str] = "band_gap"
    fidelity: ClassVar[str] = "HSE"

    def __init__(self, pbe: BandGapHead, correction: HseCorrection) -> None:
        self._pbe, self._correction = pbe, correction

    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        known = np.asarray(np.isfinite(descriptors).all(axis=1), dtype=bool)
        columns = np.full((6, len(materials)), np.nan)
        if known.any():
            described = [material for material, row in zip(materials, known, strict=True) if row]
            columns[:, known] = self._predict(described, descriptors[known])
        value, std, low, high, distance, metal = columns
        return HeadPrediction(value, std, low, high, distance, {"metal_probability": metal})

    def _predict(self, materials: Sequence[Material], descriptors: Floats) -> list[Floats]:
        pbe, _ = self._pbe.distribution(materials, descriptors)
        middles = (np.arange(GAPS) + 0.5) / GAPS
        gaps = [np.maximum(pbe.quantile(probability), 0.0) for probability in middles]
        mixture = self._corrected(materials, descriptors, gaps)
        quantiles = [np.maximum(mixture.quantile(probability), 0.0) for probability in (0.5, 0.05, 0.95)]
        distances = [
            self._pbe.neighbourhood.distance(descriptors),
            self._correction.neighbourhood.distance(correction_rows(gaps[GAPS // 2], descriptors)),
        ]
        return [quantiles[0], mixture.std, *quantiles[1:], np.maximum(*distances), mixture.zero]

    def _corrected(
        self, materials: Sequence[Material], descriptors: Floats, gaps: Sequence[Floats]
    ) -> LaplaceMixture:
        """What the correction makes of equally likely PBE gaps, as one distribution of the HSE gap."""
        medians, widths, zeros = [], [], []
        for gap in gaps:
            added, base = self._correction.distribution(materials, correction_rows(gap, descriptors))
            medians.append(base + added.medians)
            widths.append(added.scales)
            # Nothing added to a PBE metal is an HSE metal; nothing added to a gap is a gap.
            zeros.append(np.where(gap < METAL, added.zero, 0.0))
        members = len(medians[0])
        weights = np.repeat(1 - np.array(zeros), members, axis=0) + np.finfo(float).tiny
        return LaplaceMixture(
            np.concatenate(medians), np.concatenate(widths), np.mean(zeros, axis=0), weights
        )


def correction_rows(gaps: Floats, descriptors: Floats) -> Floats:
    """What the correction sees [n, d]: PBE gaps [n] in eV, then the composition statistics that end `descriptors`."""
    statistics = descriptors[:, -NUMBER_OF_COLUMNS:-OF_A_CRYSTAL]
    return np.column_stack([gaps, statistics])
