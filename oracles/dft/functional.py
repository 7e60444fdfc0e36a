"""Refuses arguments that make something else of a calculation than PBE of a neutral crystal, its label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FUNCTIONAL_KEYS = frozenset({"xc", "pp", "gga", "metagga", "input_dft", "pseudo_potential"})
"""Keys that name a functional, or the one that potentials are made for."""
OTHER_PHYSICS: Mapping[str, frozenset[str]] = {
    "+U": frozenset({"ldau", "lda_plus_u", "ldau_luj", "ldaul", "ldauu", "ldauj", "hubbard_u", "lda_plus_u_kind"}),
    "exact exchange": frozenset({"lhfcalc", "exx_fraction", "aexx"}),
    "dispersion": frozenset({"ivdw", "lvdw", "luse_vdw", "vdw_corr", "london", "ts_vdw", "xdm", "dftd3_version"}),
    "a charged cell": frozenset({"charge", "tot_charge", "nelect", "background_charge"}),
    "spin-orbit coupling": frozenset({"lsorbit", "lspinorb", "noncolin", "lnoncollinear", "soc"}),
    "an outer field": frozenset({"external", "tefield", "lelfield", "efield", "idipol"}),
}  # fmt: skip
OFF = frozenset({"FALSE", ".FALSE.", "NONE", "0", "0.0", "NO", "", "[]", "{}"})
CARDS = re.compile(
    r"HUBBARD|&XC\b|&XC_FUNCTIONAL|&HF\b|VDW_POTENTIAL|PLUS_U|&KS_CORR|^\s*CHARGE\s", re.I | re.M
)


def check_functional(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError for arguments, at any depth, that name another functional than PBE or add to it."""
    for key, value in arguments.items():
        found = _other_physics(key.lower(), value)
        if found is not None:
            raise ValueError(f"{key}: {value} is {found}, but results are labelled PBE; leave it out")
        if isinstance(value, Mapping):
            check_functional(value)


def _other_physics(key: str, value: Any) -> str | None:
    """What an argument adds to PBE, in words; None where it adds nothing."""
    told = str(value).upper()
    if key in FUNCTIONAL_KEYS:
        return None if told in OFF or _is_pbe(told) else "another functional"
    if key == "setups" and any(":" in str(part) for part in _leaves(value)):
        return "+U"
    if key in ("inp", "additional_cards", "custom") and any(
        CARDS.search(str(part)) for part in _leaves(value)
    ):
        return "another functional, charge, +U or dispersion"
    name = next((name for name, keys in OTHER_PHYSICS.items() if key.partition("(")[0] in keys), None)
    return None if told in OFF else name


def _is_pbe(told: str) -> bool:
    """GTH-PBE and GTH-PBE-q4 are CP2K's potentials, PE is VASP's abbreviation."""
    return told in ("PBE", "PE") or (told.startswith("GTH-PBE") and not told.startswith("GTH-PBESOL"))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
