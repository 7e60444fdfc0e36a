"""The block `kind: latent` of a campaign file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from generators.base import GeneratorSettings
from materials.settings import InputPath
from materials.space import Space

if TYPE_CHECKING:
    from generators.latent.proposing import Latent

KIND: Final = "latent"


class LatentSettings(GeneratorSettings):
    """New crystals from a trained latent space, asked for what the campaign wants and led by its best."""

    kind: Literal["latent"] = KIND
    weights: InputPath | None = None
    """What `python -m generators.latent.train` wrote; left out, the weights that ship."""

    def build(self, space: Space) -> Latent:
        from generators.latent.proposing import Latent
        from generators.latent.weights import SHIPPED, load

        return Latent(space, load(self.weights or SHIPPED))
