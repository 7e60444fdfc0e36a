"""One property's model: its training rows, what to do with bounds, and how it was fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from botorch.models import SingleTaskGP
from torch import Tensor

from materials.base import Bound
from materials.properties import Property
from surrogates.base import FitReport
from surrogates.columns import Columns
from surrogates.exact_gp import (
    as_sparse,
    fit_first_that_holds,
    log_evidence,
    noisy_posterior,
    property_gp,
    transferred,
)
from surrogates.surroundings import Surroundings
from surrogates.training_rows import TrainingRows

HYPERPARAMETER_ROWS = 500
"""Hyperparameters are fitted on at most so many rows; predictions use all of them."""
EXACT_ROWS = 4000
"""Beyond so many rows the model is a sparse one; see docs/surrogates.md for the measurement."""
INDUCING_ROWS = 1000
CHUNK = 256
FEWEST_AGAINST_PRIOR = 10
"""With fewer rows a prior is never left out: a handful of like values would make a model without one far too sure."""
STRONG_EVIDENCE = math.log(20.0)
"""A prior is left out where the values are likelier without it by more than this (nats): strong evidence on the scale
of Kass and Raftery, J. Am. Stat. Assoc. 90, 773 (1995). A few rows favour any model by less, by chance."""


@dataclass(frozen=True)
class PropertyData:
    """What a property's model was fitted on: inputs [n, k], values [n], variances of measurement [n]."""

    property: str
    inputs: Tensor
    values: Tensor
    variances: Tensor
    columns: Columns
    log_offset: float | None

    def unfitted(self) -> SingleTaskGP:
        """The model before its hyperparameters are set; beyond EXACT_ROWS a sparse one."""
        model = property_gp(self.inputs, self.values, self.variances, self.columns, self.log_offset)
        return as_sparse(model, self.inputs[:INDUCING_ROWS]) if len(self.values) > EXACT_ROWS else model

    def part(self, chosen: Tensor) -> PropertyData:
        """The chosen rows (indices or a mask)."""
        return self._with(self.inputs[chosen], self.values[chosen], self.variances[chosen])

    def without_prior(self) -> PropertyData:
        """The same rows for a model that reads no prior."""
        return replace(self, columns=replace(self.columns, prior=None))

    def joined(self, other: PropertyData) -> PropertyData:
        """Both sets of rows."""
        return self._with(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.values, other.values]),
            torch.cat([self.variances, other.variances]),
        )

    def _with(self, inputs: Tensor, values: Tensor, variances: Tensor) -> PropertyData:
        return replace(self, inputs=inputs, values=values, variances=variances)


@dataclass(frozen=True)
class FittedProperty:
    """A property's model with its rows and its report."""

    data: PropertyData
    model: SingleTaskGP
    report: FitReport

    @property
    def name(self) -> str:
        """The property's name."""
        return self.data.property

    @cached_property
    def surroundings(self) -> Surroundings:
        """Its training rows, to tell how far from them a candidate lies."""
        return Surroundings.of(self.data.inputs[:, : self.data.columns.descriptors])

    def distances(self, reduced: Tensor) -> list[float | None]:
        """[n], how far from its training rows reduced descriptors [n, d] lie; see `Surroundings`."""
        return self.surroundings.distances(reduced)

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


