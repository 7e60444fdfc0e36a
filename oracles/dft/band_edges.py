"""The band gap from eigenvalues: where the bands end, and whether light or heat crosses the gap at one k-point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Below this a direct and an indirect gap are the same: the number of plane waves below a cutoff changes with the
# k-point, which moves the eigenvalues of oxides, fluorides and nitrides. Heat at 300 K is 0.026 eV.
SAME_EDGE = 0.03  # eV
WHOLE_MOMENT = 0.1  # Bohr magnetons; a smeared insulator's moment is this near to a whole number


@dataclass(frozen=True)
class Bands:
    """Eigenvalues of a calculation.

    kpoints: [k, 3] in units of the reciprocal lattice vectors. eigenvalues: [spin, k, band], eV, ascending; one spin
    means that each band holds two electrons.
    """

    kpoints: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


@dataclass(frozen=True)
class BandEdges:
    """Band gap and edges: energies in eV, k-points in units of the reciprocal lattice vectors; a metal has no edges."""

    gap: float
    direct_gap: float
    valence_maximum: float | None = None
    conduction_minimum: float | None = None
    valence_kpoint: tuple[float, ...] | None = None
    conduction_kpoint: tuple[float, ...] | None = None

    @property
    def is_metal(self) -> bool:
        return self.valence_maximum is None

    @property
    def is_direct(self) -> bool | None:
        """Whether both edges lie at one k-point, within SAME_EDGE; None for a metal."""
        return None if self.is_metal else self.direct_gap - self.gap < SAME_EDGE

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for provenance."""
        kind = "metal" if self.is_metal else "direct" if self.is_direct else "indirect"
        return {"gap_is": kind, **vars(self)}


METAL = BandEdges(0.0, 0.0)


def filled_bands(electrons: float, moment: float | None) -> tuple[int, ...] | None:
    """Bands filled in each spin of an insulator; None where the electrons cannot fill whole bands: a metal.

    electrons: valence electrons per cell. moment: of the cell in Bohr magnetons; None where spins are paired. Raises
    ValueError for an odd number of paired electrons: that half a band is filled says nothing of the crystal.
    """
    total = round(electrons)
    if moment is None:
        if total % 2:
            raise ValueError(f"{total} valence electrons cannot be paired; let the spins be polarised")
        return (total // 2,)
    whole = round(moment)
    if abs(moment - whole) > WHOLE_MOMENT or (total + whole) % 2:
        return None
    return ((total + whole) // 2, (total - whole) // 2)


def band_edges(bands: Bands, filled: tuple[int, ...] | None) -> BandEdges:
    """The edges of the gap above the `filled` bands of each spin.

    A spin-polarised gap is the smallest over both spins together. Bands that overlap anywhere, at one k-point or
    between two, make a metal of gap 0. Raises ValueError where there is no empty band.
    """
    if filled is None:
        return METAL
    values = bands.eigenvalues
    if len(filled) != len(values) or max(filled) >= values.shape[2]:
        raise ValueError(f"eigenvalues of shape {values.shape} have no empty band above {filled} filled ones")
    valence = np.max([values[s, :, n - 1] for s, n in enumerate(filled) if n > 0], axis=0)
    conduction = np.min([values[s, :, n] for s, n in enumerate(filled)], axis=0)
    top, bottom = int(np.argmax(valence)), int(np.argmin(conduction))
    gap = float(conduction[bottom] - valence[top])
    if gap <= 0:
        return METAL
    return BandEdges(
        gap=gap,
        direct_gap=float(np.min(conduction - valence)),
        valence_maximum=float(valence[top]),
        conduction_minimum=float(conduction[bottom]),
        valence_kpoint=_rounded(bands.kpoints[top]),
        conduction_kpoint=_rounded(bands.kpoints[bottom]),
    )


def _rounded(kpoint: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(component), 4) + 0.0 for component in kpoint)
