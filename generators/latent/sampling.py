"""Crystals from trained weights, under a wish."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

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
LIKELIEST = 0.125
"""Share of what is drawn under a wish for properties, and meets its chemistry, that is kept."""
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

    Where properties are wished for, of each batch the LIKELIEST share to have them is kept. Ends when
    `tried.most` were drawn. Raises ImpossibleWishError.
    """
    _check(wish)
    try:
        asked = conditions_of(wish, BATCH, model.scales)
    except ValueError as error:
        raise ImpossibleWishError(str(error)) from error
    how = decoding_of(wish, manner, MOST_ATOMS)
    while tried.number < tried.most:
        tried.number += BATCH
        decoded = model.autoencoder.decode(invented(model, asked.joined(), generator), how, generator)
        rows, number = likeliest(model, decoded, asked.properties[0], met(decoded, wish))
        crystals = (Crystal(crystals_of(decoded[k : k + 1])[0].structure()) for k in rows)
        yield from islice((crystal for crystal in crystals if not why_invalid(crystal)), number)


def invented(model: Model, asked: torch.Tensor, generator: torch.Generator) -> Told:
    """Tells conditions (B, n) and points of N(0, I) that are all noise."""
    number = len(asked)
    z = torch.randn(number, model.autoencoder.shape.latent, generator=generator)
    return Told(z, torch.ones(number), asked, torch.zeros(number))


@torch.no_grad()
def likeliest(
    model: Model, tokens: Tokens, wanted: torch.Tensor, kept: torch.Tensor
) -> tuple[list[int], int]:
    """The rows of the kept crystals (N), those first that most likely have the properties wanted (P); how many to take.

    wanted: scaled, not a number where all will do; then all are taken, as they come.
    """
    rows = kept.nonzero()[:, 0]
    if not bool(wanted.isfinite().any()):
        return rows.tolist(), len(rows)
    likelihood = model.foreteller.log_likelihood(tokens[rows], wanted.expand(len(rows), -1)).sum(dim=1)
    return rows[likelihood.argsort(descending=True)].tolist(), math.ceil(LIKELIEST * len(rows))


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
    required, allowed = set(wish.required), set(wish.elements)
    if outside := sorted(required - (allowed or required)):
        raise ImpossibleWishError(
            f"{', '.join(outside)} is required but not among the allowed elements; add it there"
        )
    possible = len(allowed) or ELEMENTS
    if wish.number_of_elements is not None and not len(required) <= wish.number_of_elements <= possible:
        raise ImpossibleWishError(
            f"{wish.number_of_elements} different elements cannot be had: {len(required)} are required and "
            f"{possible} allowed"
        )
    _check_formula(wish)
    for name, value in wish.properties.items():
        if not bool(torch.as_tensor(value).isfinite().all()):
            raise ImpossibleWishError(f"{name} cannot be {value}; give a number")
    if wish.group is not None and not 1 <= wish.group <= 230:
        raise ImpossibleWishError(f"space group {wish.group} does not exist; they are numbered 1 to 230")


def _check_formula(wish: Wish) -> None:
    if not wish.formula:
        return
    try:
        named = {element.symbol for element in pmg.Composition(wish.formula).elements}
    except ValueError as error:
        raise ImpossibleWishError(str(error)) from error
    allowed, number = set(wish.elements) or named, wish.number_of_elements
    if not set(wish.required) <= named <= allowed or number not in (None, len(named)):
        raise ImpossibleWishError(
            f"{wish.formula} holds {', '.join(sorted(named))}, which the other wishes for elements do not allow; "
            "leave those out"
        )
