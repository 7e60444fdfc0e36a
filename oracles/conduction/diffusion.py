"""The self-diffusion coefficient of the mobile ions of a trajectory and its error, by kinisi.

kinisi fits the mean squared displacement with its full covariance, estimated from the trajectory itself, and samples
the posterior of the slope (McCluskey, Coles, Morgan, J. Chem. Theory Comput. 21, 79 (2025),
doi:10.1021/acs.jctc.4c01249).
kinisi's own variances are too noisy on short runs of few ions: of 40 lattice walks with a known answer (seeds 0 to 39,
32 ions, some 45 hops) some slopes diverged. Here each has the form it has for any random walk and only its size from
the data. That form, the lags, where the diffusive regime begins and BIAS were chosen on those 40 walks; how well the
intervals hold on walks that nothing was chosen on is told in docs/benchmarks.md (experiments/benchmarks/diffusion.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracles.conduction.simulation_cell import SimulationCell
from oracles.conduction.trajectory import Floats, Trajectory

LAGS = 20
LONGEST_LAG = 0.5  # of the run
EARLIEST_START = 1.0  # ps; vibrations are over
LATEST_START = 0.25  # of the run
BIAS = 0.05
BOX = 1e6  # angstrom, wider than any path: kinisi unwraps by itself, and then finds nothing to unwrap
SQUARE_CENTIMETRE_PER_SECOND = 1e-4  # in one square angstrom per picosecond
FEWEST_FRAMES = 2 * LAGS
FEWEST_HOPS = 20.0
LEAST_SIGN = 0.5  # hops; what is less is the slope that a fit finds in vibrations, and tells no length
LARGEST_ERROR = 0.5  # of the diffusivity


@dataclass(frozen=True)
class Diffusion:
    """What one run says. temperature: K. samples: of the diffusivity's posterior, cm^2/s. start: of the diffusive
    regime, ps. squared_displacement: that diffusion gives one ion over the run, angstrom^2. hops: of all ions over the
    run, counted as that over the squared site distance (angstrom); correlated jumps back and forth do not count.
    """

    temperature: float
    picoseconds: float
    samples: Floats
    start: float
    squared_displacement: float
    hops: float
    site_distance: float

    @property
    def diffusivity(self) -> float:
        """cm^2/s."""
        return float(self.samples.mean())

    @property
    def relative_error(self) -> float:
        """Standard deviation over value, the method's bias included."""
        return float(np.hypot(self.samples.std(ddof=1) / self.samples.mean(), BIAS))

    def log_samples(self, rng: np.random.Generator, count: int) -> Floats:
        """Draws [count] of ln(D / (cm^2/s)), the method's bias included."""
        logarithms: Floats = np.log(rng.choice(self.samples, count))
        return logarithms + BIAS * rng.standard_normal(count)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the samples as value and standard deviation."""
        return {
            "temperature": self.temperature,
            "picoseconds": self.picoseconds,
            "diffusivity": self.diffusivity,
            "std": self.relative_error * self.diffusivity,
            "diffusive_after": self.start,
            "squared_displacement": self.squared_displacement,
            "hops": self.hops,
            "site_distance": self.site_distance,
        }


def diffusion_of(cell: SimulationCell, trajectory: Trajectory, temperature: float, seed: int) -> Diffusion:
    """Diffusion of the cell's mobile ions against its framework. Raises ValueError for fewer than FEWEST_FRAMES frames.

    The diffusive regime begins where an ion's mean squared displacement is half a squared site distance, not before
    EARLIEST_START and not after LATEST_START.
    """
    if len(trajectory) < FEWEST_FRAMES:
        raise ValueError(f"{len(trajectory)} frames are too few; {FEWEST_FRAMES} are needed")
    length = (len(trajectory) - 1) * trajectory.interval
    distance = cell.site_distance()
    data = _squared_displacements(cell, trajectory)
    lags, squares = data["da"].coords["time interval"].values, data["da"].values
    reached = lags[squares >= 0.5 * distance**2]
    start = float(np.clip(reached[0] if len(reached) else length, EARLIEST_START, LATEST_START * length))
    samples = _posterior(data, start, seed) * SQUARE_CENTIMETRE_PER_SECOND
    moved = 6 * float(samples.mean()) / SQUARE_CENTIMETRE_PER_SECOND * length
    return Diffusion(
        temperature, length, samples, start, moved, len(cell.mobile) * moved / distance**2, distance
    )


def picoseconds_needed(found: Diffusion) -> float:
    """How long the run should have been to be of use, ps; no longer than it was where it is."""
    shortfalls = (
        found.site_distance**2 / found.squared_displacement,
        FEWEST_HOPS / found.hops,
        (found.relative_error / LARGEST_ERROR) ** 2,
    )
    return found.picoseconds * max(1.0, *shortfalls)


def why_too_short(found: Diffusion) -> str | None:
    """Says so where the run is too short to tell a diffusivity; None where it is long enough."""
    run = f"{found.picoseconds:.3g} ps at {found.temperature:g} K"
    if found.hops < LEAST_SIGN:
        return (
            f"no hop was seen in {run}; a longer run, a higher temperature or vacancies are needed; how much longer "
            "cannot be told"
        )
    needed = picoseconds_needed(found)
    if needed <= found.picoseconds:
        return None
    return (
        f"{run} are too short: {found.hops:.0f} hops (of "
        f"{FEWEST_HOPS:.0f} needed), {found.squared_displacement:.1f} angstrom^2 (of {found.site_distance**2:.1f}), "
        f"diffusivity known to {100 * found.relative_error:.0f} % (of {100 * LARGEST_ERROR:.0f}); about "
        f"{needed:.0f} ps are needed"
    )


def _squared_displacements(cell: SimulationCell, trajectory: Trajectory) -> Any:
    """kinisi's mean squared displacements, after the motion of the framework as a whole."""
    import scipp as sc
    from kinisi.displacement import calculate_msd
    from kinisi.parser import Parser

    paths = trajectory.displacements.astype(float) / BOX
    box = np.broadcast_to(np.eye(3) * BOX, (len(paths), 3, 3))
    framework = np.setdiff1d(np.arange(paths.shape[1]), cell.mobile)
    longest = int(LONGEST_LAG * (len(paths) - 1))
    lags = np.unique(np.linspace(longest / LAGS, longest, LAGS).astype(int))
    parser = Parser(
        coords=sc.array(dims=["time", "particle", "dimension"], values=paths),
        latt=sc.array(dims=["time", "dimension1", "dimension2"], values=box, unit="angstrom"),
        time_step=sc.scalar(trajectory.interval, unit="ps"),
        step_skip=sc.scalar(1),
        dt=sc.array(dims=["time interval"], values=lags * trajectory.interval, unit="ps"),
        specie_indices=sc.array(dims=["particle"], values=cell.mobile),
        drift_indices=sc.array(dims=["particle"], values=framework),
    )
    return _with_smooth_variances(calculate_msd(parser, progress=False), (len(paths) - 1) / longest)


