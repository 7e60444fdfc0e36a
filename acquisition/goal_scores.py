"""A campaign's goals as a policy needs them: scores without units, constraints, a reference point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from scipy.stats import norm
from torch import Tensor

from materials.archive import Archive
from materials.base import Candidate, Prediction
from materials.goals import Constraint, Objective
from surrogates.base import Surrogate

Floats = npt.NDArray[np.float64]

MARGIN = 0.1
SMALLEST_SPREAD = 1e-9


@dataclass(frozen=True)
class Goals:
    """Objectives as scores: larger is better, 0 at the reference point, in units of the observed spread.

    columns: where each property stands among the surrogate's outputs. observed: [n, objectives], the scores on
    the Pareto front. reference and spread: [objectives], in the properties' units.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    columns: dict[str, int]
    reference: Floats
    spread: Floats
    observed: Floats
    constraint_scales: Floats

    @classmethod
    def of(cls, archive: Archive, surrogate: Surrogate, candidates: Sequence[Candidate]) -> Goals:
        """The goals of an archive whose objectives are all among the properties that the surrogate models.

        Where nothing is measured of an objective, what is predicted for the candidates says what is usual of it.
        Constraints on properties without a model cannot be weighed and are left out.
        """
        columns = {name: i for i, name in enumerate(surrogate.properties)}
        measured = [_measured(archive, o) for o in archive.objectives]
        if not all(map(len, measured)):
            predictions = surrogate.predict(candidates)
            expected = [_expected(predictions, o) for o in archive.objectives]
            measured = [m if len(m) else e for m, e in zip(measured, expected, strict=True)]
        front = [s for r in archive.pareto_front() if (s := archive.scores(r)) is not None]
        best = np.array(front, dtype=float).reshape(len(front), len(measured))
        reference = np.array([_reference(*columns) for columns in zip(best.T, measured, strict=True)])
        spread = np.array([_spread(column) for column in measured])
        constraints = tuple(c for c in archive.constraints if c.property in columns)
        scales = np.array([_spread(_values(archive, c.property)) for c in constraints])
        observed = (best - reference) / spread
        return cls(archive.objectives, constraints, columns, reference, spread, observed, scales)

    def scores(self, samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: N803
        """Scores [..., objectives] of sampled properties [..., properties]; BoTorch's objective callable."""
        columns = [self._score(o, samples[..., self.columns[o.property]]) for o in self.objectives]
        reference, spread = torch.from_numpy(self.reference), torch.from_numpy(self.spread)
        return (torch.stack(columns, dim=-1) - reference) / spread

    def first_score(self, samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: N803
        """The scores of the first objective, [...]."""
        return self.scores(samples)[..., 0]

    def violations(self) -> list[Callable[[Tensor], Tensor]]:
        """BoTorch's constraint callables: samples [..., properties] to values, at most 0 where kept."""
        sides: list[Callable[[Tensor], Tensor]] = []
        for c, scale in zip(self.constraints, self.constraint_scales, strict=True):
            for limit, sign in ((c.at_least, -1.0), (c.at_most, 1.0)):
                if np.isfinite(limit):
                    sides.append(_Side(self.columns[c.property], limit, sign / scale))
        return sides

    def predicted_scores(self, predictions: Sequence[Sequence[Prediction]], optimism: float) -> Floats:
        """[n, objectives], the scores of means moved by `optimism` standard deviations towards the goal."""
        columns = []
        for o in self.objectives:
            mean, std = _moments(predictions, o.property)
            shift = {"maximize": mean + optimism * std, "minimize": mean - optimism * std}
            if o.goal == "target":
                assert o.target is not None
                shift["target"] = mean + np.clip(o.target - mean, -optimism * std, optimism * std)
            columns.append([o.score(v) for v in shift[o.goal]])
        return np.asarray((np.array(columns).T.reshape(-1, len(columns)) - self.reference) / self.spread)

    def gain(self, scores: Floats, front: Floats) -> Floats:
        """[n], by how much each row of scores [n, objectives] alone would enlarge the hypervolume of `front`.

        For one objective the gain over the best; over the reference point where the front is empty.
        """
        if scores.shape[1] == 1:
            return np.asarray((scores[:, 0] - max(front[:, 0], default=0.0)).clip(min=0.0))
        cells = FastNondominatedPartitioning(torch.zeros(scores.shape[1]).double(), torch.from_numpy(front))
        lower, upper = (bounds.numpy() for bounds in cells.get_hypercell_bounds())
        sides = (np.minimum(scores[:, None, :], upper) - lower).clip(min=0.0)
        return np.asarray(sides.prod(axis=2).sum(axis=1))

    @property
    def unit(self) -> float:
        """What a gain of 1 is in the objectives' units: the product of their spreads."""
        return float(np.prod(self.spread))

    @staticmethod
    def _score(objective: Objective, values: Tensor) -> Tensor:
        """As `Objective.score`, on tensors."""
        if objective.goal == "maximize":
            return values
        if objective.goal == "minimize":
            return -values
        assert objective.target is not None
        return -((values - objective.target).abs() - (objective.tolerance or 0.0)).clamp_min(0.0)


@dataclass(frozen=True)
class _Side:
    """One side of a constraint in units of the property's spread, so that one smoothing suits all."""

    column: int
    limit: float
    factor: float

    def __call__(self, samples: Tensor) -> Tensor:
        return (samples[..., self.column] - self.limit) * self.factor


def probability_kept(
    constraints: Sequence[Constraint], predictions: Sequence[Sequence[Prediction]]
) -> Floats:
    """[n], the probability that every constraint holds, properties taken as independent.

    A constraint on a property that is not predicted is left out.
    """
    probability = np.ones(len(predictions))
    predicted = {p.property for p in predictions[0]} if len(predictions) else set()
    for c in constraints:
        if c.property in predicted:
            mean, std = _moments(predictions, c.property)
            std = np.maximum(std, SMALLEST_SPREAD)
            probability *= norm.cdf((c.at_most - mean) / std) - norm.cdf((c.at_least - mean) / std)
    return probability


def _reference(front: Floats, measured: Floats) -> float:
    """One coordinate of the reference point, from the scores on the front [f] and all measured ones [n].

    The worst of the front less a tenth of its range (Ishibuchi, Akedo, Nojima, GECCO 2011). A front of one
    point has no range; then, and while nothing is complete, the worst of all measured scores stands in.
    """
    column = (
        front if len(front) > 1 and np.ptp(front) > SMALLEST_SPREAD else np.concatenate([front, measured])
    )
    return float(column.min() - MARGIN * max(np.ptp(column), SMALLEST_SPREAD))


def _measured(archive: Archive, objective: Objective) -> Floats:
    values = [
        v for r in archive.values() if (v := r.value(objective.property, objective.fidelity)) is not None
    ]
    return np.array([objective.score(v) for v in values])


def _expected(predictions: Sequence[Sequence[Prediction]], objective: Objective) -> Floats:
    return np.array([objective.score(mean) for mean in _moments(predictions, objective.property)[0]])


def _values(archive: Archive, name: str) -> Floats:
    return np.array([v for r in archive.values() if (v := r.value(name)) is not None])


def _spread(values: Floats) -> float:
    spread = float(values.std()) if len(values) else 0.0
    return spread if spread > SMALLEST_SPREAD else 1.0


def _moments(predictions: Sequence[Sequence[Prediction]], name: str) -> tuple[Floats, Floats]:
    found = [next(p for p in row if p.property == name) for row in predictions]
    return np.array([p.mean for p in found]), np.array([p.std for p in found])
