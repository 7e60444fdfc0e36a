"""Whether the framework still holds the mobile ions.

Like Lindemann's criterion, displacements are compared with the distance of neighbours, but two kinds of motion of sound
frameworks must pass: ligands that turn about their centre (PS4, BH4), and a framework that shifts as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oracles.conduction.simulation_cell import SimulationCell
from oracles.conduction.trajectory import Trajectory

ALL_MOVED = 0.5
"""Bond lengths. Lindemann's solids melt at 0.1 to 0.2; a ligand's centre stays below, and no element of a melt does."""
ONE_MOVED = 2.0
"""Bond lengths. A ligand that turns at random moves 1.41 from where it was (root mean square), and never 2."""


def why_not_held(cell: SimulationCell, trajectory: Trajectory) -> str | None:
    """Says so where the framework melted or came apart by the end of these frames; None where it holds."""
    moved = framework_displacements(cell, trajectory)
    bond = cell.bond_length()
    element, farthest = max(moved.items(), key=lambda item: item[1])
    if farthest > ONE_MOVED * bond:
        return f"the framework comes apart: {element} moved by {farthest:.1f} angstrom (root mean square)"
    if min(moved.values()) > ALL_MOVED * bond:
        shown = ", ".join(f"{symbol} {distance:.1f}" for symbol, distance in moved.items())
        return f"the framework melts: its elements moved by (root mean square, angstrom) {shown}"
    return None


def framework_displacements(cell: SimulationCell, trajectory: Trajectory) -> dict[str, float]:
    """Root-mean-square displacement of each element of the framework in the mean over the frames, angstrom.

    From the start of the run, after the framework's motion as a whole.
    """
    framework = np.setdiff1d(np.arange(len(cell.structure)), cell.mobile)
    paths = trajectory.displacements[:, framework].astype(float)
    paths -= paths.mean(axis=1, keepdims=True)
    squares = (paths**2).sum(axis=2).mean(axis=0)
    symbols = [cell.symbols[i] for i in framework]
    return {symbol: _root_mean(squares, symbols, symbol) for symbol in sorted(set(symbols))}


def _root_mean(squares: NDArray[np.float64], symbols: Sequence[str], symbol: str) -> float:
    return float(np.sqrt(squares[[s == symbol for s in symbols]].mean()))
