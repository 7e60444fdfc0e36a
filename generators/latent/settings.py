"""The block `kind: latent` of a campaign file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import ValidationInfo, field_validator

from generators.base import GeneratorSettings
from generators.latent.header import checked_header
from materials.settings import InputPath, is_looking
from materials.space import Space

if TYPE_CHECKING:
    from generators.latent.proposing import Latent

KIND: Final = "latent"


class LatentSettings(GeneratorSettings):
    """New crystals from a trained latent space, asked for what the campaign wants and led by its best."""

    kind: Literal["latent"] = KIND
    weights: InputPath | None = None
    """What `python -m generators.latent.train` wrote; left out, the weights that ship."""

    @field_validator("weights")
    @classmethod
    def _of_this_version(cls, weights: Path | None, info: ValidationInfo) -> Path | None:
        if weights is not None and not is_looking(info):
            checked_header(weights)
        return weights

    def build(self, space: Space) -> Latent:
        from generators.latent.proposing import Latent
        from generators.latent.weights import SHIPPED, load

        return Latent(space, load(self.weights or SHIPPED))
