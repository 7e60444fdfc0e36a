"""What a DFT calculation begins with: a crystal that it can treat, its moments, and a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pymatgen.core as pmg

from materials.base import Crystal
from materials.evaluation import FailureKind, Request
from oracles.dft.protocols import initial_moments
from oracles.guards import why_wrong_volume
from oracles.one_by_one import RejectedError

if TYPE_CHECKING:
    from ase import Atoms


def ordered(request: Request) -> pmg.Structure:
    """The request's structure. Raises RejectedError for partial occupancies and for volumes no solid has."""
    if not (isinstance(request.material, Crystal) and request.material.is_ordered):
        message = "only a crystal without partial occupancies can be calculated; order it first"
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {message}")
    reason = why_wrong_volume(request.material.structure)
    if reason is not None:
        raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: {reason}")
    return request.material.structure


def magnetic_atoms(structure: pmg.Structure) -> Atoms:
    """The structure as ASE atoms with the magnetic moments to start from."""
    from materials.potential import to_atoms

    atoms = to_atoms(structure)
    moments = initial_moments(atoms)
    if moments is not None:
        atoms.set_initial_magnetic_moments(moments)
    return atoms


@contextmanager
def working_folder(request: Request) -> Iterator[Path]:
    """The request's folder, made; outside of an executor a temporary one."""
    if request.folder is not None:
        request.folder.mkdir(parents=True, exist_ok=True)
        yield request.folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="matloop-dft-") as folder:
        yield Path(folder)
