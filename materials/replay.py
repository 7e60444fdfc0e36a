"""Evaluations of a potential that are known already, given again where the same structure is asked about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from materials.relaxation import Frame


class Replay(Calculator):  # type: ignore[misc]
    """An ASE calculator that looks its answer up among frames, and asks another one where there is none.

    Positions and cell have to agree to the last bit, so its answers are those of the other one.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, calculator: Calculator, frames: Iterable[Frame]) -> None:
        super().__init__()
        self._calculator = calculator
        self._known = {frame.place: frame.results for frame in frames}

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        known = self._known.get(Frame.place_of(self.atoms))
        if known is None:
            self._calculator.calculate(self.atoms, self.implemented_properties, all_changes)
            known = self._calculator.results
        self.results = dict(known)
