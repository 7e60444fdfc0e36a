"""The contract of an acquisition: from a pool, pick a batch, each with the reason it was picked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from materials.archive import Archive
from materials.base import Candidate, Selection
from materials.settings import Settings
from surrogates.base import Surrogate


@dataclass(frozen=True)
class Option:
    """A way to measure: the first oracle of the line, the fidelity it ends at, its expected seconds."""

    oracle: str
    fidelity: str
    cost: float


class Acquisition(ABC):
    """A policy. Objectives and constraints are read off the archive; pending records always count."""

    @abstractmethod
    def select(
        self,
        pool: Sequence[Candidate],
        surrogate: Surrogate | None,
        archive: Archive,
        q: int,
        options: Sequence[Option],
        rng: np.random.Generator,
    ) -> list[Selection]:
        """Up to q different candidates of the pool, best first. Same input and rng state, same batch.

        `surrogate` is None only for a policy whose settings say `needs_model = False`.
        """


class AcquisitionSettings(Settings):
    """The block `acquisition:` of a campaign file."""

    kind: str
    needs_model: ClassVar[bool] = True
    """Whether the surrogate has to be fitted and the pool described before `select`."""

    def build(self) -> Acquisition:
        """The policy, its heavy libraries imported here."""
        raise NotImplementedError
