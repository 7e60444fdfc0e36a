"""The policy of kind `greedy`: what the models think best, without curiosity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from acquisition.base import Acquisition, AcquisitionSettings, Option
from acquisition.pool import Mask, Picks, fill, fresh, selection
from materials.archive import Archive
from materials.base import Candidate, Selection
from surrogates.base import Surrogate

Floats = npt.NDArray[np.float64]


class Greedy(Acquisition):
    """Picks the largest hypervolume (one objective: the largest gain) of predicted means, one after another.

    The gain is multiplied by the chance that the constraints hold and that the line ends with values. Pending
    and picked candidates count as if their predictions were true.
    """

    def __init__(self, per_formula: int | None = None) -> None:
        self._per_formula = per_formula

    def select(
        self,
        pool: Sequence[Candidate],
        surrogate: Surrogate | None,
        archive: Archive,
        q: int,
        options: Sequence[Option],
        rng: np.random.Generator,
    ) -> list[Selection]:
        from acquisition.initial_design import missing_models, open_the_campaign

        assert surrogate is not None, "the settings say needs_model"
        candidates = fresh(pool, archive)
        if not candidates:
            return []
        if missing_models(surrogate, archive):
            return open_the_campaign(candidates, surrogate, archive, q, options[0], rng, self._per_formula)
        picks = Picks(candidates, surrogate.inputs(candidates).numpy(), self._per_formula)
        predictions = surrogate.predict(candidates)
        gains = best_of_predictions(picks, candidates, surrogate, archive, q)
        return [
            selection(candidates[i], options[0], "best by predicted mean", gain, predictions[i])
            for i, gain in zip(picks.chosen, gains, strict=True)
        ]


def best_of_predictions(
    picks: Picks,
    candidates: Sequence[Candidate],
    surrogate: Surrogate,
    archive: Archive,
    q: int,
    optimism: float = 0.0,
) -> list[float]:
    """Fills `picks` by gains of the predicted scores, `optimism` standard deviations above their mean.

    Returns the gains in the objectives' units (their product for several), 0 where only the order is known.
    """
    from acquisition.goal_scores import Goals, probability_kept

    goals = Goals.of(archive, surrogate, candidates)
    predictions = surrogate.predict(candidates)
    scores = goals.predicted_scores(predictions, optimism)
    chance = probability_kept(archive.constraints, predictions) * surrogate.feasibility(candidates)
    waiting = [record.candidate for record in archive.pending]
    expected = goals.predicted_scores(surrogate.predict(waiting), 0.0)
    # Where nothing improves the front, the mean score decides, scaled so that any gain comes first.
    order = scores.mean(axis=1)
    tie = 1e-9 * (order - order.min()) / (np.ptp(order) or 1.0)

    def score(chosen: Sequence[int], allowed: Mask) -> Floats:
        front = np.concatenate([goals.observed, expected, scores[list(chosen)]])
        return np.asarray((goals.gain(scores, front) + tie) * chance)

    return [max(0.0, gain - 1e-9) * goals.unit for gain in fill(picks, q, score)]


def most_promising(
    candidates: Sequence[Candidate], surrogate: Surrogate, archive: Archive, n: int
) -> list[Candidate]:
    """The n candidates with the best predicted mean score plus two standard deviations, chances included.

    They keep their order. Far quicker than expected improvement, and wide enough to hold its choice.
    """
    from acquisition.goal_scores import Goals, probability_kept

    predictions = surrogate.predict(candidates)
    goals = Goals.of(archive, surrogate, candidates)
    scores = goals.predicted_scores(predictions, optimism=2.0)
    chance = probability_kept(archive.constraints, predictions) * surrogate.feasibility(candidates)
    value = goals.gain(scores, goals.observed) * chance
    rank = np.lexsort((-scores.mean(axis=1), -value))
    return [candidates[i] for i in sorted(rank[:n])]


class GreedySettings(AcquisitionSettings):
    """Picks by predicted means."""

    kind: Literal["greedy"] = "greedy"
    per_formula: PositiveInt | None = None
    """Most candidates of one reduced formula in a batch; null for no limit."""

    def build(self) -> Greedy:
        return Greedy(self.per_formula)
