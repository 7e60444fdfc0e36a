"""The composition descriptor: statistics of elemental properties over a formula.

After Ward, Agrawal, Choudhary, Wolverton, npj Comput. Mater. 2, 16028 (2016), with the elemental properties
that pymatgen holds. No structure is needed; a crystal adds its density and volume per atom.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

from materials.base import Crystal, Material

VERSION = "1"
"""Raised whenever a column changes its meaning."""

LAST_ELEMENT = 103
"""Beyond lawrencium the tables are empty."""

ELEMENT_PROPERTIES = (
    "Z",
    "X",
    "atomic_mass",
    "atomic_radius",
    "van_der_waals_radius",
    "average_ionic_radius",
    "row",
    "group",
    "mendeleev_no",
    "electron_affinity",
    "ionization_energy",
    "max_oxidation_state",
    "min_oxidation_state",
    "melting_point",
    "molar_volume",
)
ORBITALS = "spdf"
STATISTICS = ("mean", "std", "min", "max", "range")
OF_THE_WHOLE = ("number of elements", "largest fraction", "volume per atom (A^3)", "density (g/cm^3)")
NUMBER_OF_COLUMNS = (len(ELEMENT_PROPERTIES) + len(ORBITALS)) * len(STATISTICS) + len(OF_THE_WHOLE)

Floats = npt.NDArray[np.float64]


def describe_material(material: Material) -> Floats:
    """[NUMBER_OF_COLUMNS]: per elemental property mean, std, min, max and range, weighted by atomic fraction.

    Then OF_THE_WHOLE; volume and density are 0 where there is no structure. Partial occupancies count as
    fractions. Always finite for materials made of elements.
    """
    amounts = _amounts(material)
    symbols = sorted(amounts)
    fractions = np.array([amounts[s] for s in symbols]) / sum(amounts.values())
    table = _table()
    values = np.array([table[symbol] for symbol in symbols])
    mean = fractions @ values
    std = np.sqrt(fractions @ (values - mean) ** 2)
    low, high = values.min(axis=0), values.max(axis=0)
    statistics = np.stack([mean, std, low, high, high - low], axis=1).ravel()
    volume, density = 0.0, 0.0
    if isinstance(material, Crystal):
        volume = material.structure.volume / material.structure.composition.num_atoms
        density = float(material.structure.density)
    return np.concatenate([statistics, [len(symbols), fractions.max(), volume, density]])


def unknown_symbols(material: Material) -> list[str]:
    """Species of the material that are no elements (placeholders such as X or Vac)."""
    return sorted(set(_amounts(material)) - set(_table()))


def _amounts(material: Material) -> dict[str, float]:
    if isinstance(material, Crystal):
        composition = material.structure.composition
    else:
        composition = pmg.Composition(material.formula, strict=False)
    return {str(symbol): float(n) for symbol, n in composition.get_el_amt_dict().items() if n > 0}


@lru_cache(maxsize=1)
def _table() -> dict[str, Floats]:
    """Elemental properties and valence electrons; what is not known is the median over all elements."""
    elements = [element for element in pmg.Element if element.Z <= LAST_ELEMENT]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [[_number(e, name) for name in ELEMENT_PROPERTIES] + _valence(e) for e in elements]
    values = np.array(rows)
    values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    table = {element.symbol: row for element, row in zip(elements, values, strict=True)}
    # Heavy hydrogen is chemically hydrogen.
    return table | {"D": table["H"], "T": table["H"]}


def _number(element: pmg.Element, name: str) -> float:
    try:
        return float(getattr(element, name))
    except (KeyError, TypeError, AttributeError):  # how pymatgen says that a value is not known
        return np.nan


def _valence(element: pmg.Element) -> list[float]:
    """Electrons outside the noble-gas core by orbital kind, from a configuration such as [Ar].3d6.4s2."""
    _, _, outside = element.electronic_structure.rpartition("]")
    count = dict.fromkeys(ORBITALS, 0.0)
    for orbital, electrons in re.findall(r"\d([spdf])(\d+)", outside):
        count[orbital] += float(electrons)
    return list(count.values())
