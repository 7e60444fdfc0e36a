"""Pseudopotential files in the Unified Pseudopotential Format (UPF) of Quantum ESPRESSO: what they ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from materials.evaluation import FailureKind
from oracles.one_by_one import FailedError

if TYPE_CHECKING:
    from ase import Atoms

NUMBER = r"\s*[\"']?\s*([\d.]+(?:[EeDd][+-]?\d+)?)"
PBE = ("PBE", "SLA PW PBX PBC", "SLA PW PBE PBE")


def check_pseudopotentials(atoms: Atoms, place: Path, named: Mapping[str, str]) -> None:
    """Raises FailedError of kind missing_data for an element without a pseudopotential made for PBE."""
    for element in sorted(set(atoms.get_chemical_symbols())):
        if element not in named:
            what, remedy = (
                "for it is named",
                f"name its file under arguments: pseudopotentials: {{{element}: FILE}}",
            )
        elif not (place / named[element]).is_file():
            what, remedy = f"{named[element]} is in {place}", "put it there, or name another pseudo_dir"
        elif (made_for := functional_of((place / named[element]).read_text(errors="replace"))) not in (
            None,
            *PBE,
        ):
            what, remedy = (
                f"for PBE: {named[element]} is made for {made_for}",
                "take one that is made for PBE",
            )
        else:
            continue
        raise FailedError(FailureKind.MISSING_DATA, f"{element}: no pseudopotential {what}; {remedy}")


def suggested_cutoffs(atoms: Atoms, place: Path, named: Mapping[str, str]) -> tuple[float, float]:
    """The largest cutoffs of wave functions and density (Ry) that the files of the atoms' elements suggest.

    Raises FailedError of kind missing_data where a file suggests none for the wave functions.
    """
    check_pseudopotentials(atoms, place, named)
    waves, densities = [], []
    for element in sorted(set(atoms.get_chemical_symbols())):
        text = (place / named[element]).read_text(errors="replace")
        wave = _number(r"wfc_cutoff\s*=" + NUMBER, r"cutoff for wavefunctions:" + NUMBER, text)
        if not wave:
            message = f"{named[element]} says no cutoff; give arguments: input_data: {{system: {{ecutwfc: RYDBERG}}}}"
            raise FailedError(FailureKind.MISSING_DATA, f"{element}: {message}")
        waves.append(wave)
        densities.append(_number(r"rho_cutoff\s*=" + NUMBER, r"cutoff for charge density:" + NUMBER, text))
    return max(waves), max(densities)


def functional_of(text: str) -> str | None:
    """The functional a file was made for, as its header names it; None where it says nothing."""
    found = re.search(r"functional\s*=\s*[\"']\s*([^\"']+?)\s*[\"']", text)
    return " ".join(found.group(1).upper().split()) if found else None


def _number(attribute: str, sentence: str, text: str) -> float:
    """The largest number either pattern finds: files made by a converter have a header of zeros; 0 for none."""
    found = re.findall(attribute, text) + re.findall(sentence, text)
    return max((float(number.lower().replace("d", "e")) for number in found), default=0.0)
