"""Corrections that make energies of a potential trained on Materials Project data comparable between
compounds.

SevenNet-0 learned uncorrected PBE and PBE+U energies. The scheme of the Materials Project (Wang et al.,
Scientific Reports 2021, 11, 15496; mixing of GGA and GGA+U after Jain et al., Phys. Rev. B 2011, 84, 045115),
as pymatgen implements it, brings its formation energies of oxides, sulfides and halides from 0.6-0.8 eV per
anion to within 0.2.
"""

from __future__ import annotations

import math
import warnings
from enum import StrEnum
from functools import lru_cache
from typing import Any

import pymatgen.core as pmg


class CorrectionScheme(StrEnum):
    """Which corrections an energy carries. Part of its label: energies of different schemes are never mixed."""

    materials_project_2020 = "MaterialsProject2020"
    none = "none"


class UncorrectedEnergyError(ValueError):
    """An uncorrected energy where only corrected ones mean anything."""


def correction_per_atom(
    structure: pmg.Structure, scheme: CorrectionScheme | str = CorrectionScheme.materials_project_2020
) -> float:
    """What to add to the potential's energy of a structure, eV/atom.

    Anion corrections by the bonding found in the structure (oxide, peroxide, superoxide; sulfide), and +U
    mixing corrections where the Materials Project's input set uses +U: Co, Cr, Fe, Mn, Mo, Ni, V and W in
    compounds whose most electronegative element is O or F. It does not depend on the energy. Zero for
    elements and for the scheme `none`. Raises ValueError for a structure with partial occupancies.
    """
    if CorrectionScheme(scheme) is CorrectionScheme.none or len(structure.composition.elements) == 1:
        return 0.0
    if not structure.is_ordered:
        raise ValueError(
            f"{structure.formula}: partial occupancies cannot be corrected; order the structure first"
        )
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    compatibility = _materials_project_2020()
    hubbards = hubbard_parameters(structure.composition)
    entry = ComputedStructureEntry(
        structure,
        0.0,
        # Not a VASP calculation, so there are no pseudopotentials to check.
        parameters={
            "run_type": "GGA+U" if hubbards else "GGA",
            "hubbards": hubbards,
            "software": "neural-network potential",
        },
        data={"oxidation_states": dict(_oxidation_states(structure.composition.reduced_formula))},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adjustments = compatibility.get_adjustments(entry)
    return float(sum(adjustment.value for adjustment in adjustments)) / len(structure)


def corrected_energy_per_atom(
    structure: pmg.Structure,
    energy_per_atom: float,
    scheme: CorrectionScheme | str = CorrectionScheme.materials_project_2020,
) -> float:
    """The potential's energy of a structure (eV/atom) with the scheme's corrections added."""
    return energy_per_atom + correction_per_atom(structure, scheme)


def hubbard_parameters(composition: pmg.Composition) -> dict[str, float]:
    """U in eV by element, as the Materials Project's input set (MPRelaxSet) would use it; empty for plain GGA."""
    if len(composition.elements) == 1:
        return {}
    settings = _materials_project_2020().u_settings.get(most_electronegative(composition), {})
    symbols = sorted(element.symbol for element in composition.elements)
    return {symbol: float(settings[symbol]) for symbol in symbols if settings.get(symbol, 0)}


def most_electronegative(composition: pmg.Composition) -> str:
    """Symbol of the element with the highest Pauling electronegativity; noble gases without one come last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(
            max(composition.elements, key=lambda element: -1.0 if math.isnan(element.X) else element.X).symbol
        )


def require_corrected(scheme: CorrectionScheme | str, purpose: str) -> None:
    """Raises UncorrectedEnergyError where the scheme is `none` and the purpose compares different anions."""
    if CorrectionScheme(scheme) is CorrectionScheme.none:
        raise UncorrectedEnergyError(
            f"{purpose} needs corrected energies: uncorrected ones are off by 0.6 to 0.8 eV per anion; "
            f"use  correction: {CorrectionScheme.materials_project_2020}"
        )


@lru_cache(maxsize=1)
def _materials_project_2020() -> Any:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


@lru_cache(maxsize=65536)
def _oxidation_states(reduced_formula: str) -> tuple[tuple[str, float], ...]:
    """The likeliest oxidation states of a formula; empty where none balance or the formula is too long to
    try.

    They depend on the formula alone, so that a candidate and a reference phase of one formula, however large
    their cells, carry the same correction.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            guesses = pmg.Composition(reduced_formula).oxi_state_guesses(max_sites=-20)
        except ValueError:
            return ()
    return tuple((symbol, float(state)) for symbol, state in guesses[0].items()) if guesses else ()
