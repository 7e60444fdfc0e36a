"""When hops in a crystal join into a network that reaches to infinity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = tuple[int, int, int]


@dataclass(frozen=True)
class Link:
    """A way between site `first` of the home cell and site `second` of the cell `image`, open above `energy` (eV)."""

    first: int
    second: int
    image: Image
    energy: float


def percolation_energies(links: Iterable[Link]) -> tuple[float, float, float]:
    """The least energies at which the open links make a network infinite in 1, 2 and 3 independent directions.

    Infinity where the links never do. Union-find in which each site knows its cell relative to its root's: a link
    within one network whose cells disagree is a way to an image of itself, so one more direction of infinity.
    """
    ordered = sorted(links, key=lambda link: link.energy)
    network = _Network()
    found = [float("inf")] * 3
    for link in ordered:
        for dimensions in range(network.open(link)):
            found[dimensions] = min(found[dimensions], link.energy)
    return found[0], found[1], found[2]


class _Network:
    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._cell: dict[int, npt.NDArray[np.int64]] = {}  # of a site relative to its parent's
        self._ways: dict[int, list[npt.NDArray[np.int64]]] = {}  # by root: independent lattice vectors

    def open(self, link: Link) -> int:
        """Joins the ends of a link; in how many independent directions their network is infinite now."""
        (first, first_cell), (second, second_cell) = self._root(link.first), self._root(link.second)
        shift = first_cell + np.array(link.image) - second_cell
        if first == second:
            self._ways[first] = _independent([*self._ways[first], shift])
        else:
            self._parent[second], self._cell[second] = first, shift
            self._ways[first] = _independent([*self._ways[first], *self._ways.pop(second)])
        return len(self._ways[first])

    def _root(self, site: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The site that names the network, and the cell of `site` when that of the root is (0, 0, 0)."""
        cell = np.zeros(3, dtype=np.int64)
        if site not in self._parent:
            self._parent[site], self._cell[site], self._ways[site] = site, cell, []
        while self._parent[site] != site:
            cell = cell + self._cell[site]
            site = self._parent[site]
        return site, cell


def _independent(vectors: Sequence[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
    """Vectors of the list that span what all of it spans."""
    kept: list[npt.NDArray[np.int64]] = []
    for vector in vectors:
        if np.linalg.matrix_rank(np.array([*kept, vector])) > len(kept):
            kept.append(vector)
    return kept
