"""Trajectories of lattice walks, whose diffusivity is known."""

from __future__ import annotations

import numpy as np

from oracles.conduction.simulation_cell import SimulationCell
from oracles.conduction.trajectory import Trajectory

INTERVAL = 0.05  # ps


def lattice_walk(cell: SimulationCell, frames: int, diffusivity: float, seed: int) -> Trajectory:
    """Mobile ions hop by the site distance at random times, so that they diffuse at `diffusivity` (cm^2/s).

    Everything vibrates, and drifts as a whole.
    """
    rng = np.random.default_rng(seed)
    step = cell.site_distance()
    # Six directions share the rate 6 D / step^2.
    hops = rng.poisson(diffusivity * 1e4 / step**2 * INTERVAL, (frames, len(cell.mobile), 6))
    steps = step * (hops[..., :3] - hops[..., 3:])
    paths = 0.2 * rng.standard_normal((frames, len(cell.structure), 3))
    paths[:, cell.mobile] += np.cumsum(steps, axis=0)
    paths += np.linspace(0, 5, frames)[:, None, None]
    still = np.zeros(frames)
    return Trajectory(paths.astype(np.float32), still, still, INTERVAL)
