"""The policy of kind `random`: the baseline every other one has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from acquisition.base import Acquisition, AcquisitionSettings, Option
from acquisition.pool import fresh, selection
from materials.archive import Archive
from materials.base import Candidate, Selection
from surrogates.base import Surrogate


class RandomChoice(Acquisition):
    """Picks from the pool with equal chances, without repetition; looks at no model."""

    def select(
        self,
        pool: Sequence[Candidate],
        surrogate: Surrogate | None,
        archive: Archive,
        q: int,
        options: Sequence[Option],
        rng: np.random.Generator,
    ) -> list[Selection]:
        candidates = fresh(pool, archive)
        order = rng.permutation(len(candidates))[:q]
        reason = f"drawn at random from {len(candidates)} candidates"
        return [selection(candidates[i], options[0], reason) for i in order]


class RandomChoiceSettings(AcquisitionSettings):
    """Picks at random."""

    kind: Literal["random"] = "random"
    needs_model: ClassVar[bool] = False

    def build(self) -> RandomChoice:
        return RandomChoice()
