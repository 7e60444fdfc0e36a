"""What may be asked of the generator, as tensors: from a user's wishes, or drawn from known crystals for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import pymatgen.core as pmg
import torch

from generators.latent.tokens import ELEMENTS, GROUPS, Tokens, position_table

TOLD = 2 / 3
"""Share of the crystals of which anything is told in training."""
CHEMISTRY_TOLD, SYMMETRY_TOLD, ATOMS_TOLD, PROPERTY_TOLD = 0.5, 0.15, 0.3, 0.7
"""How often, of those, each condition is told; formula and group, which say nearly all, seldom."""
LOW, HIGH, BUMPS = -3.0, 4.0, 24
"""Scaled values of properties that are told apart, and how many bumps between them tell a value."""
ATOMS_SCALE = 20
COUNTS = 8
"""Numbers of elements that are told apart; the last stands for more, too."""


@dataclass(frozen=True)
class Conditions:
    """What is asked of B crystals; a row of zeros says nothing.

    allowed, required, formula (B, ELEMENTS: atomic fractions), group (B, GROUPS: one-hot), atoms (B, 2: a twentieth of
    their number, and whether it is asked), count (B, COUNTS: number of elements, one-hot), balanced (B, 1: whether
    charges are to balance), properties (B, P: scaled values, not a number where not asked).
    """

    allowed: torch.Tensor
    required: torch.Tensor
    formula: torch.Tensor
    group: torch.Tensor
    atoms: torch.Tensor
    count: torch.Tensor
    balanced: torch.Tensor
    properties: torch.Tensor

    def __len__(self) -> int:
        return len(self.allowed)

    def __getitem__(self, chosen: torch.Tensor | slice) -> Conditions:
        return Conditions(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def joined(self) -> torch.Tensor:
        """All as (B, n)."""
        told = replace(self, properties=described(self.properties))
        return torch.cat([getattr(told, f.name) for f in fields(self)], dim=1)


def described(properties: torch.Tensor) -> torch.Tensor:
    """Scaled values (B, P) as (B, P (2 + BUMPS)): whether asked, the value, and how near it is to each bump."""
    centers = torch.linspace(LOW, HIGH, BUMPS)
    value = properties.nan_to_num(0.0).clamp(LOW, HIGH).unsqueeze(-1)
    near = torch.exp(-0.5 * ((value - centers) / (centers[1] - centers[0])) ** 2)
    told = torch.cat([torch.ones_like(value), value, near], dim=-1)
    return (told * properties.isfinite().unsqueeze(-1)).flatten(start_dim=1)


def allowed_elements(joined: torch.Tensor) -> torch.Tensor:
    """Which elements (B, ELEMENTS) joined conditions allow; none where they do not say."""
    return joined[:, :ELEMENTS] > 0


def required_elements(joined: torch.Tensor) -> torch.Tensor:
    """Which elements (B, ELEMENTS) joined conditions require."""
    return joined[:, ELEMENTS : 2 * ELEMENTS] > 0


def whole_count(joined: torch.Tensor) -> torch.Tensor:
    """How many different elements (B) joined conditions ask for; 0 where they leave it open."""
    start = 3 * ELEMENTS + GROUPS + 2
    told = joined[:, start : start + COUNTS - 1]  # the last stands for more, too
    return (told * torch.arange(1, COUNTS)).sum(dim=1).long()


def without_properties(joined: torch.Tensor) -> torch.Tensor:
    """Joined conditions (B, n) that ask for chemistry and symmetry alone."""
    chemistry = number_of_conditions(0)
    return torch.cat([joined[:, :chemistry], torch.zeros_like(joined[:, chemistry:])], dim=1)


def nothing_asked(number: int, properties: int) -> Conditions:
    """No condition at all."""
    sizes = (ELEMENTS, ELEMENTS, ELEMENTS, GROUPS, 2, COUNTS, 1)
    parts = [torch.zeros(number, size) for size in sizes]
    parts.append(torch.full((number, properties), torch.nan))
    return Conditions(*parts)


def number_of_conditions(properties: int) -> int:
    """Columns of `Conditions.joined`."""
    return nothing_asked(1, properties).joined().shape[1]


@dataclass(frozen=True)
class Scale:
    """A scalar property the decoder knows, what makes it of the order of one, and between what it mostly lies.

    lowest, highest: the first and the last hundredth of the training values lie beyond.
    """

    name: str
    center: float
    spread: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Wish:
    """What a user asks for; what is left out is free. `properties` by name, in the property's unit."""

    elements: tuple[str, ...] = ()
    """Only these may occur."""
    required: tuple[str, ...] = ()
    """All of these occur."""
    formula: str = ""
    group: int | None = None
    atoms: int | None = None
    number_of_elements: int | None = None
    charge_balanced: bool = False
    properties: Mapping[str, float | torch.Tensor] = field(default_factory=dict)
    """A value for all crystals, or one for each."""