def _with_smooth_variances(data: Any, times_longer: float) -> Any:
    """Replaces kinisi's variance at each lag by one proportional to the lag squared over the independent stretches.

    That is its form for any random walk, of which only the size is taken from the data. The observed ones are noisy:
    the covariance built on them may not be positive, and lends weight to displacements that are too small. kinisi also
    takes the longest lag for the length of the run, which is `times_longer`.
    """
    table = data["da"]
    lags, squares = table.coords["time interval"].values, table.values
    stretches = table.coords["n_samples"].values * times_longer
    scatter = float(np.mean(table.data.variances * table.coords["n_samples"].values / squares**2))
    table.coords["n_samples"].values = stretches
    table.data.variances = scatter * (lags * squares.sum() / lags.sum()) ** 2 / stretches
    return data


def _posterior(data: Any, start: float, seed: int) -> Floats:
    """Samples of the diffusivity, angstrom^2/ps."""
    import scipp as sc
    from kinisi.diffusion import Diffusion as Regression

    regression = Regression(data)
    with _random_state(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regression.bayesian_regression(start_dt=sc.scalar(start, unit="ps"), progress=False)
    slopes: NDArray[np.float64] = np.asarray(regression.gradient.values, dtype=float)
    return slopes / 6


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """kinisi draws from numpy's global generator, which is left as it was found."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)
