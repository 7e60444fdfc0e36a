"""Crystals as tensors: one token for each occupied Wyckoff position, most special first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pymatgen.core as pmg
import torch
from torch.nn import functional as F

from generators.latent.wyckoff import Site, WyckoffCrystal, space_group
from materials.chemistry import electronegativity

GROUPS = 231
LETTERS = 27
ELEMENTS = 104
MOST_SITES = 24
LOG_LENGTH, LOG_SPREAD, COSINE_SPREAD = 1.7, 0.4, 0.3
"""What makes lattice parameters of the order of one: centre and spread of log lengths, spread of cosines."""
FEATURES = 16
"""Numbers that describe a Wyckoff position: the map of its first atom (12), free directions (3), log multiplicity."""


@dataclass(frozen=True)
class Tokens:
    """A batch of B crystals of at most S positions, padded; `filled` (B, S) tells what is real.

    group (B), lattice (B, 6: scaled log lengths and cosines), letter, element (B, S), parameters (B, S, 3) in [0, 1).
    """

    group: torch.Tensor
    lattice: torch.Tensor
    letter: torch.Tensor
    element: torch.Tensor
    parameters: torch.Tensor
    filled: torch.Tensor

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, chosen: torch.Tensor | slice) -> Tokens:
        """The chosen crystals, as few columns as they need."""
        parts = {f.name: getattr(self, f.name)[chosen] for f in fields(self)}
        width = max(1, int(parts["filled"].sum(dim=1).max())) if len(parts["filled"]) else 1
        for name in ("letter", "element", "parameters", "filled"):
            parts[name] = parts[name][:, :width]
        return Tokens(**parts)


def joined(*batches: Tokens) -> Tokens:
    """One batch of all crystals of several."""
    width = max(batch.filled.shape[1] for batch in batches)

    def column(name: str) -> torch.Tensor:
        parts = [getattr(batch, name) for batch in batches]
        if name in ("group", "lattice"):
            return torch.cat(parts)
        return torch.cat(
            [F.pad(part, [0, 0] * (part.dim() - 2) + [0, width - part.shape[1]]) for part in parts]
        )

    return Tokens(**{f.name: column(f.name) for f in fields(Tokens)})


@cache
def position_table() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """By group and letter: features (231, 27, 16), atoms of the primitive cell, whether x, y, z are free, existence."""
    features = np.zeros((GROUPS, LETTERS, FEATURES), dtype=np.float32)
    atoms = np.zeros((GROUPS, LETTERS), dtype=np.float32)
    free = np.zeros((GROUPS, LETTERS, 3), dtype=bool)
    exists = np.zeros((GROUPS, LETTERS), dtype=bool)
    for number in range(1, GROUPS):
        group = space_group(number)
        for k, position in enumerate(group.positions):
            atoms[number, k] = position.multiplicity / group.cells
            free[number, k, list(position.free)] = True
            exists[number, k] = True
            features[number, k, :12] = position.maps[0].ravel()
            features[number, k, 12:15] = free[number, k]
            features[number, k, 15] = np.log(atoms[number, k])
    return tuple(torch.from_numpy(a) for a in (features, atoms, free, exists))  # type: ignore[return-value]


def sort_key(crystal: WyckoffCrystal, site: Site) -> tuple[int, float, tuple[float, ...]]:
    """Positions in the order in which they are decoded: by letter, electronegativity, place."""
    order = space_group(crystal.group).letters[site.letter]
    return order, electronegativity(site.symbol), site.parameters


@cache
def electronegativities() -> torch.Tensor:
    """By atomic number; the order in which elements on one letter are decoded."""
    return torch.tensor([0.0] + [electronegativity(pmg.Element.from_Z(z).symbol) for z in range(1, ELEMENTS)])


def in_order(tokens: Tokens) -> Tokens:
    """Positions by letter, then electronegativity, as `sort_key` has them; padding stays last."""
    key = tokens.letter * 10 + electronegativities()[tokens.element] + 1e4 * ~tokens.filled
    order = key.argsort(dim=1, stable=True)
    return replace(
        tokens,
        letter=tokens.letter.gather(1, order),
        element=tokens.element.gather(1, order),
        parameters=tokens.parameters.gather(1, order.unsqueeze(-1).expand_as(tokens.parameters)),
        filled=tokens.filled.gather(1, order),
    )


def tokens_of(crystals: Sequence[WyckoffCrystal]) -> Tokens:
    """The crystals as tensors; each holds at most MOST_SITES positions."""
    number, width = len(crystals), max(len(c.sites) for c in crystals)
    letter, element = (np.zeros((number, width), dtype=np.int64) for _ in range(2))
    parameters = np.zeros((number, width, 3), dtype=np.float32)
    filled = np.zeros((number, width), dtype=bool)
    for row, crystal in enumerate(crystals):
        for column, site in enumerate(sorted(crystal.sites, key=lambda s: sort_key(crystal, s))):
            letter[row, column] = space_group(crystal.group).letters[site.letter]
            element[row, column] = pmg.Element(site.symbol).Z
            parameters[row, column] = site.parameters
            filled[row, column] = True
    lattice = np.array([scaled_lattice(c) for c in crystals], dtype=np.float32)
    group = np.array([c.group for c in crystals], dtype=np.int64)
    return Tokens(*(torch.from_numpy(a) for a in (group, lattice, letter, element, parameters, filled)))


def crystals_of(tokens: Tokens) -> list[WyckoffCrystal]:
    """The crystals of a batch, their lattices as their groups demand."""
    found = []
    for row in range(len(tokens)):
        group = space_group(int(tokens.group[row]))
        sites = [
            Site(
                pmg.Element.from_Z(int(tokens.element[row, k])).symbol,
                group.positions[int(tokens.letter[row, k])].letter,
                tuple(float(v) for v in tokens.parameters[row, k]),  # type: ignore[arg-type]
            )
            for k in range(int(tokens.filled[row].sum()))
        ]
        lengths, angles = lattice_of(group.number, tokens.lattice[row].double().numpy())
        found.append(WyckoffCrystal(group.number, lengths, angles, tuple(sites)))
    return found


def scaled_lattice(crystal: WyckoffCrystal) -> npt.NDArray[np.float64]:
    """Lengths and angles as six numbers of the order of one."""
    logs = (np.log(crystal.lengths) - LOG_LENGTH) / LOG_SPREAD
    return np.concatenate([logs, np.cos(np.radians(crystal.angles)) / COSINE_SPREAD])


Triple = tuple[float, float, float]


def lattice_of(group: int, scaled: npt.NDArray[np.float64]) -> tuple[Triple, Triple]:
    """Lengths (angstrom) and angles (degrees) that keep what the group's crystal system demands."""
    a, b, c = np.exp(np.clip(scaled[:3], -6, 6) * LOG_SPREAD + LOG_LENGTH)
    alpha, beta, gamma = np.degrees(np.arccos(np.clip(scaled[3:] * COSINE_SPREAD, -0.95, 0.95)))
    if group >= 195:
        a = b = c = float(np.cbrt(a * b * c))
    elif group >= 75:
        a = b = float(np.sqrt(a * b))
    if group >= 16:
        alpha = beta = gamma = 90.0
        if 143 <= group < 195:
            gamma = 120.0
    elif group >= 3:
        alpha = gamma = 90.0
    return (float(a), float(b), float(c)), (float(alpha), float(beta), float(gamma))


def free_lattice(group: int) -> tuple[bool, ...]:
    """Which of the six lattice parameters a group leaves free (equal ones all count)."""
    return (True, True, True, group < 3, group < 16, group < 3)
