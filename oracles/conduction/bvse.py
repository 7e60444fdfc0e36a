"""How easily an ion percolates through a crystal: bond-valence site energies, computed with bvlain.

Source: Adams, Prasada Rao, Phys. Status Solidi A 208, 1746 (2011), doi:10.1002/pssa.201001116, for the
energies; bvlain (Dembitskiy et al.) for their evaluation and the search of the percolation energy. An
evaluation is a matter of seconds; it treats the framework as rigid and one ion at a time, and ranks materials
rather than predicting them.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from materials.base import Bound, Crystal, Measurement
from materials.evaluation import FailureKind, Request
from materials.properties import property_named
from materials.settings import InputPath
from oracles.conduction.calibration import (
    SHIPPED_DIMENSIONS,
    SHIPPED_ION,
    Calibration,
    read_calibration,
    shipped_calibration,
)
from oracles.conduction.framework import Framework, framework_of
from oracles.conduction.mobile_ion import MobileIonSettings
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError

if TYPE_CHECKING:
    from bvlain import Lain

CUTOFF = 8.0  # angstrom, and
NEIGHBOURS = (
    60  # ions a grid point feels: 10 and 100 move no barrier of 20 known phases by more than one step
)
GRID_POINTS = (
    64_000  # at most: about 400 MB; a cell above 512 cubic angstrom gets a coarser grid than asked for
)
COARSEST = 0.5  # angstrom; a coarser grid misses the bottlenecks
GRID_ERROR = 0.03  # eV; root mean square against a spacing of 0.12 angstrom, 32 lithium phases


class BondValenceSettings(MobileIonSettings):
    """Percolation barriers by bond-valence site energies, and a conductivity estimated from them.

    The shipped calibration knows lithium only, so without one of their own other ions get barriers and no
    conductivity.
    """

    kind: Literal["bvse"] = "bvse"
    dimensions: Literal[1, 2, 3] = 3
    """Independent directions in which its network must reach to infinity."""
    temperature: float = Field(default=300.0, gt=0)
    """Temperature of the conductivity, K."""
    resolution: float = Field(default=0.2, ge=0.1, le=0.5)
    """Grid spacing, angstrom."""
    ceiling: float = Field(default=3.0, ge=0.5, le=10.0)
    """A material that percolates only above it gets it as a lower bound of the barrier, eV."""
    calibration: InputPath | None = None
    """A file written by `python -m loop.calibrate`; by default the shipped one."""
    typical_seconds: ClassVar[float] = 3.0

    @model_validator(mode="after")
    def _law_of_this_ion(self) -> BondValenceSettings:
        self.law()
        return self

    @property
    def measures(self) -> tuple[str, ...]:
        shipped = self.mobile_ion == SHIPPED_ION and self.dimensions == SHIPPED_DIMENSIONS
        calibrated = self.calibration is not None or shipped
        return ("migration_barrier", *(["log_ionic_conductivity"] if calibrated else []))

    @property
    def fidelity(self) -> str:
        return "bond_valence"

    def model_version(self) -> str:
        return f"bvlain {version('bvlain')}, {self.law()}"

    def law(self) -> Calibration | None:
        """The calibration in force; None for an ion without one. Raises ValueError for one of another ion."""
        if "log_ionic_conductivity" not in self.measures:
            return None
        law = shipped_calibration() if self.calibration is None else read_calibration(self.calibration)
        if law.mobile_ion != self.mobile_ion:
            raise ValueError(
                f"{self.calibration}: made for {law.mobile_ion}, but mobile_ion is {self.mobile_ion}"
            )
        if law.dimensions != self.dimensions:
            raise ValueError(
                f"the calibration in force was made for barriers in {law.dimensions} dimensions, not {self.dimensions};"
                " name one of your own (calibration: FILE), made by  python -m loop.calibrate"
            )
        return law

    def build(self) -> BondValenceOracle:
        return BondValenceOracle(self)


class BondValenceOracle(OneByOneOracle):
    """Measures the percolation barriers of one ion and estimates its conductivity."""

    def __init__(self, settings: BondValenceSettings) -> None:
        self._settings = settings
        self._law = settings.law()

    def measure(self, request: Request) -> Answer:
        settings = self._settings
        if not isinstance(request.material, Crystal):
            raise RejectedError(
                FailureKind.UNSUPPORTED_MATERIAL, f"{request.material.formula}: only a crystal has pathways"
            )
        framework = framework_of(request.material.structure, settings.mobile_ion)
        spacing = grid_spacing(framework, settings.resolution)
        barriers = percolation_barriers(framework, spacing, settings.ceiling)
        barrier = barriers[settings.dimensions - 1]
        provenance: dict[str, Any] = {
            "barriers": {f"{i}D": e if math.isfinite(e) else None for i, e in enumerate(barriers, start=1)},
            "dimensions": settings.dimensions,
            "charges": dict(framework.charges),
            "grid_spacing": spacing,
            "bvlain": version("bvlain"),
        }
        if self._law is not None:
            provenance["calibration"] = vars(self._law)
        return Answer(tuple(self._measurements(request, barrier)), provenance=provenance)

    def _measurements(self, request: Request, barrier: float) -> list[Measurement]:
        settings = self._settings
        percolates = math.isfinite(barrier)
        value = barrier if percolates else settings.ceiling
        measurements = [
            Measurement(
                property="migration_barrier",
                value=value,
                unit=property_named("migration_barrier").unit,
                fidelity=settings.fidelity,
                oracle=request.oracle,
                std=GRID_ERROR,
                bound=Bound.EXACT if percolates else Bound.LOWER,
            )
        ]
        if self._law is not None:
            found = self._law.estimate(value, settings.temperature)
            lowest = property_named("log_ionic_conductivity").possible[0]
            estimate = Measurement(
                property="log_ionic_conductivity",
                value=max(found, lowest),
                unit=property_named("log_ionic_conductivity").unit,
                fidelity=settings.fidelity,
                oracle=request.oracle,
                std=self._law.std,
                bound=Bound.EXACT if percolates and found >= lowest else Bound.UPPER,
                conditions={"temperature": settings.temperature},
            )
            measurements.append(estimate)
        return measurements


def grid_spacing(framework: Framework, resolution: float) -> float:
    """The spacing (angstrom) that keeps within GRID_POINTS. Raises RejectedError for too large a cell."""
    volume = float(framework.structure.volume)
    spacing = max(resolution, float((volume / GRID_POINTS) ** (1 / 3)))
    if spacing > COARSEST:
        raise RejectedError(
            FailureKind.UNSUPPORTED_MATERIAL,
            f"{framework.structure.formula}: a primitive cell of {volume:.0f} cubic angstrom is too large",
        )
    return spacing


def percolation_barriers(framework: Framework, spacing: float, ceiling: float) -> tuple[float, float, float]:
    """The least energy (eV) above the lowest site at which the ion's region is infinite in 1, 2, 3
    dimensions.

    Infinity where that is above the ceiling (eV). Raises RejectedError (unsupported_element) where bvlain has
    no parameters for an ion beside the mobile one, and (not_finite) for energies that are not numbers.
    """
    sign = "+" if framework.mobile_charge > 0 else "-"
    ion = f"{framework.mobile_ion}{abs(framework.mobile_charge)}{sign}"
    lain = _lain()
    lain.read_structure(framework.structure, oxi_check=False)
    try:
        # bvlain prints before it raises, and adds up neighbours beyond the cutoff as 0 * infinity.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(divide="ignore", invalid="ignore"):
            energies = lain.bvse_distribution(mobile_ion=ion, r_cut=CUTOFF, resolution=spacing, k=NEIGHBOURS)
    except KeyError as error:
        others = ", ".join(str(s) for s in framework.structure.composition.elements)
        raise RejectedError(
            FailureKind.UNSUPPORTED_ELEMENT, f"bvlain has no parameters for {ion} beside {others} ({error})"
        ) from error
    if not np.isfinite(energies).all():
        formula = framework.structure.formula
        raise RejectedError(
            FailureKind.NOT_FINITE, f"{formula}: bond-valence site energies that are not numbers"
        )
    found = lain.percolation_barriers(encut=ceiling)
    return float(found["E_1D"]), float(found["E_2D"]), float(found["E_3D"])


def framework_barriers(framework: Framework, settings: BondValenceSettings) -> tuple[float, float, float]:
    """`percolation_barriers` on the grid that the settings ask for."""
    return percolation_barriers(framework, grid_spacing(framework, settings.resolution), settings.ceiling)


def _lain() -> Lain:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bvlain import Lain
    return Lain(verbose=False)
