# ruff: noqa: N803 - BoTorch calls these methods with its own argument names
"""A property's model before two different values of it are measured: what its prior says, as it says it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from botorch.models.gpytorch import GPyTorchModel
from gpytorch.distributions import MultivariateNormal
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.models import ExactGP
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from surrogates.base import FitReport, Floats
from surrogates.columns import Columns

SMALLEST_STD = 1e-6


class IndependentNormals(ExactGP, GPyTorchModel):  # type: ignore[misc]
    """A BoTorch model without training rows: at inputs [..., n, k] the normals that a prior's columns tell.

    usual: mean and standard deviation where the prior has no answer. Candidates are independent: how far a prior errs
    alike for two of them is not known before anything is measured.
    """

    _num_outputs = 1

    def __init__(self, columns: Columns, usual: tuple[float, float]) -> None:
        super().__init__(None, None, GaussianLikelihood())
        self.columns, self.usual = columns, usual

    def forward(self, X: Tensor) -> MultivariateNormal:
        """The distribution at inputs [..., n, k]."""
        assert self.columns.prior is not None
        mean, std = X[..., self.columns.prior], X[..., self.columns.prior + 1]
        known = std >= 0
        mean, std = mean.where(known, self.usual[0]), std.where(known, self.usual[1])
        return MultivariateNormal(mean, DiagLinearOperator(std.clamp_min(SMALLEST_STD).square()))


@dataclass(frozen=True)
class PriorAlone:
    """What `FittedProperty` is for measured properties; see `IndependentNormals` for `usual`."""

    name: str
    columns: Columns
    usual: tuple[float, float]

    @classmethod
    def of(cls, name: str, columns: Columns, answers: Floats) -> PriorAlone | None:
        """From a prior's means and standard deviations [n, 2] of some candidates, negative where it has none.

        Where it has no answer later, their mean and spread stand in. None where it has none now.
        """
        mean, std = answers[answers[:, 1] >= 0].T
        if not len(mean):
            return None
        return cls(name, columns, (float(mean.mean()), float((mean.var() + (std**2).mean()) ** 0.5)))

    @cached_property
    def model(self) -> IndependentNormals:
        """The BoTorch model, in the property's unit."""
        model = IndependentNormals(self.columns, self.usual)
        model.eval()
        return model

    @property
    def report(self) -> FitReport:
        """Says that nothing was fitted."""
        return FitReport(self.name, 0, "the prior alone: no two different values are measured")

    def moments(self, inputs: Tensor) -> tuple[list[float], list[float]]:
        """Means and standard deviations of what would be measured at inputs [n, k], in the property's unit."""
        found = self.model(inputs)
        return found.mean.tolist(), found.stddev.tolist()

    def distances(self, reduced: Tensor) -> list[float | None]:
        """[n], all None: there are no training rows."""
        return [None] * len(reduced)
