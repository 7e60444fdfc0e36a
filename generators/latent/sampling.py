"""Crystals from trained weights, under a wish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pymatgen.core as pmg
import torch

from generators.latent.asking import Wish, atoms_of, compositions, conditions_of, element_counts
from generators.latent.decoding import Decoding
from generators.latent.manner import Manner
from generators.latent.model import Told
from generators.latent.tokens import ELEMENTS, Tokens, crystals_of
from generators.latent.weights import Model
from materials.base import Crystal
from materials.chemistry import is_charge_balanced
from materials.novelty import why_invalid

BATCH = 64
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
    model: Model, wish: Wish, manner: Manner, generator: torch.Generator, tried: Tried
) -> Iterator[Crystal]:
    """Crystals under a wish; those that miss its chemistry or number of atoms, or that no space takes, are left out.

    Ends when `tried.most` were drawn. Raises ImpossibleWishError.
    """
    _check(wish)
    try:
        asked = conditions_of(wish, BATCH, model.scales).joined()
    except ValueError as error:
        raise ImpossibleWishError(str(error)) from error
    how = decoding_of(wish, manner, MOST_ATOMS)
    while tried.number < tried.most:
        tried.number += BATCH
        decoded = model.autoencoder.decode(invented(model, asked, generator), how, generator)
        crystals = (Crystal(one.structure()) for one in crystals_of(decoded[met(decoded, wish)]))
        yield from (crystal for crystal in crystals if not why_invalid(crystal))


def invented(model: Model, asked: torch.Tensor, generator: torch.Generator) -> Told:
    """Tells conditions (B, n) and points of N(0, I) that are all noise."""
    number = len(asked)
    z = torch.randn(number, model.autoencoder.shape.latent, generator=generator)
    return Told(z, torch.ones(number), asked, torch.zeros(number))


def decoding_of(wish: Wish, manner: Manner, most_atoms: int) -> Decoding:
    """How the wish bounds every decision of the decoder; `most_atoms` where it asks for no number of atoms."""
    return Decoding(
        temperature=manner.temperature,
        nucleus=manner.nucleus,
        coordinate_temperature=manner.coordinate_temperature,
        guidance=manner.guidance,
        groups=() if wish.group is None else (wish.group,),
        most_atoms=most_atoms if wish.atoms is None else wish.atoms,
    )


def met(tokens: Tokens, wish: Wish) -> torch.Tensor:
    """Whether (N) crystals hold any atom at all, and the wish's chemistry and number of atoms."""
    kept = tokens.filled.any(dim=1)
    if wish.atoms is not None:
        kept &= atoms_of(tokens) == wish.atoms
    for symbol in wish.required:
        kept &= (tokens.element == pmg.Element(symbol).Z).any(dim=1)
    if wish.number_of_elements is not None:
        kept &= (element_counts(tokens) > 0).sum(dim=1) == wish.number_of_elements
    if wish.charge_balanced:
        kept &= torch.tensor([is_charge_balanced(composition) for composition in compositions(tokens)])
    if wish.formula:
        asked = pmg.Composition(wish.formula).reduced_formula
        kept &= torch.tensor([composition.reduced_formula == asked for composition in compositions(tokens)])
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
    possible = len(set(wish.elements)) or ELEMENTS
    if wish.number_of_elements is not None and not len(wish.required) <= wish.number_of_elements <= possible:
        raise ImpossibleWishError(
            f"{wish.number_of_elements} different elements cannot be had: {len(wish.required)} are required and "
            f"{possible} allowed"
        )
    if wish.group is not None and not 1 <= wish.group <= 230:
        raise ImpossibleWishError(f"space group {wish.group} does not exist; they are numbered 1 to 230")
