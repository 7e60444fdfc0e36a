"""Diffusion and conductivity of an ion by molecular dynamics with a neural-network potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from materials.batched_relaxation import can_batch
from oracles.base import OracleSettings, Resources
from oracles.conduction.diffusion import FEWEST_FRAMES
from oracles.conduction.dynamics import Plan
from oracles.conduction.mobile_ion import MobileIonSettings
from oracles.potential_choice import PotentialSettings

if TYPE_CHECKING:
    from oracles.conduction.molecular_dynamics import MolecularDynamicsOracle

TIMESTEP = 2.0  # fs
TIMESTEP_WITH_HYDROGEN = 0.5  # fs; a twentieth of the period of an O-H stretch
FEWEST_TEMPERATURES = 3
BATCH = 8
"""Evaluations handed to a GPU at once: some thousand atoms."""
SECONDS_PER_STEP = 0.4  # of some fifty atoms on one core; a GPU's is learned from what evaluations took
WALLTIME = 86_400.0  # a day: over twice what the default temperatures take for some fifty atoms on one core


class MolecularDynamicsSettings(MobileIonSettings, PotentialSettings):
    """Molecular dynamics at several temperatures, extrapolated by Arrhenius' law."""

    kind: Literal["md"] = "md"
    temperatures: tuple[float, ...] = (600.0, 800.0, 1000.0)
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
    walltime: float | None = Field(default=WALLTIME, gt=0)
    """Seconds after which one evaluation is given up; asked again, it goes on from its last checkpoint."""

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if len(temperatures) < FEWEST_TEMPERATURES:
            raise ValueError(
                f"{len(temperatures)} given; at least {FEWEST_TEMPERATURES} tell an activation energy"
            )
        if min(temperatures) <= 0 or len(set(temperatures)) < len(temperatures):
            raise ValueError("temperatures must be positive and differ from one another")
        return tuple(sorted(temperatures))

    @model_validator(mode="after")
    def _long_enough(self) -> MolecularDynamicsSettings:
        plan = Plan.lasting(self.temperature, self.timestep or TIMESTEP, self.picoseconds, 0)
        if plan.frames < FEWEST_FRAMES:
            least = FEWEST_FRAMES * plan.interval
            raise ValueError(
                f"picoseconds: {least:g} ps are the least that can be looked at, not {self.picoseconds:g}; "
                "ions hop in tens of picoseconds"
            )
        return self

    @property
    def batched(self) -> bool:
        """Whether the runs of several evaluations are made together, on a GPU."""
        return self.device != "cpu" and self.is_sevennet and can_batch()

    @property
    def preferred_batch(self) -> int:
        return BATCH if self.batched else 1

    @property
    def resources(self) -> Resources:  # type: ignore[override]  # depends on the machine
        return Resources(memory=2.0, gpus=int(self.takes_gpu))

    @property
    def typical_seconds(self) -> float:  # type: ignore[override]  # depends on what is asked
        picoseconds = len(self.temperatures) * (self.equilibration + self.picoseconds)
        return picoseconds * 1000 / (self.timestep or TIMESTEP) * SECONDS_PER_STEP

    @property
    def continues(self) -> bool:
        return True

    @property
    def measures(self) -> tuple[str, ...]:
        return ("diffusivity", "activation_energy", "log_ionic_conductivity")

    def misfit(self, earlier: Sequence[OracleSettings]) -> str | None:
        return self.why_strained(earlier)

    def build(self) -> MolecularDynamicsOracle:
        from oracles.conduction.molecular_dynamics import MolecularDynamicsOracle

        return MolecularDynamicsOracle(self)
