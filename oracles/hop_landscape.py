"""What is known of a crystal's vacancies and saddles, and which hops are worth computing next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from oracles.hops import Hop
from oracles.percolation import Link, percolation_energies

WORTHWHILE = 0.01  # eV; a hop that cannot lower the barrier by more is not computed


class Landscape:
    """Energies (eV) of one supercell with a vacancy on a site or a saddle, as they become known.

    sites: each site of the mobile ion -> the one that stands for it by symmetry. hops: all that may be computed.
    dimensions: in how many directions the network must be infinite.
    """

    def __init__(self, sites: Mapping[int, int], hops: Sequence[Hop], dimensions: int) -> None:
        self._sites = sites
        self._hops = hops
        self._wanted = dimensions - 1
        self._vacancies: dict[int, list[float]] = {}
        self._saddles: dict[Hop, float] = {}

    def add_vacancy(self, site: int, energy: float) -> None:
        """A relaxed vacancy on a site; several of sites equal by symmetry are compared."""
        self._vacancies.setdefault(self._sites[site], []).append(energy)

    def add_saddle(self, hop: Hop, energy: float) -> None:
        """The highest energy on the way of a hop."""
        self._saddles[hop] = energy

    @property
    def site_energies(self) -> dict[int, float]:
        """Of each distinct site the lowest energy of its vacancies, above the lowest of all."""
        lowest = self.lowest
        return {site: min(found) - lowest for site, found in sorted(self._vacancies.items())}

    @property
    def lowest(self) -> float:
        """The energy of the best vacancy, from which barriers are counted."""
        return min(map(min, self._vacancies.values()))

    @property
    def spread(self) -> float:
        """The largest difference between vacancies that symmetry makes equal."""
        return max(max(found) - min(found) for found in self._vacancies.values())

    @property
    def known(self) -> list[Hop]:
        """The hops whose saddles are known, in the order of computation."""
        return list(self._saddles)

    def height(self, hop: Hop) -> float:
        """A known saddle above the best vacancy; it is no lower than the ends of its hop."""
        return max(self._saddles[hop] - self.lowest, self._floor(hop))

    def barriers(self) -> tuple[float, float, float]:
        """The barriers in 1, 2 and 3 dimensions by the saddles known; infinite where those are too few."""
        return _barriers({hop: self.height(hop) for hop in self._saddles})

    def is_worthwhile(self, hop: Hop) -> bool:
        """Whether a hop may lower the barrier, were it and all others unknown no higher than their ends."""
        now = self.barriers()[self._wanted]
        heights = {h: self.height(h) if h in self._saddles else self._floor(h) for h in self._hops}
        at_best = _barriers(heights)[self._wanted]
        return math.isinf(now) or (at_best < now - WORTHWHILE and self._floor(hop) < now - WORTHWHILE)

    def _floor(self, hop: Hop) -> float:
        energies = self.site_energies
        return max(energies[self._sites[hop.first]], energies[self._sites[hop.second]])


def _barriers(heights: Mapping[Hop, float]) -> tuple[float, float, float]:
    return percolation_energies(
        Link(*edge, height) for hop, height in heights.items() for edge in hop.equivalents
    )
