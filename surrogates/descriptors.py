"""What the models see of a material: one row of numbers, from a potential, from the chemical formula, or from both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from materials.base import Crystal, Material
from materials.settings import Settings
from surrogates.feature_cache import FeatureCache

__all__ = [
    "CompositionDescriptor",
    "Descriptor",
    "DescriptorSettings",
    "FeatureCache",
    "SevenNetDescriptor",
    "UnionDescriptor",
]

Floats32 = npt.NDArray[np.float32]
ATOMS_PER_GPU_BATCH = 4096


class Descriptor(ABC):
    """Turns materials into rows of numbers; runs in worker processes and keeps what it loaded."""

    @abstractmethod
    def why_not(self, material: Material) -> str | None:
        """Why this material cannot be described, in a sentence; None where it can."""

    @abstractmethod
    def describe(self, materials: Sequence[Material]) -> Floats32:
        """Descriptors [n, d] of n materials; a row of NaN where `why_not` gives a reason."""


class SevenNetDescriptor(Descriptor):
    """Mean and standard deviation over the atoms of SevenNet's scalar features: 1,280 numbers for 7net-0.

    Describes ordered crystals of the elements the potential was trained on.
    """

    def __init__(self, potential: str = "7net-0", sha256: str | None = None) -> None:
        from materials.potential import load_potential

        self._potential = load_potential(potential, sha256)

    def why_not(self, material: Material) -> str | None:
        if not isinstance(material, Crystal):
            return f"{material.formula} is a {material.kind} without a structure; use descriptor: composition"
        if not material.is_ordered:
            return (
                f"{material.formula} has partial occupancies; order it first or use descriptor: composition"
            )
        symbols = {element.symbol for element in material.structure.composition.elements}
        unknown = sorted(symbols - self._potential.elements)
        if unknown:
            return f"{material.formula}: {self._potential.name} does not know {', '.join(unknown)}"
        return None

    def describe(self, materials: Sequence[Material]) -> Floats32:
        return self.with_energies(materials)[0]

    def with_energies(self, materials: Sequence[Material]) -> tuple[Floats32, Floats32]:
        """Descriptors [n, d], and the potential's uncorrected energies [n] in eV/atom; NaN as in `describe`."""
        rows = np.full((len(materials), self._potential.number_of_features), np.nan, np.float32)
        energies = np.full(len(materials), np.nan, np.float32)
        described = [i for i, material in enumerate(materials) if self.why_not(material) is None]
        structures = [m.structure for i in described if isinstance(m := materials[i], Crystal)]
        if structures:
            # On a processor one structure at a time costs no more, and the last digits must not depend on which others
            # are described along with it.
            most = 1 if self._potential.device == "cpu" else ATOMS_PER_GPU_BATCH
            found = self._potential.evaluate(structures, features=True, max_atoms_per_batch=most)
            assert found.features is not None
            rows[described], energies[described] = found.features, found.energies_per_atom
        return rows, energies


class CompositionDescriptor(Descriptor):
    """Statistics of the elements' properties over the formula; for crystals also density and volume per atom.

    See `surrogates.element_statistics` for the columns.
    """

    def why_not(self, material: Material) -> str | None:
        from surrogates.element_statistics import unknown_symbols

        unknown = unknown_symbols(material)
        return f"{material.formula}: {', '.join(unknown)} is no element" if unknown else None

    def describe(self, materials: Sequence[Material]) -> Floats32:
        from surrogates.element_statistics import NUMBER_OF_COLUMNS, describe_material

        rows = np.full((len(materials), NUMBER_OF_COLUMNS), np.nan, np.float32)
        for i, material in enumerate(materials):
            if self.why_not(material) is None:
                rows[i] = describe_material(material)
        return rows


class UnionDescriptor(Descriptor):
    """SevenNet's features, its energy in eV/atom (uncorrected), and the composition statistics, side by side."""

    def __init__(self, potential: str = "7net-0", sha256: str | None = None) -> None:
        self._structure = SevenNetDescriptor(potential, sha256)
        self._composition = CompositionDescriptor()

    def why_not(self, material: Material) -> str | None:
        return self._structure.why_not(material) or self._composition.why_not(material)

    def describe(self, materials: Sequence[Material]) -> Floats32:
        features, energies = self._structure.with_energies(materials)
        statistics = self._composition.describe(materials)
        statistics[np.isnan(energies)] = np.nan
        return np.concatenate([features, energies[:, None], statistics], axis=1)


class DescriptorSettings(Settings):
    """Which descriptor; `sevennet` and `union` of which potential (a shipped name, or a file with its sha256)."""

    kind: Literal["sevennet", "composition", "union"] = "sevennet"
    potential: str = Field(default="7net-0", min_length=1)
    sha256: str | None = None

    @property
    def material_kinds(self) -> tuple[str, ...]:
        """The kinds of material it describes."""
        return ("crystal", "composition") if self.kind == "composition" else ("crystal",)

    @property
    def version(self) -> str:
        """Changes whenever the numbers would: the key of cached rows beside the material's hash."""
        from surrogates.element_statistics import VERSION

        if self.kind == "composition":
            return f"composition-{VERSION}"
        version = f"sevennet-1-{self.potential}-{self.sha256 or 'shipped'}"
        return version if self.kind == "sevennet" else f"{version}-composition-{VERSION}"

    def build(self) -> Descriptor:
        """The descriptor; loads the potential where it needs one."""
        if self.kind == "composition":
            return CompositionDescriptor()
        if self.kind == "union":
            return UnionDescriptor(self.potential, self.sha256)
        return SevenNetDescriptor(self.potential, self.sha256)
