"""Crystals changed at random, so that the autoencoder learns to copy any crystal and not only likely ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pymatgen.core as pmg
import torch

from generators.latent.tokens import ELEMENTS, Tokens, position_table
from materials.chemistry import electronegativity

KEPT = 0.3
"""How often an element stays what it is."""
MOVED, SCALED = 0.04, 0.25
"""Deviations of what is added to free coordinates, and to scaled log lengths."""


@cache
def electronegativities() -> torch.Tensor:
    """By atomic number; the order in which elements on one letter are decoded."""
    return torch.tensor([0.0] + [electronegativity(pmg.Element.from_Z(z).symbol) for z in range(1, ELEMENTS)])


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
    return _in_order(replace(tokens, element=element, parameters=parameters, lattice=lattice))


def _in_order(tokens: Tokens) -> Tokens:
    """Positions by letter, then electronegativity; padding stays last."""
    key = tokens.letter * 10 + electronegativities()[tokens.element] + 1e4 * ~tokens.filled
    order = key.argsort(dim=1, stable=True)
    return replace(
        tokens,
        letter=tokens.letter.gather(1, order),
        element=tokens.element.gather(1, order),
        parameters=tokens.parameters.gather(1, order.unsqueeze(-1).expand_as(tokens.parameters)),
    )
