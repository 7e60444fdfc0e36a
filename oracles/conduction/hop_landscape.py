"""What is known of a crystal's vacancies and saddles, and which hops are worth computing next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from oracles.conduction.hops import Hop
from oracles.conduction.percolation import Link, percolation_energies

WORTHWHILE = 0.01  # eV; a hop that cannot lower the barrier by more is not computed


class Landscape:
    """Energies (eV) of one supercell with a vacancy on a site or a saddle, as they become known.

    A supercell is rarely as symmetric as its crystal, so vacancies that symmetry makes equal differ a little. They
    count with their mean, and a saddle with its height over the mean of its own two ends, which share its error (the
    kinetically resolved barrier of Van der Ven, Ceder, Asta, Tepesch, Phys. Rev. B 64, 184307 (2001),
    doi:10.1103/PhysRevB.64.184307).

    sites: each site of the mobile ion -> the one that stands for it by symmetry. hops: all that may be computed.
    dimensions: in how many directions the network must be infinite.
    """

    def __init__(self, sites: Mapping[int, int], hops: Sequence[Hop], dimensions: int) -> None:
        self._sites = sites
        self._hops = hops
        self._wanted = dimensions - 1
        self._vacancies: dict[int, dict[int, float]] = {}
        self._saddles: dict[Hop, float] = {}

    def add_vacancy(self, site: int, number: int, energy: float) -> None:
        """A relaxed vacancy on a copy of a site, the site `number` of the supercell."""
        self._vacancies.setdefault(self._sites[site], {})[number] = energy

    def add_saddle(self, hop: Hop, rise: float) -> None:
        """The highest energy on the way of a hop, above the mean of the hop's own two ends."""
        self._saddles[hop] = rise

    @property
    def site_energies(self) -> dict[int, float]:
        """Of each distinct site the energy of its vacancy above that of the best site."""
        means = {site: fmean(found.values()) for site, found in sorted(self._vacancies.items())}
        lowest = min(means.values())
        return {site: mean - lowest for site, mean in means.items()}

    @property
    def spread(self) -> float:
        """The largest difference between vacancies that symmetry makes equal."""
        return max(max(found.values()) - min(found.values()) for found in self._vacancies.values())

    @property
    def known(self) -> list[Hop]:
        """The hops whose saddles are known, in the order of computation."""
        return list(self._saddles)

    def height(self, hop: Hop) -> float:
        """A known saddle above the best vacancy; it is no lower than the ends of its hop."""
        return max(fmean(self._ends(hop)) + self._saddles[hop], self._floor(hop))

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
        return max(self._ends(hop))

    def _ends(self, hop: Hop) -> tuple[float, float]:
        energies = self.site_energies
        return energies[self._sites[hop.first]], energies[self._sites[hop.second]]


def _barriers(heights: Mapping[Hop, float]) -> tuple[float, float, float]:
    return percolation_energies(
        Link(*edge, height) for hop, height in heights.items() for edge in hop.equivalents
    )
