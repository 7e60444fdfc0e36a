"""One property's model: its training rows, what to do with bounds, and how it was fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from materials.base import Bound
from materials.properties import Property
from surrogates.base import FitReport
from surrogates.exact_gp import exact_gp, fit_first_that_holds, noisy_posterior
from surrogates.surroundings import Surroundings
from surrogates.training_rows import TrainingRows

HYPERPARAMETER_ROWS = 500
"""Hyperparameters are fitted on at most so many rows; predictions use all of them."""


CHUNK = 256


@dataclass(frozen=True)
class PropertyData:
    """What a property's model was fitted on: inputs [n, k], values [n], variances of measurement [n]."""

    property: str
    inputs: Tensor
    values: Tensor
    variances: Tensor
    log_offset: float | None

    def unfitted(self) -> SingleTaskGP:
        """The model before its hyperparameters are set."""
        return exact_gp(self.inputs, self.values, self.variances, self.log_offset)

    def part(self, chosen: Tensor) -> PropertyData:
        """The chosen rows (indices or a mask)."""
        rows = (self.inputs[chosen], self.values[chosen], self.variances[chosen])
        return PropertyData(self.property, *rows, self.log_offset)

    def joined(self, other: PropertyData) -> PropertyData:
        """Both sets of rows."""
        return PropertyData(
            self.property,
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.values, other.values]),
            torch.cat([self.variances, other.variances]),
            self.log_offset,
        )


@dataclass(frozen=True)
class FittedProperty:
    """A property's model with its rows and its report."""

    data: PropertyData
    model: SingleTaskGP
    report: FitReport

    @cached_property
    def surroundings(self) -> Surroundings:
        """Its training rows, to tell how far from them a candidate lies."""
        return Surroundings.of(self.data.inputs)

    def moments(self, inputs: Tensor) -> tuple[list[float], list[float]]:
        """Means and standard deviations of what would be measured at inputs [n, k], in the property's unit.

        The inferred noise is part of them: it is also what the descriptors do not tell about a material.
        """
        means: list[float] = []
        stds: list[float] = []
        # In chunks, because a posterior carries the covariance of all its points.
        for part in torch.split(inputs, CHUNK):
            with torch.no_grad():
                posterior = noisy_posterior(self.model, part)
            means += posterior.mean[:, 0].tolist()
            stds += posterior.variance[:, 0].clamp_min(0.0).sqrt().tolist()
        return means, stds


def fit_property(wanted: Property, rows: TrainingRows, inputs: Tensor, seed: int) -> FittedProperty | None:
    """The model of one property from its rows and their inputs [n, k]; None without two different values.

    A value known only as a limit is left out where the model of the exact values agrees with it. Where the
    model contradicts it, it becomes a value at the limit, as uncertain as the model was there.
    """
    notes: list[str] = []
    described = inputs.isfinite().all(dim=1).numpy()
    if not described.all():
        notes.append(f"{np.sum(~described)} rows left out: no descriptor for their material")
    data = _as_data(wanted, rows.where(described), inputs[torch.from_numpy(described)])
    bounds = np.array([m.bound for m in rows.where(described).measurements])
    exact = data.part(torch.from_numpy(bounds == Bound.EXACT))
    if len(set(exact.values.tolist())) < 2:
        return None
    model, how, failed = _fit(exact, seed)
    limits = _contradicting(model, data, bounds)
    if len(limits.values):
        exact = exact.joined(limits)
        model, how, failed = _fit(exact, seed)
    uninformative = len(bounds) - len(exact.values)
    if uninformative:
        notes.append(f"{uninformative} limits left out: the model agrees with them")
    name = f"exact GP, Matern 5/2, {exact.inputs.shape[1]} inputs, {how}"
    return FittedProperty(exact, model, FitReport(wanted.name, len(exact.values), name, (*failed, *notes)))


def _as_data(wanted: Property, rows: TrainingRows, inputs: Tensor) -> PropertyData:
    values = torch.from_numpy(rows.values)
    logged = wanted.transform == "log" and bool((values > -wanted.log_offset).all())
    offset = wanted.log_offset if logged else None
    return PropertyData(wanted.name, inputs, values, torch.from_numpy(rows.variances), offset)


def _fit(data: PropertyData, seed: int) -> tuple[SingleTaskGP, str, tuple[str, ...]]:
    if len(data.values) <= HYPERPARAMETER_ROWS:
        return fit_first_that_holds(data.unfitted)
    chosen = torch.randperm(len(data.values), generator=torch.Generator().manual_seed(seed))
    small, how, failed = fit_first_that_holds(data.part(chosen[:HYPERPARAMETER_ROWS]).unfitted)
    model = data.unfitted()
    model.mean_module.load_state_dict(small.mean_module.state_dict())
    model.covar_module.load_state_dict(small.covar_module.state_dict())
    model.likelihood.second_noise = small.likelihood.second_noise.detach()
    return model.eval(), f"{how} on {HYPERPARAMETER_ROWS} of them", failed


def _contradicting(model: SingleTaskGP, data: PropertyData, bounds: np.ndarray) -> PropertyData:
    """The limits that the model's mean breaks, with the model's variance there added to their own."""
    limits = data.part(torch.from_numpy(bounds != Bound.EXACT))
    if not len(limits.values):
        return limits
    upper = torch.from_numpy(bounds[bounds != Bound.EXACT] == Bound.UPPER)
    with torch.no_grad():
        posterior = model.posterior(limits.inputs)
    mean, variance = posterior.mean[:, 0], posterior.variance[:, 0]
    broken = torch.where(upper, mean > limits.values, mean < limits.values)
    widened = PropertyData(
        data.property, limits.inputs, limits.values, limits.variances + variance, data.log_offset
    )
    return widened.part(broken)
