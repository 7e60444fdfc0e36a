"""Draws that follow the loop's own scores: near those of a round's proposals that score highest, step by step."""

from __future__ import annotations

import numpy as np
import torch

from generators.base import Guide
from generators.latent.best import Draw
from generators.latent.model import Told, noised
from generators.latent.regions import START
from materials.base import Candidate

TOP = 8
"""How many of the proposals so far are started from."""


class Climb:
    """A round's proposals so far, scored once each."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide
        self._scored: list[tuple[float, Candidate]] = []
        self._new: list[Candidate] = []

    def __len__(self) -> int:
        return len(self._scored) + len(self._new)

    def add(self, candidate: Candidate) -> None:
        """One more proposal."""
        self._new.append(candidate)

    def draw(self, asked: torch.Tensor, generator: torch.Generator) -> Draw:
        """Points around the proposals that score highest, as many of each."""
        if self._new:
            scores = np.nan_to_num(self._guide(self._new), nan=-np.inf)
            self._scored += zip(scores.tolist(), self._new, strict=True)
            self._scored.sort(key=lambda one: -one[0])
            self._new = []
        centers = [self._scored[k % min(TOP, len(self._scored))] for k in range(len(asked))]
        points = torch.tensor([candidate.origin.latent for _, candidate in centers])
        level = torch.full((len(asked),), START)
        told = Told(
            noised(points, level, torch.randn(points.shape, generator=generator)),
            level,
            asked,
            torch.zeros(len(asked)),
        )
        notes = [f"climbed from a score of {score:.3g}" for score, _ in centers]
        return Draw(told, 1.0, [(candidate.id,) for _, candidate in centers], notes)
