"""How each DFT program is asked: its input for a protocol, and what is read from its output."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oracles.dft.band_edges import BandEdges
from oracles.dft.protocols import Protocol

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

INPUT_FILE = "input.json"


class Code(ABC):
    """A DFT program behind ASE's calculator interface.

    `arguments` are the calculator's own, and win over what the protocol says.
    """

    name: str

    def __init__(self, protocol: Protocol, arguments: Mapping[str, Any]) -> None:
        self.protocol = protocol
        self.arguments = dict(arguments)

    @abstractmethod
    def calculator(self, atoms: Atoms, folder: Path, robust: bool = False) -> Calculator:
        """A calculator for these atoms that works in `folder`, which exists; its input is kept there.

        robust: settings that reach self-consistency where the usual ones do not. Raises FailedError for a program or
        data that are missing.
        """

    @abstractmethod
    def band_edges(self, atoms: Atoms, folder: Path) -> BandEdges:
        """The gap of atoms whose calculator has just found the ground state; works in `folder`, which exists."""

    def moment(self, atoms: Atoms, folder: Path) -> float | None:
        """Magnetic moment of the cell in Bohr magnetons; None where the calculation has paired spins, or tells none."""
        from ase.calculators.calculator import PropertyNotImplementedError

        if not atoms.get_initial_magnetic_moments().any():
            return None
        try:
            return float(atoms.get_magnetic_moment())
        except PropertyNotImplementedError:
            return None

    def says_unconverged(self, folder: Path) -> bool:
        """Whether the output in `folder` says that self-consistency was missed, where no exception does."""
        return False

    def clean(self, folder: Path) -> None:  # noqa: B027 - most programs are told to write no large files
        """Deletes wave functions and densities below `folder`."""


def merged(defaults: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with `arguments` put over them, key by key in nested blocks too."""
    result = dict(defaults)
    for key, value in arguments.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def keep_input(parameters: Mapping[str, Any], atoms: Atoms, folder: Path) -> None:
    """Writes what a calculation is made of into its folder, for people and for repeating it."""
    content = {
        "parameters": dict(parameters),
        "symbols": atoms.get_chemical_symbols(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
        "initial_magnetic_moments": atoms.get_initial_magnetic_moments().tolist(),
    }
    (folder / INPUT_FILE).write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def code_for(name: str, protocol: Protocol, arguments: Mapping[str, Any]) -> Code:
    """The program of that name, or the ASE calculator at the import path `module:Class`."""
    from oracles.dft.espresso import Espresso
    from oracles.dft.gpaw import Gpaw
    from oracles.dft.programs import Cp2k, Imported, Vasp

    named: dict[str, type[Code]] = {code.name: code for code in (Gpaw, Espresso, Vasp, Cp2k)}
    return named[name](protocol, arguments) if name in named else Imported(name, protocol, arguments)
