"""The design space: which materials a campaign may propose, and why one is refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from materials import chemistry
from materials.base import Crystal, Material
from materials.settings import Settings

# Twice the sum of the covalent radii: only helium is lonelier among 6,000 near-hull phases.
ISOLATED = 2.0
SYMMETRY_PRECISION = 0.05
_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _in_order(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 < limits[0] <= limits[1]:
        raise ValueError(f"write [smallest, largest], both above zero; got {list(limits)}")
    return limits


Limits = Annotated[
    tuple[int, int],
    BeforeValidator(_pair, json_schema_input_type=int | tuple[int, int]),
    AfterValidator(_in_order),
]
"""Smallest and largest number, both included; a single number means exactly that many."""


def _symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    known = [element.symbol for element in pmg.Element if element.symbol not in ("D", "T")]
    for symbol in symbols:
        if symbol not in known:
            near = difflib.get_close_matches(symbol.title(), known, n=1, cutoff=0.5)
            raise ValueError(f"{symbol!r} is no element" + (f"; did you mean {near[0]!r}?" if near else ""))
    repeated = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    if repeated:
        raise ValueError(f"named more than once: {', '.join(repeated)}")
    return symbols


Symbols = Annotated[tuple[str, ...], AfterValidator(_symbols)]


def _elements_or_formula(schema: dict[str, Any]) -> None:
    """A formula gives the elements, so the JSON Schema wants one of the two."""
    schema["anyOf"] = [{"required": [key]} for key in ("elements", "formula")]
    del schema["required"]


class Space(Settings):
    """The block `space:` of a campaign file.

    `number_of_elements` is cut to what `elements` can give. `number_of_atoms` counts the primitive cell; of a
    composition, a whole number of formula units must fit. `formula` fixes the reduced formula (structure
    prediction) and gives `elements` where they are left out. `partial_occupancies` lets disordered crystals
    in. `minimum_distance` is a factor on the sum of two covalent radii: 0.67 is the least among 6,000
    near-hull phases of the Materials Project. `volume_per_atom` is in cubic angstrom; those phases span 5.8
    to 110.
    """

    model_config = ConfigDict(json_schema_extra=_elements_or_formula)

    kind: Literal["crystal", "composition"] = "crystal"
    """What is proposed: crystals, or formulas alone."""
    elements: Symbols = Field(min_length=1)
    """Symbols of the elements that may occur; needed where `formula` does not give them."""
    required: Symbols = ()
    """Elements that must occur."""
    number_of_elements: Limits = Field(default=(1, 118), validate_default=True)
    """Smallest and largest number of different elements; one number means exactly that many."""
    number_of_atoms: Limits = (1, 40)
    """Smallest and largest number of atoms in the primitive cell; of a composition, one formula unit or more."""
    formula: str | None = None
    """Only materials of this formula (structure prediction)."""
    charge_balanced: bool = False
    """Only formulas whose usual oxidation states can add up to zero: those of 2 % of an element's sites in the ICSD
    (1 % of a metal's), so sulfur counts as -2, but also as -1 (pyrite), 4 and 6, chlorine as -1 and 7."""
    partial_occupancies: bool = False
    """Let disordered crystals in."""
    minimum_distance: float = Field(default=0.6, ge=0)
    """Smallest distance of two atoms over the sum of their covalent radii."""
    volume_per_atom: Annotated[tuple[float, float], AfterValidator(_in_order)] = (4.0, 130.0)
    """Smallest and largest volume per atom, cubic angstrom."""

    @model_validator(mode="before")
    @classmethod
    def _elements_of_the_formula(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("formula"), str) and "elements" not in data:
            return data | {"elements": list(_read_formula(data["formula"]).get_el_amt_dict())}
        return data

    @field_validator("formula")
    @classmethod
    def _reduced(cls, formula: str | None) -> str | None:
        return None if formula is None else str(_read_formula(formula).reduced_formula)

    @field_validator("number_of_elements")
    @classmethod
    def _cut_to_elements(cls, limits: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        available = len(info.data.get("elements", ())) or limits[1]
        if limits[0] > available:
            raise ValueError(f"at least {limits[0]} wanted, but elements names {available}")
        return limits[0], min(limits[1], available)

    @model_validator(mode="after")
    def _possible(self) -> Space:
        foreign = [e for e in self.required if e not in self.elements]
        if foreign:
            raise ValueError(f"required: {', '.join(foreign)} not in elements; add them there")
        least, most = self.number_of_elements
        if len(self.required) > most:
            raise ValueError(f"required: {len(self.required)} elements, but number_of_elements allows {most}")
        if max(least, len(self.required)) > self.number_of_atoms[1]:
            raise ValueError("number_of_atoms: fewer atoms than elements; raise the upper limit")
        if self.formula is not None:
            self._check_formula(self.formula)
        elif self.charge_balanced:
            self._check_balance()
        return self

    def _check_formula(self, formula: str) -> None:
        reason = self._composition_reason(pmg.Composition(formula))
        if reason is not None:
            raise ValueError(f"formula: {formula} contradicts the rest of the space: {reason}")

    def _check_balance(self) -> None:
        if not chemistry.balanced_formula_exists(
            self.elements, self.required, self.number_of_elements, self.number_of_atoms
        ):
            raise ValueError(
                f"charge_balanced: no charge-balanced formula of {', '.join(self.elements)} exists within "
                "number_of_elements and number_of_atoms; add a cation or an anion, allow more atoms, "
                "or set charge_balanced: false"
            )

    def why_not(self, material: Material) -> str | None:
        """None for a material of this space, else the first reason against it, one of a few fixed texts.

        The cheap and telling checks come first: kind, elements, formula, charge balance, then geometry.
        """
        if material.kind != self.kind:
            return f"not a {self.kind}"
        if not isinstance(material, Crystal):
            return self._composition_reason(pmg.Composition(material.formula))
        structure = material.structure
        if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
            return "coordinates not finite"
        if not self.partial_occupancies and not material.is_ordered:
            return self._elements_reason(structure.composition) or "partial occupancies"
        return self._composition_reason(structure.composition) or self._geometry_reason(structure)

    def _elements_reason(self, composition: pmg.Composition) -> str | None:
        present = composition.get_el_amt_dict()
        least, most = self.number_of_elements
        checks = (
            ("element outside the space", not present.keys() <= set(self.elements)),
            ("required element missing", not present.keys() >= set(self.required)),
            ("too few elements", len(present) < least),
            ("too many elements", len(present) > most),
        )
        return next((reason for reason, broken in checks if broken), None)

    def _composition_reason(self, composition: pmg.Composition) -> str | None:
        reason = self._elements_reason(composition)
        if reason is not None:
            return reason
        amounts = chemistry.element_amounts(composition)
        if self.formula is not None and amounts != chemistry.element_amounts(pmg.Composition(self.formula)):
            return "another formula"
        atoms = sum(amounts.values())
        if atoms > self.number_of_atoms[1] + 1e-6 and all(n == round(n) for n in amounts.values()):
            return "too many atoms"
        if self.kind == "composition" and not chemistry.formula_units(round(atoms), self.number_of_atoms):
            return "number of atoms out of reach"
        if self.charge_balanced and not chemistry.is_charge_balanced(composition):
            return "not charge balanced"
        return None

    def _geometry_reason(self, structure: pmg.Structure) -> str | None:
        least, most = self.volume_per_atom
        if not least <= structure.volume / len(structure) <= most:
            return "volume per atom out of range"
        if len(structure) < self.number_of_atoms[0]:
            return "too few atoms"
        ratios = _distance_ratios(structure)
        if ratios.min() < self.minimum_distance:
            return "atoms too close"
        if ratios.min(axis=1).max() > ISOLATED:
            return "isolated atom"
        return self._size_reason(structure)

    def _size_reason(self, structure: pmg.Structure) -> str | None:
        least, most = self.number_of_atoms
        formula_unit = sum(chemistry.element_amounts(structure.composition).values())
        if len(structure) <= most and least <= formula_unit + 1e-6:
            return None
        atoms = _primitive_size(structure)
        if atoms > most:
            return "too many atoms"
        return "too few atoms" if atoms < least else None

    def random_compositions(self, rng: np.random.Generator, n: int) -> Iterator[pmg.Composition]:
        """Yields up to n compositions of whole cells inside this space; fewer when its corner is too narrow.

        Charge-balanced where the space asks for it. The same rng state gives the same compositions.
        """
        for _ in range(n):
            found = self._random_composition(rng)
            if found is None:
                return
            yield found

    def _random_composition(self, rng: np.random.Generator) -> pmg.Composition | None:
        if self.formula is not None:
            reduced = pmg.Composition(chemistry.element_amounts(pmg.Composition(self.formula)))
            units = chemistry.formula_units(round(reduced.num_atoms), self.number_of_atoms)
            return reduced * int(rng.choice(units)) if units else None
        return chemistry.random_cell_composition(
            rng,
            self.elements,
            self.required,
            self.number_of_elements,
            self.number_of_atoms,
            self.charge_balanced,
        )


def _read_formula(formula: str) -> pmg.Composition:
    try:
        composition = pmg.Composition(formula, strict=True)
    except ValueError as error:
        raise ValueError(f"{formula!r} is no chemical formula ({error})") from error
    if not composition:
        raise ValueError("a formula cannot be empty")
    return composition


def _distance_ratios(structure: pmg.Structure) -> npt.NDArray[np.float64]:
    """[n, n]: shortest periodic distance over the sum of covalent radii; the diagonal holds own images.

    Pairs that are never both occupied (partial occupancies adding up to one at most) do not count.
    """
    reduced = structure.lattice.get_lll_reduced_lattice()
    fractional = reduced.get_fractional_coords(structure.cart_coords)
    difference = fractional[:, None, :] - fractional[None, :, :]
    difference -= np.round(difference)
    vectors = (difference @ reduced.matrix)[:, :, None, :] + _IMAGES @ reduced.matrix
    squared = np.einsum("ijkx,ijkx->ijk", vectors, vectors)
    own = np.arange(len(structure))
    squared[own, own, len(_IMAGES) // 2] = np.inf
    radii = np.array(
        [min(chemistry.covalent_radius(e.symbol) for e in s.species.elements) for s in structure]
    )
    ratios = np.sqrt(squared.min(axis=2)) / (radii[:, None] + radii[None, :])
    if not structure.is_ordered:
        occupancy = np.array([site.species.num_atoms for site in structure])
        ratios[occupancy[:, None] + occupancy[None, :] <= 1.0 + 1e-6] = ISOLATED
    return np.asarray(ratios)


def _primitive_size(structure: pmg.Structure) -> int:
    """Sites of the primitive cell; those of the given cell where spglib finds none."""
    import spglib

    kinds = {
        text: number for number, text in enumerate(sorted({site.species_string for site in structure}), 1)
    }
    numbers = [kinds[site.species_string] for site in structure]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    found = spglib.find_primitive(cell, symprec=SYMMETRY_PRECISION)
    return len(structure) if found is None else len(found[2])
