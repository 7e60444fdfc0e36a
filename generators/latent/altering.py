"""Crystals changed at random, so that the autoencoder learns to copy any crystal and not only likely ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from generators.latent.tokens import ELEMENTS, Tokens, in_order, position_table

KEPT = 0.3
"""How often an element stays what it is."""
MOVED, SCALED = 0.04, 0.25
"""Deviations of what is added to free coordinates, and to scaled log lengths."""


def altered(tokens: Tokens, usual: torch.Tensor, generator: torch.Generator) -> Tokens:
    """The crystals with other elements, moved atoms and another lattice; symmetry stays.

    usual: how often (ELEMENTS) each element occurs.
    """
    number = len(tokens)
    drawn = torch.multinomial(usual, number * ELEMENTS, replacement=True, generator=generator)
    kept = torch.rand(number, ELEMENTS, generator=generator) < KEPT
    becomes = torch.where(kept, torch.arange(ELEMENTS), drawn.view(number, ELEMENTS))
    element = becomes.gather(1, tokens.element) * tokens.filled
    free = position_table()[2][tokens.group.unsqueeze(1), tokens.letter]
    moves = MOVED * torch.randn(tokens.parameters.shape, generator=generator) * free
    parameters = torch.where(free, (tokens.parameters + moves) % 1.0, tokens.parameters)
    stretch = SCALED * torch.randn(number, 1, generator=generator).repeat(1, 3)
    stretch[:, 2] += SCALED * torch.randn(number, generator=generator) * (tokens.group < 195)
    lattice = torch.cat([tokens.lattice[:, :3] + stretch, tokens.lattice[:, 3:]], dim=1)
    return in_order(replace(tokens, element=element, parameters=parameters, lattice=lattice))
