"""The head for formation energies: a correction to what the potential says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pymatgen.core import Composition, Element
from torch import Tensor

from materials.base import Crystal, Material
from surrogates.element_statistics import NUMBER_OF_COLUMNS
from surrogates.heads.network_head import NetworkHead, laplace_loss

Floats = npt.NDArray[np.float64]
ENERGY_COLUMN = -1 - NUMBER_OF_COLUMNS
"""Of the union descriptor: SevenNet's energy, before the composition statistics."""
ELEMENTS = 103
RIDGE = 1e-4


class FormationEnergyHead(NetworkHead):
    """Formation energies in eV/atom, with the Materials Project's corrections.

    The potential's energy less that of its elements, whose energies are a ridge regression on the training data; the
    ensemble learns what is left. On the formula alone it learns the whole.
    """

    property: ClassVar[str] = "formation_energy"
    fidelity: ClassVar[str] = "PBE"

    @staticmethod
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return laplace_loss(outputs[:, 0], outputs[:, 1], labels[:, 0]).mean()

    @classmethod
    def own_arrays(
        cls, materials: Sequence[Material], descriptors: Floats, values: Floats
    ) -> Mapping[str, Floats]:
        if descriptors.shape[1] == NUMBER_OF_COLUMNS:
            return {}
        fractions = element_fractions(materials)
        target = descriptors[:, ENERGY_COLUMN] - values
        gram = fractions.T @ fractions + RIDGE * np.eye(ELEMENTS)
        return {"element_energies": np.asarray(np.linalg.solve(gram, fractions.T @ target), dtype=float)}

    def base(self, materials: Sequence[Material], descriptors: Floats) -> Floats:
        if not self.own:
            return np.zeros(len(materials))
        elements = element_fractions(materials) @ self.own["element_energies"]
        return np.asarray(descriptors[:, ENERGY_COLUMN] - elements)


def element_fractions(materials: Sequence[Material]) -> Floats:
    """[n, ELEMENTS], atomic fractions by atomic number."""
    fractions = np.zeros((len(materials), ELEMENTS))
    for row, material in zip(fractions, materials, strict=True):
        whole = (
            material.structure.composition if isinstance(material, Crystal) else Composition(material.formula)
        )
        for symbol, amount in whole.get_el_amt_dict().items():
            row[Element(symbol).Z - 1] = amount / whole.num_atoms
    return fractions
