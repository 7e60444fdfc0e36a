"""Space groups and standard cells, found by moyopy."""

from __future__ import annotations

import logging

import moyopy
import pymatgen.core as pmg

logging.getLogger("moyo").setLevel(logging.ERROR)  # it warns of every cell that is not primitive


class NoSymmetryError(ValueError):
    """A structure whose symmetry is not found."""


def find_dataset(
    structure: pmg.Structure, symprec: float, setting: moyopy.Setting | None = None
) -> moyopy.MoyoDataset:
    """What moyopy tells of an ordered structure's symmetry within `symprec` (angstrom). Raises NoSymmetryError."""
    numbers = [site.specie.Z for site in structure]
    cell = moyopy.Cell(structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers)
    try:
        return moyopy.MoyoDataset(cell, symprec=symprec, setting=setting)
    except (ValueError, RuntimeError) as error:
        raise NoSymmetryError(f"no symmetry was found ({error})") from error
    except BaseException as error:
        # Where atoms coincide at this tolerance, moyopy may panic; pyo3 tells by an exception it does not export.
        if type(error).__name__ != "PanicException":
            raise
        raise NoSymmetryError(f"no symmetry was found ({error})") from error
