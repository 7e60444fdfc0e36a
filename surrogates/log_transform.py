# ruff: noqa: N803 - BoTorch calls these methods with its own argument names
"""Modelling the logarithm of a positive quantity, with predictions in its own unit."""

from __future__ import annotations

from botorch.models.transforms.outcome import OutcomeTransform
from botorch.posteriors import Posterior, TransformedPosterior
from torch import Tensor

LARGEST_LOG_VARIANCE = 9.0
"""Where the log is known worse than to a factor e^3, mean and variance of the log-normal say nothing; cut."""


class ShiftedLog(OutcomeTransform):  # type: ignore[misc]
    """log(value + offset); its posterior is a shifted log-normal one. Values must lie above -offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(
        self,
        Y: Tensor,
        Yvar: Tensor | None = None,
        X: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        shifted = Y + self.offset
        return shifted.log(), None if Yvar is None else Yvar / shifted**2

    def untransform(
        self,
        Y: Tensor,
        Yvar: Tensor | None = None,
        X: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        return Y.exp() - self.offset, None if Yvar is None else Yvar * Y.exp() ** 2

    def untransform_posterior(
        self,
        posterior: Posterior,
        X: Tensor | None = None,
    ) -> TransformedPosterior:
        return TransformedPosterior(
            posterior,
            sample_transform=lambda samples: samples.exp() - self.offset,
            mean_transform=lambda mean, variance: _mean(mean, variance) - self.offset,
            variance_transform=lambda mean, variance: _mean(mean, variance) ** 2 * _cut(variance).expm1(),
        )


def _cut(variance: Tensor) -> Tensor:
    return variance.clamp_max(LARGEST_LOG_VARIANCE)


def _mean(mean: Tensor, variance: Tensor) -> Tensor:
    return (mean + _cut(variance) / 2).exp()
