"""The part of a block that says which potential an oracle computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationInfo, field_validator, model_validator

from materials.potential import SHIPPED, Potential, load_potential, potential_version
from oracles.base import OracleSettings


class PotentialSettings(OracleSettings):
    """An oracle that computes with a neural-network potential."""

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
    def _loadable(self) -> PotentialSettings:
        try:
            potential_version(self.potential, self.sha256)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
        return self

    def meaning(self) -> dict[str, Any]:
        """The checkpoint counts by its content, which `model_version` holds, and not by its place."""
        return {
            name: value for name, value in super().meaning().items() if name not in ("potential", "sha256")
        }

    @property
    def fidelity(self) -> str:
        return "potential"

    def model_version(self) -> str:
        return potential_version(self.potential, self.sha256)

    @property
    def energy_source(self) -> str | None:
        return self.model_version() if "energy_per_atom" in self.measures else None

    @property
    def energy_zero(self) -> str | None:
        # All that ship have learned total energies of the Materials Project's PBE, and speak them by default.
        name, _, modal = self.potential.lower().partition(":")
        return (
            "PBE of the Materials Project" if name in SHIPPED and modal in ("", "pbe") else self.energy_source
        )

    def load(self) -> Potential:
        """The potential, loaded once per process."""
        return load_potential(self.potential, self.sha256)
