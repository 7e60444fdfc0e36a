"""From an unrelaxed crystal's single-point energy to the energy it relaxes to, before any step of the relaxation.

What is learned is how much of its height above the convex hull a crystal loses. Candidates start anywhere up to
several eV/atom above the hull and end near it, so the share says more than the descent (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from surrogates.element_statistics import NUMBER_OF_COLUMNS
from surrogates.heads.files import read_weights
from surrogates.reduction import Reduction

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

Floats = npt.NDArray[np.float64]
FORMAT, PROPERTY = "matloop-starting-energy-1", "energy_per_atom"
DEPTH = 0.1
"""eV/atom below the reference hull; what relaxes loses less than its height above that."""
SMALLEST_ROOM = 0.05  # eV/atom; a start below the hull has at least so much left to lose
SHARES = 1e-3, 0.999
"""Shares told apart; the rest is a relaxation's own noise."""
ENERGY = -NUMBER_OF_COLUMNS - 1
"""The column of a union descriptor that holds the single-point energy, eV/atom."""
HYPERPARAMETER_ROWS = 800
CHUNK = 256
Z_90 = 1.6449
HALVINGS = 40


@dataclass(frozen=True)
class Heights:
    """Where relaxations end above the hull, [n] each, eV/atom: start - share * room, the share logit-normal.

    center and spread are those of the share's logit; NaN where there is no answer.
    """

    start: Floats
    center: Floats
    spread: Floats

    def quantile(self, probability: float) -> Floats:
        """[n]; the height below which the relaxation ends with that probability."""
        from scipy.special import expit
        from scipy.stats import norm

        share = expit(self.center + norm.ppf(1 - probability) * self.spread)
        return np.asarray(self.start - share * room(self.start))

    @property
    def median(self) -> Floats:
        """[n]."""
        return self.quantile(0.5)

    @property
    def std(self) -> Floats:
        """[n]; that of the normal about the median whose 90 % interval holds 90 % of this distribution."""
        from scipy.special import expit, logit
        from scipy.stats import norm

        middle = expit(self.center)
        low, high = np.zeros_like(middle), np.ones_like(middle)
        for _ in range(HALVINGS):
            half = (low + high) / 2
            ends = (logit(np.clip(middle + sign * half, 0.0, 1.0)) for sign in (1, -1))
            above, below = (norm.cdf((end - self.center) / self.spread) for end in ends)
            narrow = above - below < 0.9
            low, high = np.where(narrow, half, low), np.where(narrow, high, half)
        return np.where(np.isfinite(middle), high * room(self.start) / Z_90, np.nan)


