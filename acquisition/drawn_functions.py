"""Joint draws of a surrogate's functions at a finite set of points, as a BoTorch model.

With a discrete pool every point an acquisition may ask about is known beforehand. So its functions are drawn
once, at all of them together, instead of once per candidate and step: the same Monte-Carlo estimate, with the
same random numbers for all candidates, at a small part of the cost.
"""

from __future__ import annotations

import warnings

import torch
from botorch.models.ensemble import EnsembleModel
from botorch.models.model import Model
from botorch.posteriors import Posterior
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.sampling.base import MCSampler
from botorch.sampling.get_sampler import get_sampler
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor


class DrawnFunctions(EnsembleModel):  # type: ignore[misc]
    """A BoTorch model whose inputs [..., n, 1] are row numbers of the points it was drawn at.

    draws: [s, points, m], the values of s jointly drawn functions, in the properties' units.
    """

    def __init__(self, draws: Tensor) -> None:
        super().__init__()
        self.draws = draws
        self._num_outputs = draws.shape[-1]

    @classmethod
    def of(cls, model: Model, inputs: Tensor, number: int, seed: int) -> DrawnFunctions:
        """`number` functions of `model`, drawn jointly at inputs [points, k]."""
        with torch.no_grad(), warnings.catch_warnings():
            # Points that nearly coincide need jitter on the diagonal; gpytorch says so each time.
            warnings.simplefilter("ignore", NumericalWarning)
            posterior = model.posterior(inputs)
            draws = get_sampler(posterior, torch.Size([number]), seed=seed)(posterior)
        if not draws.isfinite().all():
            raise ArithmeticError("functions drawn from the surrogate are not finite")
        return cls(draws)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        """Values [..., s, n, m] at row numbers X [..., n, 1].

        Where nothing measured is feasible, BoTorch looks for a bound in a box of rows that is wider than the points.
        """
        rows = X[..., 0].long().clamp(0, self.draws.shape[1] - 1)
        return self.draws[:, rows].movedim(0, -3)


class EveryDraw(MCSampler):  # type: ignore[misc]
    """The sampler of `DrawnFunctions`: each drawn function once, in order."""

    def __init__(self, number: int) -> None:
        super().__init__(torch.Size([number]))

    def forward(self, posterior: EnsemblePosterior) -> Tensor:
        values: Tensor = posterior.values
        return values.movedim(-3, 0)

    def _update_base_samples(self, posterior: Posterior, base_sampler: MCSampler) -> None:
        """Nothing to carry over: there are no base samples."""
