"""The transfer-learned energy model: from a first look at a relaxation to the energy it ends at.

The idea of ShotgunCSP (Chang et al., npj Comput. Mater. 10, 298 (2024)), to spare the relaxation of what is hopeless,
stood on a universal potential: only the descent that is left after the first steps has to be learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates.early_look import STEPS
from surrogates.heads.files import part_of, read_weights

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

    from surrogates.surroundings import Surroundings

Floats = npt.NDArray[np.float64]
FORMAT, PROPERTY = "matloop-energy-model-1", "energy_per_atom"
SMALLEST_DESCENT = 3e-3
"""eV/atom; added before the logarithm of what is left, of the size of a relaxation's own noise."""
SMALLEST_STEP = 1e-4  # eV/atom
HYPERPARAMETER_ROWS = 500
MOST_ROWS = 2500
HALVINGS = 50
Z_90 = 1.6449
SHIPPED = Path(__file__).parent / "heads" / "weights" / "energy_model.safetensors"


@dataclass(frozen=True)
class RelaxedEnergies:
    """What relaxations will end at, [n] each, eV/atom and uncorrected: median, 90 % interval, and the energy looked at.

    The descent that is left below `reached` is log-normal: `center` and `spread` are those of its logarithm.
    """

    reached: Floats
    center: Floats
    spread: Floats

    def quantile(self, probability: float) -> Floats:
        """[n]; the energy below which the relaxation ends with that probability."""
        from scipy.stats import norm

        left = np.exp(self.center + norm.ppf(1 - probability) * self.spread) - SMALLEST_DESCENT
        return np.asarray(self.reached - np.maximum(left, 0.0))

    @property
    def median(self) -> Floats:
        """[n]."""
        return self.quantile(0.5)

    @property
    def std(self) -> Floats:
        """[n]; that of the normal about the median whose 90 % interval holds 90 % of this distribution."""
        middle = self.reached - self.median
        low, high = np.zeros_like(middle), middle + np.exp(self.center + 4 * self.spread)
        for _ in range(HALVINGS):
            half = (low + high) / 2
            narrow = self._left_below(middle + half) - self._left_below(middle - half) < 0.9
            low, high = np.where(narrow, half, low), np.where(narrow, high, half)
        return np.where(np.isfinite(middle), high / Z_90, np.nan)

    def _left_below(self, left: Floats) -> Floats:
        """[n], the probability that the energy sinks by less than `left` [n] after the look."""
        from scipy.stats import norm

        logarithm = np.log(np.maximum(left, 0.0) + SMALLEST_DESCENT)
        return np.where(left < 0, 0.0, norm.cdf((logarithm - self.center) / self.spread))

    def chance_below(self, energies: Floats) -> Floats:
        """[n]: the probability to end at or below energies [n], eV/atom."""
        from scipy.stats import norm

        needed = np.maximum(self.reached - energies, 0.0) + SMALLEST_DESCENT
        chance = norm.sf((np.log(needed) - self.center) / self.spread)
        return np.where(self.reached <= energies, 1.0, chance)