@dataclass(frozen=True)
class StartingEnergyModel:
    """An exact Gaussian process on the logit of the share of height that is lost, its rows with it.

    rows: [n, k] reduced descriptors and heights; logits: [n], standardised by mean and scale; descriptor: the version
    of the descriptors; widening: of the spread, for the coverage found on held-out formulas.
    """

    descriptor: str
    reduction: Reduction
    rows: Floats
    logits: Floats
    mean: float
    scale: float
    hyperparameters: Mapping[str, Floats]
    widening: float = 1.0

    @classmethod
    def fit(cls, descriptors: Floats, offsets: Floats, relaxed: Floats, descriptor: str, seed: int) -> Self:
        """From union descriptors [n, d], what lifts an energy to its height above the hull, and relaxed energies [n].

        Energies in eV/atom, uncorrected. descriptor: the version of the descriptors.
        """
        from botorch.fit import fit_gpytorch_mll
        from gpytorch.mlls import ExactMarginalLogLikelihood

        from surrogates.exact_gp import reproducible

        order = np.random.default_rng(seed).permutation(len(descriptors))
        descriptors, offsets, relaxed = descriptors[order], offsets[order], relaxed[order]
        start = descriptors[:, ENERGY] + offsets
        # As they are stored, so that the file gives exactly this model back.
        reduction = _rounded(Reduction.fit(descriptors))
        rows = _half(_inputs(reduction, descriptors, start))
        logits = lost(start, relaxed + offsets)
        mean, scale = float(logits.mean()), float(logits.std())
        standard = _half((logits - mean) / scale)
        with reproducible(seed):
            model = _gp(rows[:HYPERPARAMETER_ROWS], standard[:HYPERPARAMETER_ROWS])
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
        return cls(descriptor, reduction, rows, standard, mean, scale, state)

    def calibrated(self, descriptors: Floats, offsets: Floats, relaxed: Floats) -> Self:
        """With intervals that hold 90 % of these relaxations, of formulas it was not fitted on."""
        return self.widened_to(self.surprises(descriptors, offsets, relaxed))

    def surprises(self, descriptors: Floats, offsets: Floats, relaxed: Floats) -> Floats:
        """[n], how far the logits of relaxed energies [n] lie from what was expected, in spreads before widening."""
        found = self.predict(descriptors, offsets)
        off = np.abs(lost(found.start, relaxed + offsets) - found.center)
        return np.asarray(self.widening * off / found.spread)

    def widened_to(self, surprises: Floats) -> Self:
        """With intervals that hold 90 % of outcomes that surprise so much."""
        return replace(self, widening=float(np.quantile(surprises, 0.9)) / Z_90)

    def predict(self, descriptors: Floats, offsets: Floats) -> Heights:
        """For union descriptors [n, d] and what lifts an energy to its height above the hull [n]; NaN where one is."""
        import torch

        from surrogates.exact_gp import reproducible

        start = descriptors[:, ENERGY] + offsets
        center, spread = np.full((2, len(start)), np.nan)
        known = np.flatnonzero(np.isfinite(descriptors).all(axis=1) & np.isfinite(start))
        with reproducible(seed=0), torch.no_grad():
            for first in range(0, len(known), CHUNK):
                chosen = known[first : first + CHUNK]
                rows = _inputs(self.reduction, descriptors[chosen], start[chosen])
                found = self._model.posterior(torch.from_numpy(rows), observation_noise=True)
                center[chosen] = self.mean + self.scale * found.mean[:, 0].numpy()
                spread[chosen] = self.widening * self.scale * found.variance[:, 0].sqrt().numpy()
        return Heights(start, center, spread)

    @cached_property
    def _model(self) -> SingleTaskGP:
        import torch

        from surrogates.exact_gp import reproducible

        with reproducible(seed=0):
            model = _gp(self.rows, self.logits)
            model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.hyperparameters.items()})
            return model.eval()

    def save(self, path: Path) -> None:
        """Writes one safetensors file, in half precision where that is all the model knows."""
        from safetensors.numpy import save_file

        numbers = np.array([self.mean, self.scale, self.widening])
        arrays = {"numbers": numbers, "rows": self.rows.astype("f2"), "logits": self.logits.astype("f2")}
        arrays |= {f"hyperparameters.{name}": array for name, array in self.hyperparameters.items()}
        arrays |= {f"reduction.{name}": a.astype("f4") for name, a in self.reduction.arrays().items()}
        arrays["reduction.components"] = self.reduction.components.astype("f2")
        about = {"format": FORMAT, "property": PROPERTY, "descriptor": self.descriptor}
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`. Raises HeadError for a file that does not hold such a model."""
        about, stored = read_weights(path, FORMAT, PROPERTY)
        arrays = {name: array.astype(float) for name, array in stored.items()}
        mean, scale, widening = arrays["numbers"].tolist()

        def part(name: str) -> Mapping[str, Floats]:
            return {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}

        return cls(
            about["descriptor"],
            Reduction.from_arrays(part("reduction")),
            arrays["rows"],
            arrays["logits"],
            mean,
            scale,
            part("hyperparameters"),
            widening,
        )


def room(start: Floats) -> Floats:
    """[n], how far (eV/atom) what starts so high above the hull could sink."""
    return np.maximum(start + DEPTH, SMALLEST_ROOM)


def lost(start: Floats, end: Floats) -> Floats:
    """[n], the logit of the share of its room that was lost, from heights [n] at start and end."""
    from scipy.special import logit

    return np.asarray(logit(np.clip((start - end) / room(start), *SHARES)))


def _inputs(reduction: Reduction, descriptors: Floats, start: Floats) -> Floats:
    return np.column_stack([reduction.apply(descriptors), start, np.log(room(start))])


def _half(numbers: Floats) -> Floats:
    return numbers.astype(np.float16).astype(np.float64)


def _rounded(reduction: Reduction) -> Reduction:
    arrays = {name: array.astype(np.float32).astype(float) for name, array in reduction.arrays().items()}
    return Reduction.from_arrays({**arrays, "components": _half(reduction.components)})


def _gp(rows: Floats, logits: Floats) -> SingleTaskGP:
    import torch
    from botorch.models import SingleTaskGP

    from surrogates.transfer_gp import matern

    inputs, values = torch.from_numpy(rows), torch.from_numpy(logits)[:, None]
    # No transform of the values: hyperparameters must mean the same for other rows.
    return SingleTaskGP(inputs, values, covar_module=matern(rows.shape[1]), outcome_transform=None)
