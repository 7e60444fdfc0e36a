"""The head for PBE band gaps: is it a metal, and if not, how wide is the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from materials.base import Material
from surrogates.heads.base import HeadPrediction
from surrogates.heads.laplace import LaplaceMixture
from surrogates.heads.network_head import NetworkHead, laplace_loss, scales

Floats = npt.NDArray[np.float64]
METAL = 1e-3
"""A calculated gap (eV) below this is none."""


class BandGapHead(NetworkHead):
    """Gaps in eV at the PBE level, never negative, with the probability of a metal."""

    property: ClassVar[str] = "band_gap"
    fidelity: ClassVar[str] = "PBE"
    outputs: ClassVar[int] = 3

    @staticmethod
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        gaps = labels[:, 0]
        metal = (gaps < METAL).float()
        odds = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 2], metal)
        widths = laplace_loss(outputs[:, 0], outputs[:, 1], gaps) * (1 - metal)
        return odds + widths.mean()

    def mixture(self, outputs: Floats) -> LaplaceMixture:
        metal = (1 / (1 + np.exp(-outputs[..., 2]))).mean(axis=0)
        return LaplaceMixture(outputs[..., 0], scales(outputs[..., 1]), metal)

    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        found = super().predict(materials, descriptors)
        value, low, high = (np.maximum(column, 0.0) for column in (found.value, found.low, found.high))
        return replace(found, value=value, low=low, high=high)

    def further(self, mixture: LaplaceMixture) -> Mapping[str, Floats]:
        return {"metal_probability": mixture.zero}
