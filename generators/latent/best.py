"""The campaign's best crystals as points, and the draws that start from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from generators.latent.model import Told, noised
from generators.latent.regions import NEAR, START, between, radii
from generators.latent.symmetry import find_symmetry
from generators.latent.tokens import MOST_SITES, tokens_of
from generators.latent.weights import Model
from generators.latent.wyckoff import WyckoffCrystal
from materials.archive import Archive, Record
from materials.base import Crystal, Material
from materials.symmetry import NoSymmetryError

CENTERS = 10
"""How many of the best have a trust region."""


@dataclass(frozen=True)
class Draw:
    """What the decoder is told of B crystals, how strictly conditions are obeyed, and where each crystal comes from.

    wanted: scaled properties (P) by which the crystals are chosen, not a number where all will do.
    """

    told: Told
    guidance: float
    parents: list[tuple[str, ...]]
    notes: list[str]
    wanted: torch.Tensor = field(default_factory=lambda: torch.full((1,), torch.nan))


def held_as(material: Material) -> WyckoffCrystal | None:
    """A material as the model can hold it; None where it cannot."""
    if not isinstance(material, Crystal) or not material.is_ordered:
        return None
    try:
        crystal = find_symmetry(material.structure)
    except NoSymmetryError:
        return None
    return crystal if len(crystal.sites) <= MOST_SITES else None


@dataclass(frozen=True)
class Best:
    """The campaign's best crystals as points (B, latent), best first, and the radii (B) of their trust regions."""

    records: list[Record]
    points: torch.Tensor
    radii: torch.Tensor

    @classmethod
    def of(cls, archive: Archive, model: Model) -> Best:
        """Those that the model can hold."""
        found = [(r, c) for r in archive.incumbents(2 * CENTERS) if (c := held_as(r.material)) is not None]
        records, crystals = [r for r, _ in found[:CENTERS]], [c for _, c in found[:CENTERS]]
        if not records:
            return cls([], torch.zeros(0, model.autoencoder.shape.latent), torch.zeros(0))
        points = model.autoencoder.encode(tokens_of(crystals))
        return cls(records, points, torch.tensor(radii(archive, records)))

    def near(self, asked: torch.Tensor, rng: np.random.Generator, generator: torch.Generator) -> Draw:
        """Points in the trust regions; better centres are likelier, as 1 / (1 + rank)."""
        centers = self._picked(len(asked), rng)
        points, radii = self.points[centers], self.radii[centers]
        noise = torch.randn(points.shape, generator=generator)
        told = Told(noised(points, radii, noise), radii, asked, torch.zeros(len(asked)))
        notes = [f"{NEAR} {float(radius):.2f}" for radius in radii]
        return Draw(told, 1.0, [(self.records[k].id,) for k in centers], notes)

    def crossed(self, asked: torch.Tensor, rng: np.random.Generator, generator: torch.Generator) -> Draw:
        """Points between two of the best, with some noise."""
        number = len(asked)
        one = self._picked(number, rng)
        other = (one + torch.from_numpy(rng.integers(1, len(self.records), number))) % len(self.records)
        share = 0.25 + 0.5 * torch.rand(number, generator=generator)
        points = between(self.points[one], self.points[other], share)
        level = torch.full((number,), START)
        noise = torch.randn(points.shape, generator=generator)
        told = Told(noised(points, level, noise), level, asked, torch.zeros(number))
        parents: list[tuple[str, ...]] = [
            (self.records[a].id, self.records[b].id) for a, b in zip(one, other, strict=True)
        ]
        return Draw(told, 1.0, parents, [f"between {float(s):.2f}" for s in share])

    def _picked(self, number: int, rng: np.random.Generator) -> torch.Tensor:
        weights = 1.0 / (1.0 + np.arange(len(self.records)))
        return torch.from_numpy(rng.choice(len(self.records), number, p=weights / weights.sum()))
