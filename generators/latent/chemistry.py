"""What the chemistry that is asked for leaves open to the decoder, so that it never runs out of room for it."""

from __future__ import annotations

import torch

from generators.latent.asking import allowed_elements, required_elements, whole_count
from generators.latent.model import Positions
from generators.latent.tokens import ELEMENTS, LETTERS, MOST_SITES


class Chemistry:
    """The elements of B crystals that grow position by position: which may come, and which have to.

    asked (B, n): joined conditions; a crystal holds at most `most_atoms`.
    """

    def __init__(self, asked: torch.Tensor, positions: Positions, most_atoms: int) -> None:
        self._positions, self._most_atoms = positions, most_atoms
        named = allowed_elements(asked)
        self._allowed = (named | ~named.any(dim=1, keepdim=True)) & (torch.arange(ELEMENTS) > 0)
        self._required = required_elements(asked) & self._allowed
        self._asked_count = whole_count(asked)
        self._used = torch.zeros_like(self._allowed)
        self._sites = 0

    def take(self, element: torch.Tensor, going: torch.Tensor) -> None:
        """Notes the next element (B) of the crystals that are `going` (B)."""
        rows = going.nonzero()[:, 0]
        self._used[rows, element[rows]] = True
        self._sites += 1

    @property
    def missing(self) -> torch.Tensor:
        """How many further elements (B) have to come."""
        required, counted = self._required_missing().sum(dim=1), self._count_missing()
        return torch.maximum(required, counted)

    def groups(self) -> torch.Tensor:
        """Which groups (B, GROUPS) have positions for all that has to come, and at least for one."""
        here = self._positions
        most = most_positions(here.atoms, here.free.any(dim=-1), here.exists, torch.tensor(self._most_atoms))
        fits = most.unsqueeze(0) >= self.missing.clamp(min=1).unsqueeze(1)
        return fits | ~fits.any(dim=1, keepdim=True)

    def room(self, group: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
        """At most how many positions (B, LETTERS) can follow once a letter is taken, `atoms` (B) being there."""
        size, free = self._positions.atoms[group], self._positions.free[group].any(dim=-1)
        left = self._most_atoms - atoms.unsqueeze(1) - size
        again = torch.ones(LETTERS, LETTERS).triu(1).bool() | torch.diag_embed(free)
        later = self._positions.exists[group].unsqueeze(1) & again
        most = most_positions(size.unsqueeze(1), free.unsqueeze(1), later, left)
        return most.clamp(max=MOST_SITES - 1 - self._sites)

    def elements(self, room: torch.Tensor) -> torch.Tensor:
        """Which elements (B, ELEMENTS) may come next, where so many positions (B) can follow."""
        required = self._required_missing()
        number, count, asked = required.sum(dim=1), self._count_missing(), self._asked_count > 0
        old = self.missing <= room
        new = (number <= room) & (~asked | (count > number))
        may = self._used & old.unsqueeze(1) | required | ~self._used & new.unsqueeze(1)
        may = may & self._allowed
        return torch.where(may.any(dim=1, keepdim=True), may, self._allowed)

    def _required_missing(self) -> torch.Tensor:
        return self._required & ~self._used

    def _count_missing(self) -> torch.Tensor:
        return (self._asked_count - self._used.sum(dim=1)).clamp(min=0)


def most_positions(
    size: torch.Tensor, free: torch.Tensor, possible: torch.Tensor, left: torch.Tensor
) -> torch.Tensor:
    """How many of the possible positions (..., LETTERS) fit into so many atoms (...).

    size: atoms on each; free: whether it can be taken again. The small ones first: each that cannot be taken again
    once, then the smallest of the others as often as it fits.
    """
    inf = torch.tensor(torch.inf)
    smallest = torch.where(possible & free, size, inf).amin(dim=-1)
    once = torch.where(possible & ~free & (size < smallest.unsqueeze(-1)), size, inf).sort(dim=-1).values
    sums = once.cumsum(dim=-1)
    fits = sums <= left.unsqueeze(-1)
    rest = left - torch.where(fits, once, 0.0).sum(dim=-1)
    return fits.sum(dim=-1) + (rest / smallest).floor().clamp(min=0)