def conditions_of(wish: Wish, number: int, scales: Sequence[Scale]) -> Conditions:
    """The wish, the same for `number` crystals. Raises ValueError for a property the weights do not know."""
    asked = nothing_asked(number, len(scales))
    formula = pmg.Composition(wish.formula).fractional_composition if wish.formula else pmg.Composition()
    named = tuple(element.symbol for element in formula)
    elements, required = wish.elements or named, wish.required or named
    for symbol in elements:
        asked.allowed[:, _number(symbol)] = 1.0
    for symbol in required:
        asked.required[:, _number(symbol)] = 1.0
    for element, share in formula.items():
        asked.formula[:, pmg.Element(element.symbol).Z] = share
    if wish.group is not None:
        asked.group[:, wish.group] = 1.0
    if wish.atoms is not None:
        asked.atoms[:] = torch.tensor([wish.atoms / ATOMS_SCALE, 1.0])
    number_of_elements = wish.number_of_elements
    if elements and set(elements) == set(required):
        number_of_elements = len(set(elements))  # no other can be meant
    if number_of_elements is not None:
        asked.count[:, min(number_of_elements, COUNTS) - 1] = 1.0
    asked.balanced[:] = float(wish.charge_balanced)
    names = [scale.name for scale in scales]
    for name, value in wish.properties.items():
        if name not in names:
            raise ValueError(f"these weights know no {name}; they know {', '.join(names) or 'no property'}")
        k = names.index(name)
        asked.properties[:, k] = (value - scales[k].center) / scales[k].spread
    return asked


def _number(symbol: str) -> int:
    """The atomic number. Raises ValueError for an element beyond those that are told apart."""
    number = int(pmg.Element(symbol).Z)
    if number >= ELEMENTS:
        raise ValueError(f"the latent generator knows no {symbol}; leave it out")
    return number


@dataclass(frozen=True)
class Facts:
    """What is known of B crystals.

    properties (B, P): scaled, not a number where unknown; balanced (B): whether charges balance.
    """

    properties: torch.Tensor
    balanced: torch.Tensor

    def __getitem__(self, chosen: torch.Tensor) -> Facts:
        return Facts(self.properties[chosen], self.balanced[chosen])


def drawn_conditions(tokens: Tokens, facts: Facts, generator: torch.Generator) -> Conditions:
    """Conditions that the crystals meet, some left out at random."""
    number, properties = len(tokens), facts.properties
    asked = nothing_asked(number, properties.shape[1])

    at_all = torch.rand(number, generator=generator) < TOLD

    def told(share: float) -> torch.Tensor:
        return at_all & (torch.rand(number, generator=generator) < share)

    shares = fractions(tokens)
    present = shares > 0
    # Users allow from their own elements up to a dozen more.
    more = torch.rand(number, 1, generator=generator) * 0.12
    others = torch.rand(number, ELEMENTS, generator=generator) < more
    asked.allowed[:] = ((present | others) & told(CHEMISTRY_TOLD).unsqueeze(1)).float()
    kept = torch.rand(number, ELEMENTS, generator=generator) < torch.rand(number, 1, generator=generator)
    asked.required[:] = (present & kept & told(CHEMISTRY_TOLD).unsqueeze(1)).float()
    asked.formula[:] = shares * told(SYMMETRY_TOLD).unsqueeze(1)
    asked.group[:] = torch.nn.functional.one_hot(tokens.group, GROUPS) * told(SYMMETRY_TOLD).unsqueeze(1)
    counted = told(ATOMS_TOLD).float()
    asked.atoms[:] = torch.stack([atoms_of(tokens) / ATOMS_SCALE * counted, counted], dim=1)
    elements = present.sum(dim=1).clamp(1, COUNTS) - 1
    asked.count[:] = torch.nn.functional.one_hot(elements, COUNTS) * told(CHEMISTRY_TOLD).unsqueeze(1)
    asked.balanced[:] = (facts.balanced & told(CHEMISTRY_TOLD)).float().unsqueeze(1)
    for k in range(properties.shape[1]):
        asked.properties[:, k] = torch.where(told(PROPERTY_TOLD), properties[:, k], torch.nan)
    return asked


def site_atoms(tokens: Tokens) -> torch.Tensor:
    """Atoms of the primitive cell (B, S) on each position."""
    _, atoms, _, _ = position_table()
    group = tokens.group.unsqueeze(1).expand_as(tokens.letter)
    return atoms[group, tokens.letter] * tokens.filled


def atoms_of(tokens: Tokens) -> torch.Tensor:
    """Atoms of each primitive cell (B)."""
    return site_atoms(tokens).sum(dim=1)


def element_counts(tokens: Tokens) -> torch.Tensor:
    """Atoms of each element in each primitive cell (B, ELEMENTS)."""
    return torch.zeros(len(tokens), ELEMENTS).scatter_add_(1, tokens.element, site_atoms(tokens))


def fractions(tokens: Tokens) -> torch.Tensor:
    """Atomic fractions (B, ELEMENTS)."""
    counts = element_counts(tokens)
    return counts / counts.sum(dim=1, keepdim=True)


def compositions(tokens: Tokens) -> list[pmg.Composition]:
    """What each primitive cell holds."""
    return [
        pmg.Composition({pmg.Element.from_Z(z): counts[z] for z in range(1, ELEMENTS) if counts[z]})
        for counts in element_counts(tokens).tolist()
    ]
