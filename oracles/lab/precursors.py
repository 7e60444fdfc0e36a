"""What to weigh in for a material: a reaction balanced from an inventory, and its masses in grams.

Solved as a linear program over the moles of precursors taken and of gases given off or taken up, at the least mass
of precursors (as synthesis planners pose it, e.g. McDermott et al., Nat. Commun. 12, 3097 (2021)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field
from pymatgen.core import Composition
from scipy.optimize import linprog

from materials.settings import Settings
from oracles.lab.base import Precursor

TRACE = 1e-6
"""Moles per mole of product below which a precursor is none."""


class UnbalancedError(ValueError):
    """The inventory cannot give this material; the message says what is missing."""


def readable_formula(formula: str) -> str:
    """The formula, where it is one of elements. Raises ValueError saying how to write it."""
    try:
        composition = Composition(formula)
    except ValueError as error:
        raise ValueError(f"{formula!r} is no formula; write it such as Li2CO3 ({error})") from error
    if not composition or any(not 1 <= element.Z <= 103 for element in composition.elements):
        raise ValueError(f"{formula!r} is no formula; write it such as Li2CO3")
    return formula


Formula = Annotated[str, AfterValidator(readable_formula)]


class InventoryItem(Settings):
    """A compound on the shelf."""

    formula: Formula
    """Such as Li2CO3."""
    purity: float = Field(default=1.0, gt=0, le=1)
    """Mass fraction of the compound in what is weighed."""


def weighed(
    formula: str, inventory: Sequence[InventoryItem], gases: Sequence[str], grams: float
) -> tuple[Precursor, ...]:
    """Precursors and their masses for `grams` of the material, in the inventory's order.

    gases: what may leave the mixture; of these O2 and N2 may also be taken up. Raises UnbalancedError.
    """
    wanted = Composition(formula)
    shelf = [Composition(item.formula) for item in inventory]
    lacking = [
        e.symbol for e in wanted.elements if not any(e in c for c in shelf) and not _from_air(e, gases)
    ]
    if lacking:
        raise UnbalancedError(
            f"{formula}: nothing in the inventory holds {' or '.join(lacking)}; add a compound that does"
        )
    amounts = _amounts(wanted, shelf, [Composition(gas) for gas in gases])
    if amounts is None:
        names = ", ".join(item.formula for item in inventory)
        raise UnbalancedError(
            f"{formula}: no mixture of the inventory ({names}) gives it, whatever of "
            f"{', '.join(gases) or 'no gas'} leaves; "
            "add precursors with fewer other elements"
        )
    moles = grams / float(wanted.weight)
    return tuple(
        Precursor(item.formula, round(moles * amount * float(composition.weight) / item.purity, 6))
        for item, composition, amount in zip(inventory, shelf, amounts, strict=True)
        if amount > TRACE
    )


def _from_air(element: object, gases: Sequence[str]) -> bool:
    return any(gas in ("O2", "N2") and element in Composition(gas) for gas in gases)


def _amounts(
    wanted: Composition, shelf: Sequence[Composition], gases: Sequence[Composition]
) -> list[float] | None:
    """Moles of each precursor for one mole of what is wanted; None where no mixture gives it."""
    elements = sorted({e for c in (wanted, *shelf, *gases) for e in c.elements})
    columns = [*shelf, *(Composition({e: -n for e, n in gas.items()}, allow_negative=True) for gas in gases)]
    matrix = np.array([[float(c[e]) for c in columns] for e in elements])
    mass = [float(c.weight) for c in shelf] + [0.0] * len(gases)
    free = [gas.reduced_formula in ("O2", "N2") for gas in gases]
    bounds = [(0.0, None)] * len(shelf) + [(None, None) if f else (0.0, None) for f in free]
    found = linprog(mass, A_eq=matrix, b_eq=[float(wanted[e]) for e in elements], bounds=bounds)
    return None if found.x is None else [float(x) for x in found.x[: len(shelf)]]
