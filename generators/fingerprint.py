"""The structural fingerprint of Oganov and Valle, to tell how far apart two crystals are.

Oganov, Valle, J. Chem. Phys. 130, 104504 (2009) (doi:10.1063/1.3079326).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg

CUTOFF = 8.0
BIN = 0.1
SMEARING = 0.2

Fingerprint = Mapping[tuple[str, str], npt.NDArray[np.float64]]


def fingerprint(structure: pmg.Structure) -> Fingerprint:
    """For each pair of elements the smeared pair distribution minus one, [CUTOFF / BIN], times its square-root weight.

    Lengths in angstrom: distances up to CUTOFF in steps of BIN, Gaussian smearing SMEARING. The weight of a pair is
    N_a N_b over its sum, so that the dot product of two fingerprints is the weighted one of the paper.
    """
    first, second, _, lengths = structure.get_neighbor_list(CUTOFF + 4 * SMEARING)
    symbols = np.array([site.specie.symbol for site in structure])
    elements, counts = np.unique(symbols, return_counts=True)
    centres = np.arange(BIN / 2, CUTOFF, BIN)
    found: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    for i, a in enumerate(elements):
        for j, b in enumerate(elements[: i + 1]):
            own = lengths[(symbols[first] == a) & (symbols[second] == b)]
            peaks = np.exp(-0.5 * ((centres[:, None] - own) / SMEARING) ** 2) / (
                np.sqrt(2 * np.pi) * SMEARING
            )
            density = counts[i] * counts[j] / structure.volume
            smeared = (peaks / (4 * np.pi * own**2 * density)).sum(axis=1) - 1.0
            found[str(a), str(b)] = smeared * np.sqrt(counts[i] * counts[j]) / len(structure)
    return found


def distance(a: Fingerprint, b: Fingerprint) -> float:
    """The cosine distance, 0 for equal crystals to 1; crystals without a common pair of elements are 0.5 apart."""
    dot = sum(float(a[pair] @ b[pair]) for pair in a.keys() & b.keys())
    norms = [np.sqrt(sum(float(v @ v) for v in f.values())) for f in (a, b)]
    return float(0.5 * (1.0 - dot / (norms[0] * norms[1])))
