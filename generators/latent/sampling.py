"""Crystals from trained weights, under a wish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pymatgen.core as pmg
import torch

from generators.latent.asking import Wish, atoms_of, conditions_of
from generators.latent.autoencoder import Decoding
from generators.latent.tokens import Tokens, crystals_of
from generators.latent.weights import Model
from generators.latent.wyckoff import WyckoffCrystal

BATCH = 128
MOST_ATOMS = 20
"""Of crystals whose number of atoms is not asked."""


class ImpossibleWishError(ValueError):
    """A wish that no crystal can meet, or that these weights do not understand."""


@dataclass
class Tried:
    """How many crystals were drawn, and how many may be."""

    most: int
    number: int = 0


def draw(
    model: Model, wish: Wish, guidance: float, temperature: float, generator: torch.Generator, tried: Tried
) -> Iterator[WyckoffCrystal]:
    """Crystals under a wish; those that miss its elements, formula or number of atoms are left out.

    Ends when `tried.most` were drawn. Raises ImpossibleWishError.
    """
    _check(wish)
    try:
        asked = conditions_of(wish, BATCH, model.scales).joined()
    except ValueError as error:
        raise ImpossibleWishError(str(error)) from error
    while tried.number < tried.most:
        tried.number += BATCH
        noise = torch.randn(BATCH, model.flow.latent, generator=generator)
        latents = model.flow.to_latents(noise, asked, guidance)
        yield from meeting(model, latents, wish, temperature, generator)


def meeting(
    model: Model, latents: torch.Tensor, wish: Wish, temperature: float, generator: torch.Generator
) -> Iterator[WyckoffCrystal]:
    """What latents (N, latent) decode to, where it meets the wish."""
    decoded = model.autoencoder.decode(latents, decoding_of(wish, temperature, MOST_ATOMS), generator)
    yield from crystals_of(decoded[met(decoded, wish)])


def decoding_of(wish: Wish, temperature: float, most_atoms: int) -> Decoding:
    """How the wish bounds every decision of the decoder; `most_atoms` where it asks for no number of atoms."""
    of_formula = tuple(e.symbol for e in pmg.Composition(wish.formula)) if wish.formula else ()
    named = wish.elements or of_formula
    return Decoding(
        temperature=temperature,
        coordinate_temperature=temperature,
        elements=tuple(pmg.Element(symbol).Z for symbol in named),
        groups=() if wish.group is None else (wish.group,),
        most_atoms=most_atoms if wish.atoms is None else wish.atoms,
    )


def met(tokens: Tokens, wish: Wish) -> torch.Tensor:
    """Whether (N) crystals hold the wish's required elements, its formula and number of atoms, and any atom at all."""
    kept = tokens.filled.any(dim=1)
    if wish.atoms is not None:
        kept &= atoms_of(tokens) == wish.atoms
    for symbol in wish.required:
        kept &= (tokens.element == pmg.Element(symbol).Z).any(dim=1)
    if wish.formula:
        asked = pmg.Composition(wish.formula).reduced_formula
        formulas = [c.structure().composition.reduced_formula for c in crystals_of(tokens)]
        kept &= torch.tensor([formula == asked for formula in formulas])
    return kept


def _check(wish: Wish) -> None:
    for symbol in (*wish.elements, *wish.required):
        if not pmg.Element.is_valid_symbol(symbol):
            raise ImpossibleWishError(f"{symbol!r} is no element; write symbols such as Li")
    outside = sorted(set(wish.required) - set(wish.elements or wish.required))
    if outside:
        raise ImpossibleWishError(
            f"{', '.join(outside)} is required but not among the allowed elements; add it there"
        )
    if wish.group is not None and not 1 <= wish.group <= 230:
        raise ImpossibleWishError(f"space group {wish.group} does not exist; they are numbered 1 to 230")
