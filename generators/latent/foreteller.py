"""What a crystal's properties most likely are, told from its positions, elements and lattice in a millisecond."""

from __future__ import annotations

import torch

from generators.latent.model import Encoder, Positions, Shape
from generators.latent.tokens import Tokens

WIDTH, HEADS, LAYERS, DROPOUT = 96, 4, 3, 0.1
NARROWEST = -3.0
"""Log of the least width of what is foretold, in scaled units; no network of this size knows more exactly."""


class Foreteller(Encoder):
    """An encoder whose numbers are scaled properties (B, P): medians, and log widths of Laplace distributions."""

    def __init__(self, properties: int) -> None:
        shape = Shape(latent=properties, width=WIDTH, heads=HEADS, encoder_layers=LAYERS)
        super().__init__(shape, Positions(WIDTH), DROPOUT)

    def log_likelihood(self, tokens: Tokens, properties: torch.Tensor) -> torch.Tensor:
        """Of the properties (B, P) of the crystals, in nats; 0 where a property is not a number."""
        median, log_width = self(tokens)
        log_width = log_width.clamp(min=NARROWEST)
        away = (properties.nan_to_num(0.0) - median).abs()
        likelihood: torch.Tensor = -(away / log_width.exp() + log_width) * properties.isfinite()
        return likelihood
