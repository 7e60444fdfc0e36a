"""The candidates a policy may pick from, and the batch it makes of its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from acquisition.base import Option
from materials.archive import Archive
from materials.base import Candidate, Prediction, Selection
from materials.properties import property_named

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Score = Callable[[Sequence[int], Mask], Floats]
"""Given the picks so far and who may still be picked, a score for each candidate [n]."""


def fresh(pool: Sequence[Candidate], archive: Archive) -> list[Candidate]:
    """The candidates of the pool that are not in the archive (measured, failed or pending), each once."""
    return list({c.id: c for c in pool if c.id not in archive}.values())


class Picks:
    """A batch in the making: who may still be picked.

    Nobody is picked whose inputs equal those of one already picked. `per_formula` limits how many of a batch
    share a reduced formula; it gives way where nothing else is left to pick.
    """

    def __init__(
        self, candidates: Sequence[Candidate], inputs: Floats, per_formula: int | None = None
    ) -> None:
        self.chosen: list[int] = []
        self._formulas = [c.formula for c in candidates] if per_formula is not None else []
        self._per_formula = per_formula
        self._inputs = inputs
        self._open: Mask = np.asarray(np.isfinite(inputs).all(axis=1))

    @property
    def allowed(self) -> Mask:
        """[n], whom the next pick may be; all False when the batch cannot grow."""
        if self._per_formula is None:
            return self._open
        count = Counter(self._formulas[i] for i in self.chosen)
        full = np.array([count[formula] >= self._per_formula for formula in self._formulas], dtype=bool)
        others: Mask = self._open & ~full
        return others if others.any() else self._open

    def add(self, index: int) -> None:
        """Picks candidate `index`."""
        self.chosen.append(index)
        twins = (self._inputs == self._inputs[index]).all(axis=1)
        self._open = self._open & ~twins


def fill(picks: Picks, q: int, score: Score) -> list[float]:
    """Picks up to q by the largest score, asked anew after every pick; returns the winning scores.

    NaN never wins. Raises ArithmeticError where no allowed score is a number.
    """
    winning: list[float] = []
    while len(picks.chosen) < q and (allowed := picks.allowed).any():
        scores = np.where(allowed, score(picks.chosen, allowed), np.nan)
        if np.isnan(scores).all():
            raise ArithmeticError("no candidate has a score that is a number")
        best = int(np.nanargmax(scores))
        picks.add(best)
        winning.append(float(scores[best]))
    return winning


def selection(
    candidate: Candidate,
    option: Option,
    reason: str,
    value: float | None = None,
    predictions: Sequence[Prediction] = (),
) -> Selection:
    """The selection of one candidate, its reason followed by what is expected of it."""
    expected = [_expected(p) for p in predictions]
    text = "; ".join([reason, *expected])
    return Selection(candidate, option.oracle, text, value, option.cost, tuple(predictions))


def _expected(prediction: Prediction) -> str:
    unit = property_named(prediction.property).unit
    return f"{prediction.property} {prediction.mean:.3g} ± {prediction.std:.2g} {unit}".rstrip()