@dataclass(frozen=True)
class EnergyModel:
    """A Gaussian process on the logarithm of the descent that is left, exact, its rows with it.

    rows: [n, k] inputs; left: [n], the logarithms; spread: widens intervals to the coverage found on held-out formulas.
    """

    rows: Floats
    left: Floats
    hyperparameters: Mapping[str, Floats]
    spread: float = 1.0

    @classmethod
    def fit(cls, looks: Floats, relaxed: Floats, seed: int) -> EnergyModel:
        """From looks [n, COLUMNS] and the relaxed energies [n], eV/atom."""
        from botorch.fit import fit_gpytorch_mll
        from gpytorch.mlls import ExactMarginalLogLikelihood

        from surrogates.exact_gp import reproducible

        order = np.random.default_rng(seed).permutation(len(looks))[:MOST_ROWS]
        rows, left = inputs(looks[order]), descent_left(looks[order], relaxed[order])
        with reproducible(seed):
            model = _gp(rows[:HYPERPARAMETER_ROWS], left[:HYPERPARAMETER_ROWS])
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
        return cls(rows, left, state)

    def refitted(self, looks: Floats, relaxed: Floats) -> EnergyModel:
        """With a campaign's own relaxations, oldest first, beside what it learned from before, which gives way to them.

        Hyperparameters and the width of the intervals stay.
        """
        rows, left = inputs(looks)[-MOST_ROWS:], descent_left(looks, relaxed)[-MOST_ROWS:]
        kept = MOST_ROWS - len(rows)
        return replace(
            self,
            rows=np.concatenate([rows, self.rows[:kept]]),
            left=np.concatenate([left, self.left[:kept]]),
        )

    def calibrated(self, looks: Floats, relaxed: Floats) -> EnergyModel:
        """With intervals that hold 90 % of these relaxations, of formulas it was not fitted on."""
        found = replace(self, spread=1.0).predict(looks)
        return replace(self, spread=width(descent_left(looks, relaxed), found.center, found.spread))

    def surprises(self, looks: Floats, relaxed: Floats) -> Floats:
        """[n], negative logarithms of the probability density given to what was left of these descents."""
        found = self.predict(looks)
        score = (descent_left(looks, relaxed) - found.center) / found.spread
        return np.asarray(0.5 * score**2 + np.log(found.spread) + 0.5 * math.log(2 * math.pi))

    def save(self, path: Path) -> None:
        """Writes one safetensors file."""
        from safetensors.numpy import save_file

        about = {"format": FORMAT, "property": PROPERTY}
        arrays = {"rows": self.rows, "left": self.left, "spread": np.array([self.spread])}
        arrays |= {f"hyperparameters.{name}": array for name, array in self.hyperparameters.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path, about)

    @classmethod
    def load(cls, path: Path) -> EnergyModel:
        """The inverse of `save`. Raises HeadError for a file that does not hold such a model."""
        _, arrays = read_weights(path, FORMAT, PROPERTY)
        hyperparameters = {k: v.astype(float) for k, v in part_of(arrays, "hyperparameters").items()}
        rows, left = arrays["rows"].astype(float), arrays["left"].astype(float)
        return cls(rows, left, hyperparameters, float(arrays["spread"][0]))

    def distances(self, looks: Floats) -> list[float | None]:
        """[n], how far looks lie from the rows: up to about 1 among them, above 3 far away; None where the look is NaN.

        Each input in units of its spread over the rows.
        """
        import torch

        center, scale, surroundings = self._surroundings
        return surroundings.distances(torch.from_numpy((inputs(looks) - center) / scale))

    @cached_property
    def _surroundings(self) -> tuple[Floats, Floats, Surroundings]:
        import torch

        from surrogates.surroundings import Surroundings

        center, scale = self.rows.mean(axis=0), self.rows.std(axis=0) + SMALLEST_STEP
        return center, scale, Surroundings.of(torch.from_numpy((self.rows - center) / scale))

    def predict(self, looks: Floats) -> RelaxedEnergies:
        """For looks [n, COLUMNS]; NaN where the look is."""
        import torch

        from surrogates.exact_gp import reproducible

        center, spread = np.full((2, len(looks)), np.nan)
        known = np.isfinite(looks).all(axis=1)
        if known.any():
            with reproducible(seed=0), torch.no_grad():
                found = self._model.posterior(torch.from_numpy(inputs(looks[known])), observation_noise=True)
                center[known] = found.mean[:, 0].numpy()
                spread[known] = found.variance[:, 0].sqrt().numpy() * self.spread
        return RelaxedEnergies(looks[:, STEPS], center, spread)

    @cached_property
    def _model(self) -> SingleTaskGP:
        import torch

        model = _gp(self.rows, self.left)
        model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.hyperparameters.items()})
        return model.eval()


def inputs(looks: Floats) -> Floats:
    """What the model sees of looks [n, COLUMNS]: logarithms of each step's and the whole descent, and of the size."""
    energies = looks[:, : STEPS + 1]
    steps = np.log10(np.maximum(energies[:, :-1] - energies[:, 1:], 0.0) + SMALLEST_STEP)
    whole = np.log10(np.maximum(energies[:, :1] - energies[:, -1:], 0.0) + SMALLEST_DESCENT)
    return np.concatenate([steps, whole, np.log10(looks[:, -1:])], axis=1)


def descent_left(looks: Floats, relaxed: Floats) -> Floats:
    """[n], the logarithm of how far (eV/atom) the energy sinks after the look."""
    return np.asarray(np.log(np.maximum(looks[:, STEPS] - relaxed, 0.0) + SMALLEST_DESCENT))


def width(left: Floats, center: Floats, spread: Floats) -> float:
    """The factor on spreads [n] with which 90 % intervals hold 90 % of the logarithms `left` [n]."""
    return float(np.quantile(np.abs(left - center) / spread, 0.9)) / Z_90


def _gp(rows: Floats, left: Floats) -> SingleTaskGP:
    import torch
    from botorch.models import SingleTaskGP
    from gpytorch.kernels import MaternKernel, ScaleKernel
    from gpytorch.priors import LogNormalPrior

    width = rows.shape[1]
    # The dimension-scaled prior of Hvarfner, Hellsten, Nardi (ICML 2024), one lengthscale for each input.
    prior = LogNormalPrior(math.sqrt(2) + math.log(width) / 2, math.sqrt(3))
    kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=width, lengthscale_prior=prior))
    return SingleTaskGP(
        torch.from_numpy(rows),
        torch.from_numpy(left)[:, None],
        covar_module=kernel,
        outcome_transform=None,  # hyperparameters must mean the same for other rows
    )
