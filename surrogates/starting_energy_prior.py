"""The energy above the hull and the formation energy of a crystal before it is relaxed, as a prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from materials.base import Crystal, Material
from materials.hull import ReferenceHull
from surrogates.prior import Prior
from surrogates.starting_energy import StartingEnergyModel

Floats = npt.NDArray[np.float64]
FORMULAS_KEPT = 4096
DECIMALS = 6
"""Told so far, because the last digits depend on which crystals are asked about together."""


class StartingEnergyPrior(Prior):
    """From the single-point energy in a union descriptor to what relaxation and hull will say, eV/atom.

    The distribution of the relaxed energy is skewed. Told is the normal about its median whose 90 % interval holds 90 %
    of it. Crystals whose hull is not known, and what is no ordered crystal, have no answer (NaN).
    """

    def __init__(self, hull: ReferenceHull, model: StartingEnergyModel) -> None:
        self._hull, self._model = hull, model
        self._levels = lru_cache(maxsize=FORMULAS_KEPT)(self._find_levels)
        self._told: dict[str, tuple[float, float, float]] = {}

    @property
    def properties(self) -> tuple[str, ...]:
        corrected = self._hull.source.correction != "none"
        return ("energy_above_hull", *(["formation_energy"] if corrected else []))

    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        crystals = {
            m.digest: (m, row)
            for m, row in zip(materials, descriptors, strict=True)
            if isinstance(m, Crystal) and m.digest not in self._told and np.isfinite(row).all()
        }
        if crystals:
            self._tell([m for m, _ in crystals.values()], np.array([row for _, row in crystals.values()]))
        nothing = (math.nan, math.nan, math.nan)
        found = np.array(
            [self._told.get(m.digest, nothing) if isinstance(m, Crystal) else nothing for m in materials]
        ).reshape(-1, 3)
        shift = found[:, 2] if name == "formation_energy" else 0.0
        return found[:, 0] + shift, found[:, 1]

    def _tell(self, crystals: Sequence[Crystal], descriptors: Floats) -> None:
        """Keeps of each crystal its height above the hull, the height's error, and the hull's formation energy."""
        levels = np.array([self._levels(crystal.formula) for crystal in crystals])
        corrections = [self._hull.correction_per_atom(crystal.structure) for crystal in crystals]
        found = self._model.predict(descriptors, levels[:, 0] + corrections)
        rows = zip(
            found.median.round(DECIMALS).tolist(),
            found.std.round(DECIMALS).tolist(),
            (levels[:, 1] - levels[:, 0]).tolist(),
            strict=True,
        )
        self._told |= {crystal.digest: row for crystal, row in zip(crystals, rows, strict=True)}

    def _find_levels(self, formula: str) -> tuple[float, float]:
        """The height above the hull and the formation energy of a corrected energy of 0; both are linear in it."""
        distance = self._hull.energy_above_hull(formula, 0.0)
        if not distance.known:
            return math.nan, math.nan
        corrected = "formation_energy" in self.properties
        return distance.value, self._hull.formation_energy(formula, 0.0) if corrected else math.nan
