"""The part of a block that says which potential an oracle computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from materials.potential import SHIPPED, Potential, load_potential, potential_version
from materials.settings import Settings
from oracles.base import OracleSettings


class PotentialChoice(Settings):
    """A neural-network potential."""

    potential: str = "7net-0"
    """A shipped name (7net-0, 7net-l3i5, 7net-mf-0), or a checkpoint file with its `sha256`."""
    sha256: str | None = None
    """The checksum of the checkpoint file; needed, because loading one runs its code."""

    @field_validator("potential")
    @classmethod
    def _beside_the_campaign_file(cls, potential: str, info: ValidationInfo) -> str:
        if potential.partition(":")[0].lower() in SHIPPED:
            return potential
        beside = Path((info.context or {}).get("folder") or ".") / Path(potential).expanduser()
        return str(beside.resolve()) if beside.is_file() else potential

    @model_validator(mode="after")
    def _loadable(self) -> Self:
        try:
            potential_version(self.potential, self.sha256)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
        return self

    def meaning(self) -> dict[str, Any]:
        """The checkpoint counts by its content, which `potential_version` holds, and not by its place."""
        return {
            name: value for name, value in super().meaning().items() if name not in ("potential", "sha256")
        }

    @property
    def potential_version(self) -> str:
        """Names the weights: equal versions compute the same."""
        return potential_version(self.potential, self.sha256)

    def load(self) -> Potential:
        """The potential, loaded once per process."""
        return load_potential(self.potential, self.sha256)


class PotentialSettings(PotentialChoice, OracleSettings):
    """An oracle that computes with a neural-network potential."""

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        return self.potential_version

    @property
    def energy_source(self) -> str | None:
        return self.model_version() if "energy_per_atom" in self.measures else None
