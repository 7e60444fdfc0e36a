"""The policy of kind `noisy_expected_improvement`: expected gain over a front that is itself uncertain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from acquisition.base import Acquisition, AcquisitionSettings, Option
from acquisition.greedy import best_of_predictions, most_promising
from acquisition.initial_design import cover, missing_models, open_the_campaign
from acquisition.pool import Picks, fill, fresh, selection
from materials.archive import Archive
from materials.base import Candidate, Selection
from surrogates.base import Surrogate

Floats = npt.NDArray[np.float64]

FAILURES = (RuntimeError, ValueError, ArithmeticError)
"""How numerics fail: Cholesky and NaN errors of gpytorch are RuntimeErrors, BoTorch's input checks ValueErrors."""


LARGEST_POOL = 3000
"""Joint draws cost the cube of their number; of a larger pool only the most promising are drawn."""


class NoisyExpectedImprovement(Acquisition):
    """qLogNEHVI for several objectives, qLogNEI for one, picked one after another from the pool.

    Sources: Daulton, Balandat, Bakshy, NeurIPS 2021 (noisy expected hypervolume improvement); Ament, Daulton,
    Eriksson, Balandat, Bakshy, NeurIPS 2023 (their logarithms). See docs/acquisition.md.
    """

    def __init__(self, per_formula: int | None) -> None:
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
        assert surrogate is not None, "the settings say needs_model"
        candidates = fresh(pool, archive)
        if not candidates:
            return []
        if missing_models(surrogate, archive):
            return open_the_campaign(candidates, surrogate, archive, q, options[0], rng, self._per_formula)
        seed = int(rng.integers(2**31))
        if len(candidates) > LARGEST_POOL:
            candidates = most_promising(candidates, surrogate, archive, LARGEST_POOL)
        inputs = surrogate.inputs(candidates).numpy()
        picks, values, reason = self._first_that_works(candidates, inputs, surrogate, archive, q, seed)
        predictions = surrogate.predict([candidates[i] for i in picks.chosen])
        rows = zip(picks.chosen, values, predictions, strict=True)
        return [selection(candidates[i], options[0], reason(v), v, p) for i, v, p in rows]

    def _first_that_works(
        self,
        candidates: Sequence[Candidate],
        inputs: Floats,
        surrogate: Surrogate,
        archive: Archive,
        q: int,
        seed: int,
    ) -> tuple[Picks, Sequence[float | None], Callable[[float | None], str]]:
        """Expected improvement on what is measured; without that, or should it fail, optimistic predictions; should
        they fail, a spread-out batch."""
        from surrogates.exact_gp import first_line, reproducible

        failed = "" if any(r.measurements for r in archive.evaluated) else "nothing is measured yet"
        if not failed:
            try:
                picks = Picks(candidates, inputs, self._per_formula)
                with reproducible(seed):
                    gains, name = _expected_gains(picks, candidates, surrogate, archive, q, seed)
                return picks, gains, lambda gain: f"{name} {gain:.3g}"
            except FAILURES as error:
                failed = f"expected improvement failed ({first_line(error)})"
        try:
            picks = Picks(candidates, inputs, self._per_formula)
            gains = best_of_predictions(picks, candidates, surrogate, archive, q, optimism=1.0)
            return picks, gains, lambda gain: f"best by predicted mean + 1 std: {failed}"
        except FAILURES as error:
            failed = f"{failed}, predictions failed ({first_line(error)})"
        picks = Picks(candidates, inputs, self._per_formula)
        cover(picks, inputs, inputs[:0], q)
        return picks, [None] * len(picks.chosen), lambda gain: f"spread over the pool: {failed}"


def _expected_gains(
    picks: Picks, candidates: Sequence[Candidate], surrogate: Surrogate, archive: Archive, q: int, seed: int
) -> tuple[list[float], str]:
    """Fills `picks`; returns the expected gains in the objectives' units, and what they are called."""
    from acquisition.log_improvement import LogImprovement

    improvement = LogImprovement(candidates, surrogate, archive, seed)
    log_gains = fill(picks, q, improvement.scores)
    return [float(np.exp(g)) * improvement.unit for g in log_gains], improvement.name


class NoisyExpectedImprovementSettings(AcquisitionSettings):
    """Picks by expected improvement of the objectives."""

    kind: Literal["noisy_expected_improvement"] = "noisy_expected_improvement"
    per_formula: PositiveInt | None = 2
    """Most candidates of one reduced formula in a batch; null for no limit."""

    def build(self) -> NoisyExpectedImprovement:
        return NoisyExpectedImprovement(self.per_formula)
