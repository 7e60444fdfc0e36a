"""What `arguments: kpts` may say: the forms that ASE's calculators take, judged before anything is calculated."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

FORMS = (
    "write three whole numbers above 0, as [4, 4, 4], or points per angstrom, as {density: 3.5, gamma: true}"
)
KEYS = ("size", "density", "gamma", "even", "path", "npoints", "special_points", "eps")
"""Of ASE's description of a grid or a path (ase.calculators.calculator.kpts2kpts)."""


def check_kpoints(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError where `kpts` among a calculator's arguments is no grid, no density and no list of points."""
    kpts = arguments.get("kpts")
    if kpts is None:
        return
    if isinstance(kpts, Mapping):
        unknown = [str(key) for key in kpts if key not in KEYS]
        if unknown:
            raise ValueError(f"arguments.kpts: unknown {', '.join(unknown)}; known are {', '.join(KEYS)}")
        size, density = kpts.get("size"), kpts.get("density")
        if size is not None and not _is_grid(size):
            raise ValueError(f"arguments.kpts: size {size!r} is no grid; {FORMS}")
        if density is not None and not (_is_number(density) and density > 0):
            raise ValueError(f"arguments.kpts: a density of {density!r} is no number above 0; {FORMS}")
    elif not (_is_grid(kpts) or _are_points(kpts)):
        raise ValueError(f"arguments.kpts: {kpts!r} is no grid; {FORMS}")


def _is_grid(value: Any) -> bool:
    return _is_triple(value) and all(type(count) is int and count > 0 for count in value)


def _are_points(value: Any) -> bool:
    """Rows of three coordinates, or of them and a weight."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(
        isinstance(row, list | tuple) and len(row) in (3, 4) and all(map(_is_number, row)) for row in value
    )


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
