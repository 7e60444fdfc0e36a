"""From a percolation barrier to a conductivity: log10 sigma = intercept - slope * E / (k T ln 10).

With slope 1 this is the Arrhenius law with a constant prefactor; the slope is fitted because bond-valence
barriers are not true activation energies. Sigma in S/cm, E in eV, T in K.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from materials.base import Bound

BOLTZMANN = 8.617333262e-5  # eV/K
SHIPPED_ION = "Li"
SHIPPED_DIMENSIONS = 3
SHIPPED_FILE = f"bond_valence_calibration_{SHIPPED_ION}.json"
LEAST_ROWS = 8


@dataclass(frozen=True)
class Calibration:
    """A fitted law. std: scatter of measured log10 sigma about it, in decades; it is the error of an
    estimate.

    dimensions: which percolation barrier it was fitted to. temperature: of the measurements, K. rows: pairs
    fitted, of which `limits` are known only as upper or lower limits. source: where the measurements came
    from.
    """

    mobile_ion: str
    dimensions: int
    temperature: float
    intercept: float
    slope: float
    std: float
    rows: int
    limits: int
    source: str

    def estimate(self, barrier: float, temperature: float) -> float:
        """log10 of the conductivity in S/cm for a barrier in eV at a temperature in K."""
        return self.intercept - self.slope * decades(barrier, temperature)


def decades(barrier: float, temperature: float) -> float:
    """The decades by which a barrier (eV) slows a thermally activated process at a temperature (K)."""
    return barrier / (BOLTZMANN * temperature * math.log(10))


def calibrate(
    barriers: Sequence[float],
    values: Sequence[float],
    bounds: Sequence[Bound],
    *,
    mobile_ion: str,
    dimensions: int,
    temperature: float,
    source: str,
) -> Calibration:
    """Fits the law to pairs of a barrier (eV) and a measured log10 conductivity (S/cm) at one temperature
    (K).

    Maximum likelihood with normal scatter, where a limit contributes the probability of lying beyond it
    (Tobin, Econometrica 26, 24 (1958)); the slope is kept at zero or above. Raises ValueError below eight
    exact values or where the barriers are all equal.
    """
    from scipy.optimize import minimize

    x = np.array([decades(barrier, temperature) for barrier in barriers])
    y = np.array(values, dtype=float)
    exact = np.array([bound == Bound.EXACT for bound in bounds], dtype=bool)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("calibration: barriers and conductivities must be finite; leave other rows out")
    if exact.sum() < LEAST_ROWS or np.ptp(x[exact]) == 0:
        raise ValueError(
            f"calibration: {exact.sum()} exact conductivities with {len(set(x[exact]))} different barriers; "
            f"at least {LEAST_ROWS} with different barriers are needed"
        )
    start_slope, start_intercept = np.polyfit(x[exact], y[exact], 1)
    start_std = max(float(np.std(y[exact] - start_intercept - start_slope * x[exact])), 1e-3)
    found = minimize(
        _negative_log_likelihood,
        [start_intercept, max(-start_slope, 0.0), math.log(start_std)],
        args=(x, y, [Bound(bound) for bound in bounds]),
        method="L-BFGS-B",
        bounds=[(None, None), (0.0, None), (math.log(1e-3), math.log(1e2))],
    )
    intercept, slope, log_std = (float(value) for value in found.x)
    return Calibration(
        mobile_ion=mobile_ion,
        dimensions=dimensions,
        temperature=temperature,
        intercept=intercept,
        slope=slope,
        std=math.exp(log_std),
        rows=len(y),
        limits=int((~exact).sum()),
        source=source,
    )


def _negative_log_likelihood(
    parameters: Sequence[float], x: np.ndarray, y: np.ndarray, bounds: Sequence[Bound]
) -> float:
    from scipy.stats import norm

    intercept, slope, log_std = parameters
    z = (y - intercept + slope * x) / math.exp(log_std)
    kinds = np.array([str(bound) for bound in bounds])
    terms = np.where(kinds == "exact", norm.logpdf(z) - log_std, 0.0)
    terms = np.where(kinds == "upper", norm.logcdf(z), terms)
    terms = np.where(kinds == "lower", norm.logsf(z), terms)
    return -float(terms.sum())


def read_calibration(path: Path) -> Calibration:
    """Raises ValueError, naming the file, where it is not a calibration."""
    try:
        found = Calibration(**json.loads(path.read_text(encoding="utf-8")))
        if not all(math.isfinite(v) for v in (found.intercept, found.slope, found.std)):
            raise ValueError("intercept, slope and std must be finite")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not a calibration ({error}); write one with  python -m loop.calibrate"
        ) from error
    return found


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Writes what `read_calibration` reads: JSON, one key a line."""
    path.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def shipped_calibration() -> Calibration:
    """The calibration for lithium that comes with matloop; docs/oracles.conduction.md says how good it is."""
    return read_calibration(Path(str(files("oracles"))) / "data" / SHIPPED_FILE)
