"""The registry of properties: what a name means, its unit and the fidelities it can be known at."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Transform = Literal["identity", "log"]


@dataclass(frozen=True)
class Property:
    """A quantity of a material.

    `fidelities` runs from the cheapest to the most trusted. `transform` is what a regression applies before
    fitting: `log` models log(value + log_offset), for positive quantities that span orders of magnitude; the
    offset, in the property's unit, is the smallest value worth telling from zero.
    """

    name: str
    unit: str
    symbol: str
    meaning: str
    fidelities: tuple[str, ...]
    transform: Transform = "identity"
    log_offset: float = 0.0
    possible: tuple[float, float] = (-math.inf, math.inf)
    """No value outside was ever right; such a one has another unit, or is an error."""


_ENERGY = ("learned", "potential", "PBE", "r2SCAN", "experiment")
# A prediction that imitates HSE is still a prediction, so it stays below every calculation.
_GAP = ("learned", "learned_HSE", "PBE", "HSE", "experiment")
_OPTICS = ("learned", "PBE", "HSE", "experiment")
_TRANSPORT = ("learned", "bond_valence", "potential", "PBE", "experiment")

PROPERTIES: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "energy_per_atom",
            "eV/atom",
            "E",
            "total energy per atom as its oracle gives it; a potential's is uncorrected",
            _ENERGY,
        ),
        Property(
            "formation_energy",
            "eV/atom",
            "E_f",
            "energy of formation from the elements",
            _ENERGY,
            possible=(-10.0, 50.0),
        ),
        Property(
            "energy_above_hull",
            "eV/atom",
            "E_hull",
            "signed distance to the convex hull of the reference without the candidate",
            _ENERGY,
            possible=(-10.0, 50.0),
        ),
        Property("band_gap", "eV", "E_g", "fundamental electronic band gap", _GAP, possible=(0.0, 30.0)),
        Property(
            "migration_barrier",
            "eV",
            "E_a",
            "lowest percolation barrier of the mobile ion, in the dimension recorded with it",
            _TRANSPORT,
            possible=(0.0, 50.0),
        ),
        Property(
            "activation_energy",
            "eV",
            "E_A",
            "slope of ln(diffusivity) of the mobile ion over 1/kT: formation of carriers, jumps and their correlation",
            _TRANSPORT,
            possible=(0.0, 50.0),
        ),
        Property(
            "log_ionic_conductivity",
            "log10(S/cm)",
            "log10 sigma",
            "log10 of the ionic conductivity in S/cm at the recorded temperature",
            _TRANSPORT,
            possible=(-60.0, 3.0),
        ),
        Property(
            "diffusivity",
            "cm^2/s",
            "D",
            "self-diffusion coefficient of the mobile ion",
            _TRANSPORT,
            transform="log",
            log_offset=1e-14,
            possible=(0.0, 1.0),
        ),
        Property(
            "enthalpy_per_atom",
            "eV/atom",
            "H",
            "energy_per_atom plus pressure times volume, per atom, at the recorded pressure (GPa)",
            _ENERGY,
        ),
        Property(
            "max_force",
            "eV/angstrom",
            "F_max",
            "largest force on an atom of the material as it was asked about",
            _ENERGY,
            possible=(0.0, math.inf),
        ),
        Property(
            "energy_spread",
            "eV/atom",
            "s_E",
            "standard deviation of a committee's energies per atom; a lower bound of their error",
            _ENERGY,
            possible=(0.0, math.inf),
        ),
        Property(
            "force_spread",
            "eV/angstrom",
            "s_F",
            "largest standard deviation of a committee's forces on an atom; a lower bound of their error",
            _ENERGY,
            possible=(0.0, math.inf),
        ),
        Property(
            "direct_band_gap",
            "eV",
            "E_g,dir",
            "smallest electronic band gap at one k-point",
            _GAP,
            possible=(0.0, 30.0),
        ),
        Property(
            "dielectric_constant",
            "1",
            "eps_inf",
            "static dielectric constant of the electrons, mean over directions, ions held",
            _OPTICS,
            possible=(1.0, math.inf),
        ),
        Property(
            "refractive_index",
            "1",
            "n",
            "static refractive index, the square root of the electrons' dielectric constant",
            _OPTICS,
            possible=(1.0, math.inf),
        ),
        Property(
            "absorption_onset",
            "eV",
            "E_on",
            "photon energy at which optical absorption sets in",
            _OPTICS,
            possible=(0.0, 30.0),
        ),
        Property(
            "reduction_potential",
            "V",
            "V_red",
            "lowest potential against the metal of the mobile ion at which the material is stable",
            _ENERGY,
        ),
        Property(
            "oxidation_potential",
            "V",
            "V_ox",
            "highest potential against the metal of the mobile ion at which the material is stable",
            _ENERGY,
        ),
        Property(
            "electrochemical_window",
            "V",
            "V_win",
            "oxidation_potential minus reduction_potential; 0 for a material that is stable at none",
            _ENERGY,
            possible=(0.0, math.inf),
        ),
        Property(
            "interface_reaction_energy",
            "eV/atom",
            "E_int",
            "most negative energy of a reaction with any of the named electrodes; 0 where none reacts",
            _ENERGY,
            possible=(-math.inf, 0.0),
        ),
        Property("average_voltage", "V", "V", "average intercalation voltage", _ENERGY),
        Property("gravimetric_capacity", "mAh/g", "C", "theoretical gravimetric capacity", _ENERGY),
        Property(
            "volume_change",
            "1",
            "dV",
            "volume of the charged over that of the discharged electrode, minus one",
            _ENERGY,
            possible=(-1.0, math.inf),
        ),
    )
}

STRAINS = ("strain_xx", "strain_yy", "strain_zz", "strain_yz", "strain_xz", "strain_xy")
CONDITIONS = {"temperature": "K", "pressure": "GPa", "strain": "1", **dict.fromkeys(STRAINS, "1")}
"""Units of the conditions a property may be measured under; strains as Voigt counts them, or one along all axes."""


def wrong_conditions(conditions: Mapping[str, float]) -> list[str]:
    """A sentence for each condition that is none, or that nothing can be measured under."""
    problems = []
    for name, value in conditions.items():
        least = {"temperature": 0.0, "pressure": -math.inf}.get(name, -1.0)
        if name not in CONDITIONS:
            problems.append(f"{name[:40]!r} is no condition; known are {', '.join(CONDITIONS)}")
        elif not least < value < math.inf:
            problems.append(f"a {name} of {value:g} {CONDITIONS[name]} is impossible")
    return problems


def property_named(name: str) -> Property:
    """The registered property. Raises ValueError naming the nearest known names."""
    if name in PROPERTIES:
        return PROPERTIES[name]
    near = difflib.get_close_matches(name, PROPERTIES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown property {name!r}{hint} Known properties: {', '.join(PROPERTIES)}")
