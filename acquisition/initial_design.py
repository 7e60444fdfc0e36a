"""Before there is a model to ask: a batch that stands for the pool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from acquisition.base import Option
from acquisition.pool import Mask, Picks, fill, selection
from materials.archive import Archive
from materials.base import Candidate, Selection
from surrogates.base import Surrogate

Floats = npt.NDArray[np.float64]


def cover(picks: Picks, inputs: Floats, known: Floats, q: int) -> None:
    """Adds candidates up to q picks that together stand for the pool: greedy k-medoids.

    inputs: [n, k], known: [m, k]. Each pick lowers the pool's summed distance to what is known or picked by as much as
    possible, so dense regions come first and outliers late: an outlier is the likeliest to fail and teaches least.
    Source: the facility-location greedy of Nemhauser, Wolsey, Fisher, Math. Program. 14, 265 (1978).
    """
    described = inputs[np.isfinite(inputs).all(axis=1)]
    apart = cdist(described, inputs)
    nearest = (
        cdist(described, known).min(axis=1)
        if len(known)
        else np.full(len(described), apart[np.isfinite(apart)].max())
    )

    def score(chosen: Sequence[int], allowed: Mask) -> Floats:
        left = np.minimum(nearest, apart[:, list(chosen)].min(axis=1)) if chosen else nearest
        return np.asarray(np.maximum(left[:, None] - apart, 0.0).sum(axis=0))

    fill(picks, q, score)


def missing_models(surrogate: Surrogate, archive: Archive) -> list[str]:
    """The objectives' properties that have no model yet."""
    return [o.property for o in archive.objectives if o.property not in surrogate.properties]


def open_the_campaign(
    candidates: Sequence[Candidate],
    surrogate: Surrogate,
    archive: Archive,
    q: int,
    option: Option,
    rng: np.random.Generator,
    per_formula: int | None = None,
) -> list[Selection]:
    """The batch to start with: it stands for the likelier half of the candidates.

    Likelier to end with values and to keep the constraints, as far as anything is known about that yet.
    """
    inputs = surrogate.inputs(candidates).numpy()
    if not np.isfinite(inputs).all(axis=1).any():
        return [
            selection(candidates[i], option, "initial design: drawn at random, none can be described")
            for i in rng.permutation(len(candidates))[:q]
        ]
    likely = _likelier_half(candidates, surrogate, archive, q)
    chosen = [candidates[i] for i in likely]
    known = surrogate.inputs([r.candidate for r in archive.values()]).numpy() if len(archive) else inputs[:0]
    picks = Picks(chosen, inputs[likely], per_formula)
    cover(picks, inputs[likely], known[np.isfinite(known).all(axis=1)], q)
    missing = ", ".join(missing_models(surrogate, archive))
    reason = f"initial design, standing for the pool: too little is measured of {missing} for a model"
    predictions = surrogate.predict([chosen[i] for i in picks.chosen])
    return [
        selection(chosen[i], option, reason, predictions=row)
        for i, row in zip(picks.chosen, predictions, strict=True)
    ]


def _likelier_half(
    candidates: Sequence[Candidate], surrogate: Surrogate, archive: Archive, q: int
) -> list[int]:
    chance = surrogate.feasibility(candidates)
    if surrogate.properties:
        from acquisition.goal_scores import probability_kept

        chance = chance * probability_kept(archive.constraints, surrogate.predict(candidates))
    if np.ptp(chance) == 0:
        return list(range(len(candidates)))
    kept = max(q, len(candidates) // 2)
    return sorted(np.argsort(-chance, kind="stable")[:kept].tolist())
