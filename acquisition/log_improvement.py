"""The logarithm of expected improvement over a discrete pool, as BoTorch computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei as multi_objective
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from acquisition.drawn_functions import DrawnFunctions, EveryDraw
from acquisition.goal_scores import Goals
from acquisition.pool import Mask
from materials.archive import Archive, Record
from materials.base import Candidate
from materials.ranking import rank_records
from surrogates.base import Surrogate

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

DRAWS = 128
MOST_MEASURED = 500
"""Joint draws cost the cube of their number, and what is measured far behind the front changes no gain."""
CHUNK = 128
"""Candidates evaluated at once: bounds memory, changes no result."""
SHORTLIST = 200
"""After the first pick only so many are evaluated again: those that gained most before.

A gain only shrinks while the batch grows (expected hypervolume is submodular), so the others stay behind.
"""

# BoTorch 0.18 compiles a C++ kernel on first use. A driver killed meanwhile would leave a lock that stops
# the next one for ever, and results would depend on whether there is a compiler; so it stays off.
multi_objective._load_attempted = True


class LogImprovement:
    """Log expected gains of a pool's candidates over what is measured, pending and already picked.

    Gains are in score units (see `Goals`); times `unit` they are in the objectives' units.
    """

    def __init__(
        self, candidates: Sequence[Candidate], surrogate: Surrogate, archive: Archive, seed: int
    ) -> None:
        self._seed = seed
        self._goals = Goals.of(archive, surrogate, candidates)
        measured = _finite(surrogate.inputs([r.candidate for r in _baseline(archive)]))
        pending = _finite(surrogate.inputs([r.candidate for r in archive.pending]))
        inputs = surrogate.inputs(candidates)
        self._described = inputs.isfinite().all(dim=1).numpy()
        points = torch.cat([measured, pending, inputs.nan_to_num(nan=0.0)])
        self._functions = DrawnFunctions.of(surrogate.model, points, DRAWS, seed)
        self._pending = torch.arange(len(measured), len(measured) + len(pending))
        self._offset = len(measured) + len(pending)
        self._measured = self._ever_best(len(measured))
        self._log_chance = np.log(np.maximum(surrogate.feasibility(candidates), 1e-300))
        self._first: Floats | None = None
        self.unit = self._goals.unit
        several = len(self._goals.objectives) > 1
        self.name = "expected hypervolume improvement" if several else "expected improvement"

    def scores(self, chosen: Sequence[int], allowed: Mask) -> Floats:
        """[n], the log gain given the chosen ones, chance of values included; NaN for those left behind."""
        shortlist = self._shortlist(allowed & self._described)
        picked = torch.tensor(chosen, dtype=torch.long) + self._offset
        function = self._function(torch.cat([self._pending, picked]))
        rows = torch.from_numpy(shortlist) + self._offset
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(self._seed)  # BoTorch draws the rows of that bound from the global generator
            gains = torch.cat([function(_points(part)[:, None]) for part in torch.split(rows, CHUNK)])
        scores = np.full(len(self._described), np.nan)
        scores[shortlist] = gains.numpy()
        scores += self._log_chance
        if self._first is None:
            self._first = scores
        return scores

    def _shortlist(self, allowed: Mask) -> Indices:
        indices = np.flatnonzero(allowed)
        if self._first is None:
            return indices
        before = np.nan_to_num(self._first[indices], nan=-np.inf)
        return np.sort(indices[np.argsort(-before, kind="stable")[:SHORTLIST]])

    def _function(self, pending: Tensor) -> AcquisitionFunction:
        goals = self._goals
        options = {
            "model": self._functions,
            "X_baseline": _points(self._measured),
            "sampler": EveryDraw(DRAWS),
            "constraints": goals.violations() or None,
            "X_pending": _points(pending) if len(pending) else None,
            "prune_baseline": False,
            "cache_root": False,
        }
        if len(goals.objectives) == 1:
            return qLogNoisyExpectedImprovement(objective=GenericMCObjective(goals.first_score), **options)
        return multi_objective.qLogNoisyExpectedHypervolumeImprovement(
            ref_point=[0.0] * len(goals.objectives),
            objective=GenericMCMultiOutputObjective(goals.scores),
            **options,
        )

    def _ever_best(self, measured: int) -> Tensor:
        """The measured rows that are on the front of at least one draw: no others can change a gain."""
        draws = self._functions.draws[:, :measured]
        scores = self._goals.scores(draws)
        for violation in self._goals.violations():
            scores = scores.where((violation(draws) <= 0)[..., None], -torch.inf)
        best = is_non_dominated(scores) & scores.isfinite().all(dim=-1)
        rows = best.any(dim=0).nonzero()[:, 0]
        return rows if len(rows) else torch.arange(measured)


def _baseline(archive: Archive) -> list[Record]:
    """The records whose objectives are known and that no gate stopped; else all with any measurement.

    Of more than MOST_MEASURED the best ranked.
    """
    full = [r for r in archive.evaluated if not r.stopped_by and archive.scores(r) is not None]
    telling = full or [r for r in archive.evaluated if r.measurements]
    if len(telling) <= MOST_MEASURED:
        return telling
    place = {record.id: i for i, record in enumerate(rank_records(archive))}
    return sorted(telling, key=lambda r: place.get(r.id, len(place)))[:MOST_MEASURED]


def _finite(inputs: Tensor) -> Tensor:
    return inputs[inputs.isfinite().all(dim=1)]


def _points(rows: Tensor) -> Tensor:
    """Row numbers as inputs of `DrawnFunctions`."""
    return rows[:, None].double()
