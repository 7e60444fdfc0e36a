"""Diffusion and conductivity of an ion by molecular dynamics with a neural-network potential."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pymatgen.core as pmg
from pydantic import Field, field_validator

from materials.base import Crystal, content_hash
from materials.evaluation import FailureKind, Request
from materials.potential import UnsupportedElementError, to_atoms
from oracles.base import Resources
from oracles.dynamics import Plan, UnusableRunError, simulate
from oracles.melting import why_not_held
from oracles.one_by_one import Answer, OneByOneOracle, RejectedError
from oracles.potential_choice import PotentialSettings
from oracles.simulation_cell import SimulationCell, simulation_cell
from oracles.trajectory import Trajectory

TIMESTEP = 2.0  # fs
TIMESTEP_WITH_HYDROGEN = 0.5  # fs; a twentieth of the period of an O-H stretch
FEWEST_TEMPERATURES = 3


class MolecularDynamicsSettings(PotentialSettings):
    """Molecular dynamics at several temperatures, extrapolated by Arrhenius' law."""

    kind: Literal["md"] = "md"
    mobile_ion: str = "Li"
    """The element that moves."""
    temperatures: tuple[float, ...] = Field(default=(600.0, 800.0, 1000.0), min_length=FEWEST_TEMPERATURES)
    """Of the simulations, K; at least three."""
    picoseconds: float = Field(default=50.0, gt=0)
    """Of each temperature that count."""
    equilibration: float = Field(default=5.0, ge=0)
    """Picoseconds before them that do not."""
    timestep: float | None = Field(default=None, gt=0, le=5)
    """Femtoseconds; by default 2, and 0.5 where there is hydrogen."""
    supercell: float = Field(default=8.0, gt=0)
    """The cell is repeated until opposite faces are this far apart, angstrom."""
    most_atoms: int = Field(default=200, ge=2)
    """A larger supercell is refused."""
    temperature: float = Field(default=300.0, gt=0)
    """Temperature of diffusivity and conductivity, K."""
    resources: ClassVar[Resources] = Resources(memory=2.0)
    typical_seconds: ClassVar[float] = 20_000.0

    @field_validator("mobile_ion")
    @classmethod
    def _is_element(cls, symbol: str) -> str:
        if not pmg.Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is not the symbol of an element, such as Li")
        return symbol

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if min(temperatures) <= 0 or len(set(temperatures)) < len(temperatures):
            raise ValueError("temperatures must be positive and differ from one another")
        return tuple(sorted(temperatures))

    @property
    def needed_elements(self) -> tuple[str, ...]:
        return (self.mobile_ion,)

    @property
    def measures(self) -> tuple[str, ...]:
        return ("diffusivity", "migration_barrier", "log_ionic_conductivity")

    def build(self) -> MolecularDynamicsOracle:
        return MolecularDynamicsOracle(self)


class MolecularDynamicsOracle(OneByOneOracle):
    """Answers with the ion's diffusivity and conductivity at one temperature, and its activation energy."""

    def __init__(self, settings: MolecularDynamicsSettings) -> None:
        self._settings = settings
        self._potential = settings.load()

    def cell_of(self, request: Request) -> SimulationCell:
        """The supercell that is simulated. Raises RejectedError."""
        settings = self._settings
        if not isinstance(request.material, Crystal):
            message = f"{request.material.formula}: only a crystal has a trajectory"
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
        try:
            self._potential.check_elements(request.material.structure)
        except UnsupportedElementError as error:
            raise RejectedError(FailureKind.UNSUPPORTED_ELEMENT, str(error)) from error
        structure = request.material.structure
        return simulation_cell(structure, settings.mobile_ion, settings.supercell, settings.most_atoms)

    def trajectory(self, request: Request, cell: SimulationCell, temperature: float, folder: Path) -> Trajectory:
        """The trajectory at one temperature (K), with its equilibration, gone on with where `folder` holds a part.

        Raises UnusableRunError.
        """
        plan = self.plan(request, cell, temperature)
        calculator = self._potential.calculator()
        place = folder / f"{temperature:g}K"
        return simulate(
            to_atoms(cell.structure), plan, calculator, place, lambda part: why_not_held(cell, part)
        )

    def plan(self, request: Request, cell: SimulationCell, temperature: float) -> Plan:
        """The run at one temperature (K); its seed follows from candidate, temperature and replicate."""
        settings = self._settings
        hydrogen = "H" in cell.symbols
        timestep = settings.timestep or (TIMESTEP_WITH_HYDROGEN if hydrogen else TIMESTEP)
        seed = int(content_hash(["md", request.candidate.id, temperature, request.replicate]), 16)
        return Plan.lasting(temperature, timestep, settings.equilibration + settings.picoseconds, seed)

    def measure(self, request: Request) -> Answer:
        raise NotImplementedError


@contextmanager
def work_folder(request: Request) -> Iterator[Path]:
    """The folder that outlives an attempt, or a temporary one outside of an executor."""
    if request.folder is not None:
        yield request.folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