def fit_property(
    wanted: Property,
    rows: TrainingRows,
    inputs: Tensor,
    columns: Columns,
    named: str | None,
    seed: int,
) -> FittedProperty | None:
    """The model of one property from its rows and their inputs [n, k], whose last column is set here.

    named: the fidelity to predict, else the most trusted. None without two different values at it. A value known only
    as a limit is left out where the model of the exact values agrees with it. Where the model contradicts it, it
    becomes a value at the limit, as uncertain as the model was there.
    """
    notes: list[str] = []
    described = inputs.isfinite().all(dim=1).numpy()
    if not described.all():
        notes.append(f"{np.sum(~described)} rows left out: no descriptor for their material")
    rows, inputs = rows.where(described), inputs[torch.from_numpy(described)]
    levels = rows.levels(wanted, named)
    if not levels:
        return None
    learned = np.array([m.fidelity in levels for m in rows.measurements])
    if not learned.all():
        notes.append(f"{np.sum(~learned)} rows left out: too few at their fidelity")
    rows, inputs = rows.where(learned), inputs[torch.from_numpy(learned)]
    inputs[:, -1] = torch.tensor([levels.index(m.fidelity) for m in rows.measurements])
    data = _as_data(wanted, rows, inputs, replace(columns, levels=len(levels)))
    bounds = np.array([m.bound for m in rows.measurements])
    exact = data.part(torch.from_numpy(bounds == Bound.EXACT))
    enough = len(exact.values) >= FEWEST_AGAINST_PRIOR
    if exact.columns.prior is not None and enough and _is_better_without_prior(exact, seed):
        exact = exact.without_prior()
        notes.append("the prior left out: the values are much likelier without it")
    model, how, failed = _fit(exact, seed)
    limits = _contradicting(model, data, bounds)
    if len(limits.values):
        exact = exact.joined(limits)
        model, how, failed = _fit(exact, seed)
    uninformative = len(bounds) - len(exact.values)
    if uninformative:
        notes.append(f"{uninformative} limits left out: the model agrees with them")
    name = _description(exact, levels, how)
    return FittedProperty(exact, model, FitReport(wanted.name, len(exact.values), name, (*failed, *notes)))


def _description(data: PropertyData, levels: Sequence[str], how: str) -> str:
    kind = "exact" if len(data.values) <= EXACT_ROWS else f"sparse ({INDUCING_ROWS} inducing rows)"
    prior = ", on a prior" if data.columns.prior is not None else ""
    cheap = f", {levels[0]} informed by {', '.join(levels[1:])}" if len(levels) > 1 else ""
    return f"{kind} GP{prior}, Matern 5/2, {data.columns.descriptors} inputs{cheap}, {how}"


def _as_data(wanted: Property, rows: TrainingRows, inputs: Tensor, columns: Columns) -> PropertyData:
    values = torch.from_numpy(rows.values)
    logged = wanted.transform == "log" and bool((values > -wanted.log_offset).all())
    offset = wanted.log_offset if logged else None
    return PropertyData(wanted.name, inputs, values, torch.from_numpy(rows.variances), columns, offset)


def _is_better_without_prior(data: PropertyData, seed: int) -> bool:
    """Whether the values are much likelier, all parameters fitted, under a model that starts from nothing."""
    rows = (
        data if len(data.values) <= HYPERPARAMETER_ROWS else data.part(_some(data, HYPERPARAMETER_ROWS, seed))
    )
    without, with_it = (log_evidence(_fit(part, seed)[0]) for part in (rows.without_prior(), rows))
    return without > with_it + STRONG_EVIDENCE


def _fit(data: PropertyData, seed: int) -> tuple[SingleTaskGP, str, tuple[str, ...]]:
    """A fitted model, how its hyperparameters were fitted with what they became, and what failed before."""
    if len(data.values) <= HYPERPARAMETER_ROWS:
        model, how, failed = fit_first_that_holds(data.unfitted)
        return model, how + transferred(model), failed
    chosen = data.part(_some(data, HYPERPARAMETER_ROWS, seed))
    small, how, failed = fit_first_that_holds(chosen.unfitted)
    model = property_gp(data.inputs, data.values, data.variances, data.columns, data.log_offset)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if parameter.requires_grad:
                model.get_parameter(name).copy_(parameter)
    if len(data.values) > EXACT_ROWS:
        model = as_sparse(model, data.inputs[_some(data, INDUCING_ROWS, seed)])
    return model.eval(), f"{how} on {HYPERPARAMETER_ROWS} of them{transferred(small)}", failed


def _some(data: PropertyData, number: int, seed: int) -> Tensor:
    """So many indices: at least half of them, where there are as many, at the fidelity that counts."""
    order = torch.randperm(len(data.values), generator=torch.Generator().manual_seed(seed))
    counting = data.inputs[order, -1] == 0
    first = order[counting][: max(number // 2, number - int((~counting).sum()))]
    return torch.cat([first, order[~counting][: number - len(first)]])


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
    return replace(limits, variances=limits.variances + variance).part(broken)
