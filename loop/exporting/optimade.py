"""A response of the OPTIMADE API (1.2) with all structures, as a file.

Andersen et al., Sci. Data 8, 217 (2021); specification 1.2.0, entry type `structures`. What the specification does not
know has the prefix `_matloop_`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from pymatgen.core import Composition

from loop.exporting.measured import Measured
from materials.base import Crystal
from materials.files import whole
from materials.properties import property_named

VERSION = "1.2.0"
MOST_PARTS = 10_000
"""Largest denominator of an amount in a formula of partial occupancies."""

WHOLE = 1e-6
"""An amount this near to a whole number is one."""


def write_optimade(path: Path, measured: Sequence[Measured]) -> int:
    """Every crystal, partial occupancies included; returns their number."""
    crystals = [(one, m) for one in measured if isinstance(m := one.record.material, Crystal)]
    entries = [
        {"id": one.name, "type": "structures", "attributes": attributes(one, m)} for one, m in crystals
    ]
    document = {
        "data": entries,
        "meta": {
            "api_version": VERSION,
            "query": {"representation": "/structures"},
            "more_data_available": False,
            "data_returned": len(entries),
            "data_available": len(entries),
            "provider": {"name": "matloop", "description": "A campaign's own results", "prefix": "matloop"},
        },
    }
    with whole(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    return len(crystals)


def attributes(one: Measured, crystal: Crystal) -> dict[str, Any]:
    """What the specification says of a structure, and what was measured on it."""
    structure = crystal.structure
    amounts = {e.symbol: float(n) for e, n in structure.composition.element_composition.items()}
    elements = sorted(amounts)
    total = sum(amounts.values())
    species = {str(site.species): site.species for site in structure}
    found: dict[str, Any] = {
        "last_modified": _timestamp(one.modified),
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [amounts[e] / total for e in elements],
        "chemical_formula_descriptive": structure.composition.formula.replace(" ", ""),
        "chemical_formula_reduced": reduced_formula(amounts),
        "chemical_formula_hill": hill_formula(amounts),
        "chemical_formula_anonymous": anonymous_formula(amounts),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "nsites": len(structure),
        "species_at_sites": [str(site.species) for site in structure],
        "species": [_species(name, composition) for name, composition in species.items()],
        "structure_features": [] if crystal.is_ordered else ["disorder"],
    }
    for name, measurement in one.best().items():
        found[f"_matloop_{name}"] = measurement.value
    found["_matloop_measurements"] = [
        {**m.to_dict(), "meaning": property_named(m.property).meaning} for m in one.record.measurements
    ]
    return {**found, **{f"_matloop_{name}": value for name, value in one.about().items()}}


def _timestamp(modified: str) -> str | None:
    """As RFC 3339 in whole seconds; None for what was only known before, of which nobody knows when."""
    if not modified:
        return None
    return datetime.fromisoformat(modified).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _species(name: str, composition: Any) -> dict[str, Any]:
    parts = {e.symbol: float(n) for e, n in composition.element_composition.items()}
    empty = 1.0 - sum(parts.values())
    symbols, shares = list(parts), list(parts.values())
    if empty > 1e-6:
        symbols, shares = [*symbols, "vacancy"], [*shares, empty]
    return {"name": name, "chemical_symbols": symbols, "concentration": shares}


def whole_amounts(amounts: dict[str, float]) -> dict[str, int]:
    """The smallest whole numbers in the proportion of the amounts."""
    least = min(amounts.values())
    parts = {e: Fraction(n / least).limit_denominator(MOST_PARTS) for e, n in amounts.items()}
    common = math.lcm(*(part.denominator for part in parts.values()))
    whole = {e: int(part * common) for e, part in parts.items()}
    shared = math.gcd(*whole.values())
    return {e: n // shared for e, n in whole.items()}


def reduced_formula(amounts: dict[str, float]) -> str:
    """Elements in alphabetical order, no 1 told."""
    return _written(sorted(whole_amounts(amounts).items()))


def hill_formula(amounts: dict[str, float]) -> str | None:
    """The formula unit in Hill's order (J. Am. Chem. Soc. 22, 478 (1900)): with carbon, C and H first.

    Unlike the reduced formula it keeps what belongs together: H2O2. None where the amounts in the cell are not whole.
    """
    if any(abs(n - round(n)) > WHOLE for n in amounts.values()):
        return None
    unit, _ = Composition(amounts).get_reduced_composition_and_factor()
    counts = {e.symbol: round(n) for e, n in unit.items()}
    first = [e for e in ("C", "H") if e in counts] if "C" in counts else []
    return _written((e, counts[e]) for e in [*first, *sorted(counts.keys() - set(first))])


def anonymous_formula(amounts: dict[str, float]) -> str:
    """A, B, ..., Z, Aa, Ba, ... for the elements, the most frequent first."""
    counts = sorted(whole_amounts(amounts).values(), reverse=True)
    return _written((_letters(number), count) for number, count in enumerate(counts))


def _letters(number: int) -> str:
    again, letter = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[letter] + (ascii_lowercase[again - 1] if again else "")


def _written(counts: Iterable[tuple[str, int]]) -> str:
    return "".join(symbol + (str(n) if n > 1 else "") for symbol, n in counts)
