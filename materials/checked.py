"""A calculator between a foreign one and us, which lets nothing through that is no energy, force or stress.

Imports ASE's calculators: import only when used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.data import covalent_radii
from ase.stress import full_3x3_to_voigt_6_stress

from materials.calculators import CalculatorFaultError, UnsupportedElementError, fault_of
from materials.evaluation import FailureKind

WANTED = ("forces", "energy", "free_energy", "stress")


class CheckedCalculator(Calculator):  # type: ignore[misc]
    """Asks another calculator and checks what it gives.

    Raises UnsupportedElementError where the other one cannot compute some elements, CalculatorFaultError where it
    raises otherwise or gives something of the wrong shape or that is not finite.
    """

    def __init__(self, name: str, inner: BaseCalculator) -> None:
        super().__init__()
        self._name = name
        self._inner = inner
        self.implemented_properties = [item for item in WANTED if item in inner.implemented_properties]

    @property
    def inner(self) -> BaseCalculator:
        """The other one, for what is no energy, force or stress: eigenvalues, moments, where it works."""
        return self._inner

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        # Forces first: whoever computes them has the energy, but not the other way round.
        given = {item: self._ask(item) for item in self.implemented_properties}
        shapes = {"forces": (len(self.atoms), 3), "stress": (6,)}
        self.results = {
            item: self._shaped(item, value, shapes.get(item, ())) for item, value in given.items()
        }

    def _ask(self, item: str) -> Any:
        try:
            return self._inner.get_property(item, self.atoms)
        except Exception as error:
            fault = fault_of(self._name, error)
            if (
                isinstance(fault, CalculatorFaultError)
                and fault.kind is FailureKind.ERROR
                and not fault.mendable
            ):
                unknown = self._unknown_elements(str(error))
                if unknown:
                    formula = self.atoms.get_chemical_formula()
                    raise UnsupportedElementError(unknown, self._name, formula) from error
            raise fault from error

    def _unknown_elements(self, said: str) -> list[str]:
        """Those that raise alone while others do not; where all raise, those that the exception names."""
        symbols = sorted(set(self.atoms.get_chemical_symbols()))
        raising = [symbol for symbol in symbols if not self._can_compute(symbol)]
        if len(raising) < len(symbols):
            return raising
        words = "".join(letter if letter.isalnum() else " " for letter in said).split()
        return [symbol for symbol in symbols if symbol in words]

    def _can_compute(self, symbol: str) -> bool:
        alone = Atoms(symbol, pbc=True)
        alone.set_cell(2 * covalent_radii[alone.numbers[0]] * np.eye(3))
        try:
            self._inner.get_property("energy", alone)
        except Exception:  # anything may be raised by foreign code, and means the same here
            return False
        return True

    def _shaped(self, item: str, value: Any, shape: tuple[int, ...]) -> Any:
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            raise self._fault(FailureKind.BAD_RESULT, item, f"{type(value).__name__}, no numbers") from None
        if item == "stress" and array.shape == (3, 3):
            array = full_3x3_to_voigt_6_stress(array)
        if array.shape != shape:
            raise self._fault(FailureKind.BAD_RESULT, item, f"of shape {array.shape} instead of {shape}")
        if not np.isfinite(array).all():
            raise self._fault(FailureKind.NOT_FINITE, item, "not finite")
        return array if shape else float(array)

    def _fault(self, kind: FailureKind, item: str, what: str) -> CalculatorFaultError:
        formula = self.atoms.get_chemical_formula()
        return CalculatorFaultError(
            kind,
            f"{self._name}: {item} of {formula} is {what}; mend the calculator or choose another potential",
        )
