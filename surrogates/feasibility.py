"""How likely a candidate's line of oracles ends with values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from surrogates.exact_gp import fit_first_that_holds, label_gp

Floats = npt.NDArray[np.float64]

DIRICHLET_EPSILON = 0.01
# A label's Dirichlet counts are (1 + epsilon, epsilon); as two log-normal classes with matched moments, the
# difference of their logarithms has this mean and variance.
_WIDE, _NARROW = math.log(1 / DIRICHLET_EPSILON + 1), math.log(1 / (1 + DIRICHLET_EPSILON) + 1)
LABEL = math.log((1 + DIRICHLET_EPSILON) / DIRICHLET_EPSILON) + (_WIDE - _NARROW) / 2
LABEL_VARIANCE = _WIDE + _NARROW


class Feasibility:
    """A Gaussian process on the log-odds of ending with values.

    Dirichlet-based regression for classification: Milios, Camoriano, Michiardi, Rosasco, Filippone,
    NeurIPS 2018; with two classes that share a kernel it is one regression on their difference. Far from all
    data it says what is usual. Before anything was in vain it is 1; without a model, Laplace's rule of succession.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, model: SingleTaskGP | None) -> None:
        self.inputs = inputs
        self.labels = labels
        self.model = model

    @classmethod
    def fit(cls, inputs: Tensor, succeeded: Sequence[bool]) -> Feasibility:
        """From inputs [n, k] and whether each line ended with values."""
        labels = torch.tensor([LABEL if s else -LABEL for s in succeeded], dtype=torch.float64)
        model = None
        if len(set(succeeded)) == 2 and inputs.shape[1]:
            model, _, _ = fit_first_that_holds(lambda: label_gp(inputs, labels, LABEL_VARIANCE))
        return cls(inputs, labels, model)

    @classmethod
    def restored(cls, inputs: Tensor, labels: Tensor, state: Mapping[str, Tensor]) -> Feasibility:
        """From what a fitted one was made of."""
        if not state:
            return cls(inputs, labels, None)
        model = label_gp(inputs, labels, LABEL_VARIANCE)
        model.load_state_dict(state)
        return cls(inputs, labels, model.eval())

    @classmethod
    def without_model(cls, succeeded: Sequence[bool]) -> Feasibility:
        """Where nothing can be told from the materials: all lines ended alike, or none is described."""
        return cls.fit(torch.zeros(len(succeeded), 0, dtype=torch.float64), succeeded)

    @property
    def usual(self) -> float:
        """The probability for a material of which nothing is known, where there is no model."""
        failures = int((self.labels < 0).sum())
        return (len(self.labels) - failures + 1) / (len(self.labels) + 2) if failures else 1.0

    def probability(self, inputs: Tensor) -> Floats:
        """[n] for inputs [n, k]."""
        if self.model is None:
            return np.full(len(inputs), self.usual)
        with torch.no_grad():
            posterior = self.model.posterior(inputs)
        mean, variance = posterior.mean[:, 0], posterior.variance[:, 0]
        # The logistic function averaged over a Gaussian (MacKay, Neural Comput. 4, 720 (1992)).
        return np.asarray(torch.sigmoid(mean / torch.sqrt(1 + math.pi / 8 * variance)).numpy())
