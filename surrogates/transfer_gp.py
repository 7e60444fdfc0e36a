# ruff: noqa: N803 - BoTorch calls these methods with its own argument names
"""The parts of a Gaussian process that starts from a prior and learns from several fidelities at once.

    value at level l = h(x) + a_l + b_l (h(x) - average) + r(x) (rho_l g(x) + d_l(x)) + noise

h and r are the prior's mean and standard deviation, columns of the inputs. g is what the campaign learns beyond the
prior, at the fidelity that counts (level 0, rho_0 = 1, d_0 = 0); any other fidelity sees it through a factor rho_l,
with a deviation d_l and a noise of its own. What the prior is off by and in its slope, a_l and b_l, is marginalised:
fitted to a few rows it made the model far too sure of itself. Without a prior h is one number, r is 1, and a and b are
left out.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from botorch.models.transforms.outcome import ChainedOutcomeTransform, Standardize
from gpytorch import Module
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from gpytorch.priors import LogNormalPrior, NormalPrior
from linear_operator.operators import DiagLinearOperator, LinearOperator
from torch import Tensor, nn

from surrogates.columns import Columns

SMALLEST_LENGTHSCALE = 2.5e-2
SMALLEST_NOISE = 1e-4
NUMERICAL_NOISE = 2e-6
SMALLEST_SCALE = 1e-3
SMALLEST_ERROR = 0.3
"""A prior that claims an error below this part of its usual one is believed no further."""
USUAL_BIAS = 0.15
"""What a prior may be off by, as a part of the spread of the values, and in its slope, before data say otherwise."""


class StandardizeByLevel(Standardize):  # type: ignore[misc]
    """Shifts and scales all values by the mean and the spread of those at level 0."""

    def forward(
        self, Y: Tensor, Yvar: Tensor | None = None, X: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        found: tuple[Tensor, Tensor | None]
        if not self.training or X is None:
            found = super().forward(Y, Yvar)
            return found
        super().forward(Y[X[:, -1] == 0])
        self.eval()
        found = super().forward(Y, Yvar)
        self.train()
        return found


class InputView(Module):  # type: ignore[misc]
    """Reads the prior's columns and the level from inputs [..., n, k], in the scale of the model."""

    def __init__(self, columns: Columns, chain: ChainedOutcomeTransform, inputs: Tensor) -> None:
        super().__init__()
        self.columns = columns
        self.log_offset = chain["log"].offset if "log" in chain else None
        self.register_buffer("shift", chain["standardize"].means.reshape(()).clone())
        self.register_buffer("scale", chain["standardize"].stdvs.reshape(()).clone())
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("usual", torch.ones(()))
        if columns.prior is not None:
            mean, std, known = self._prior(inputs)
            if known.any():
                self.center = mean[known].mean()
                self.usual = std[known].square().mean().sqrt().clamp_min(SMALLEST_SCALE)

    def _prior(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.columns.prior is not None
        mean, std = X[..., self.columns.prior], X[..., self.columns.prior + 1]
        known = std >= 0
        if self.log_offset is not None:
            shifted = (mean + self.log_offset).clamp_min(1e-3 * self.log_offset)
            mean, std = shifted.log(), std / shifted
        return (mean - self.shift) / self.scale, std / self.scale, known

    def descriptors(self, X: Tensor) -> Tensor:
        """[..., n, d], what the kernel compares."""
        return X[..., : self.columns.descriptors]

    def mean(self, X: Tensor) -> Tensor:
        """[..., n], the prior's mean less its average over the training rows; 0 where it has no answer."""
        mean, _, known = self._prior(X)
        return torch.where(known, mean - self.center, 0.0)

    def reach(self, X: Tensor) -> Tensor:
        """[..., n], the error to expect of the prior: 1, the spread of the values, where it has no answer."""
        if self.columns.prior is None:
            return torch.ones_like(X[..., 0])
        _, std, known = self._prior(X)
        return torch.where(known, (std.square() + (SMALLEST_ERROR * self.usual) ** 2).sqrt(), 1.0)

    def level(self, X: Tensor) -> Tensor:
        """[..., n], integers."""
        if self.columns.levels == 1:
            return torch.zeros_like(X[..., 0], dtype=torch.long)
        return X[..., -1].long()


class TransferMean(Mean):  # type: ignore[misc]
    """h(x), or without a prior one number, and beside it what every other fidelity is off by on the whole."""

    def __init__(self, view: InputView, inputs: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.view = view
        self.register_parameter("constant", nn.Parameter(view.center.clone()))
        self.constant.requires_grad_(view.columns.prior is None)
        if view.columns.levels > 1:
            level = view.level(inputs)
            left = targets - view.center - (0.0 if view.columns.prior is None else view.mean(inputs))
            start = [left[level == i].mean() for i in range(1, view.columns.levels)]
            self.register_parameter("shifts", nn.Parameter(torch.stack(start)))

    def forward(self, X: Tensor) -> Tensor:
        mean: Tensor = self.constant.expand(X.shape[:-1])
        if self.view.columns.prior is not None:
            mean = mean + self.view.mean(X)
        if self.view.columns.levels > 1:
            mean = mean + torch.cat([torch.zeros_like(self.shifts[:1]), self.shifts])[self.view.level(X)]
        return mean


class TransferKernel(Kernel):  # type: ignore[misc]
    """The covariance of a_l + b_l (h(x) - average) + r(x) (rho_l g(x) + d_l(x))."""

    has_lengthscale = False

    def __init__(self, view: InputView) -> None:
        super().__init__()
        self.view = view
        others = view.columns.levels - 1
        self.truth = matern(view.columns.descriptors)
        self.deviations = nn.ModuleList(matern(view.columns.descriptors) for _ in range(others))
        if others:
            self.register_parameter("shares", nn.Parameter(torch.ones(others)))
            self.register_prior("shares_prior", NormalPrior(1.0, 0.5), "shares")
        if view.columns.prior is not None:
            # A calibrated prior's errors are as large as it says, so the scale is known before any row is.
            limit = GreaterThan(SMALLEST_SCALE, transform=None, initial_value=1.0)
            self.truth.register_constraint("raw_outputscale", limit)
            self.truth.register_prior("scale_prior", LogNormalPrior(0.0, 0.4), "outputscale")
            self.register_parameter("biases", nn.Parameter(torch.full((view.columns.levels, 2), USUAL_BIAS)))
            self.register_constraint("biases", GreaterThan(SMALLEST_SCALE, transform=None))
            self.register_prior("biases_prior", LogNormalPrior(math.log(USUAL_BIAS), 1.0), "biases")

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        view = self.view
        levels = view.level(x1), view.level(x2)

        def both(first: Tensor, second: Tensor) -> Tensor:
            return first * second if diag else first[..., :, None] * second[..., None, :]

        def part(kernel: ScaleKernel) -> Tensor:
            found = kernel(view.descriptors(x1), view.descriptors(x2), diag=diag)
            dense: Tensor = found if diag else found.to_dense()
            return dense

        total = part(self.truth)
        same = torch.ones_like(total)
        if self.deviations:
            shares = torch.cat([torch.ones_like(self.shares[:1]), self.shares])
            total = both(shares[levels[0]], shares[levels[1]]) * total
            same = (
                levels[0] == levels[1] if diag else levels[0][..., :, None] == levels[1][..., None, :]
            ).to(total)
        for i, kernel in enumerate(self.deviations, 1):
            there = both((levels[0] == i).to(total), (levels[1] == i).to(total))
            if there.any():
                total = total + there * part(kernel)
        if view.columns.prior is None:
            return total
        total = both(view.reach(x1), view.reach(x2)) * total
        # Of each level its own: a prior made for one fidelity is off by little there, by much elsewhere.
        first, second = self.biases[levels[0]], self.biases[levels[1]]
        off = both(first[..., 0], second[..., 0])
        slope = both(first[..., 1] * view.mean(x1), second[..., 1] * view.mean(x2))
        return total + same * (off + slope)


class LevelNoise(FixedNoiseGaussianLikelihood):  # type: ignore[misc]
    """The reported variances of the training rows, and beside them an inferred one for each level, times r(x)^2.

    A head has seen descriptors like these, so what it got wrong is mostly what they do not tell: with a prior the noise
    is expected to be a large part of its error.
    """

    def __init__(self, view: InputView, reported: Tensor) -> None:
        super().__init__(noise=reported.clamp_min(NUMERICAL_NOISE))
        self.view = view
        usual = -4.0 if view.columns.prior is None else -1.0
        self.register_parameter("inferred", nn.Parameter(torch.full((view.columns.levels,), math.exp(usual))))
        self.register_constraint("inferred", GreaterThan(SMALLEST_NOISE, transform=None))
        self.register_prior("inferred_prior", LogNormalPrior(usual, 1.0), "inferred")

    def further(self, X: Tensor) -> Tensor:
        """[..., n], the inferred variance at inputs [..., n, k]."""
        found: Tensor = self.inferred[self.view.level(X)] * self.view.reach(X).square()
        return found

    def _shaped_noise_covar(self, base_shape: torch.Size, *params: Any, **kwargs: Any) -> LinearOperator:
        inputs = params[0][0] if isinstance(params[0], list | tuple) else params[0]
        return DiagLinearOperator(self.noise_covar.noise + self.further(inputs))


def matern(dimension: int) -> ScaleKernel:
    """The scaled isotropic Matern 5/2 kernel with a lengthscale prior that grows with the dimension.

    Source: Hvarfner, Hellsten, Nardi, ICML 2024, arXiv:2402.02229.
    """
    prior = LogNormalPrior(math.sqrt(2) + math.log(dimension) / 2, math.sqrt(3))
    limit = GreaterThan(SMALLEST_LENGTHSCALE, transform=None, initial_value=prior.mode)
    return ScaleKernel(MaternKernel(nu=2.5, lengthscale_prior=prior, lengthscale_constraint=limit))
