"""Computes the hops of one crystal until they carry a vacancy through it, and keeps each in a file on the way."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pymatgen.core as pmg

from materials.base import Crystal
from materials.calculators import CalculatorSource
from materials.evaluation import FailureKind
from materials.relaxation import NonFiniteEnergy, Relaxation, RelaxationExploded, relax
from oracles.conduction.elastic_band import Band, Positions, Supercell, climb, images_for, one_place
from oracles.conduction.hop_landscape import Landscape
from oracles.conduction.hop_records import HopRecords, name_of
from oracles.conduction.hops import (
    Hop,
    distinct_hops,
    distinct_sites,
    primitive_cell,
    rattled,
    smallest_supercell,
)
from oracles.conduction.percolation import Link, percolation_energies
from oracles.one_by_one import RejectedError

if TYPE_CHECKING:
    from oracles.conduction.neb import NebSettings

LONGER = 1.3  # times the longest hop that percolation needs: longer ones are not tried
DEEPER = 0.001  # eV/atom; a crystal that falls so far when its symmetry is broken was on a saddle
NUMERICAL_ERROR = 0.03  # eV; of the supercell, the force limit and the number of images


@dataclass(frozen=True)
class Found:
    """Barriers in 1, 2 and 3 dimensions, infinite where unknown, and their standard deviation, eV.

    path: a file with the images of the hop whose saddle is the barrier.
    """

    barriers: tuple[float, float, float]
    std: float
    path: Path
    provenance: Mapping[str, Any]


class Survey:
    """The hops of one crystal; each vacancy and hop is computed once, also by an evaluation that is begun again.

    folder: where checkpoint, log and paths are kept; None for a temporary one.
    """

    def __init__(
        self,
        structure: pmg.Structure,
        settings: NebSettings,
        potential: CalculatorSource,
        folder: Path | None,
    ) -> None:
        self._settings = settings
        self._potential = potential
        self._formula = structure.composition.reduced_formula
        folder = Path(tempfile.mkdtemp(prefix="neb")) if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        self._records = HopRecords.read(folder) or self._begun(structure, folder)
        self._unit = self._records.unit
        self._cell = Supercell.of(self._unit, self._records.matrix)

    def run(self) -> Found:
        """Raises RejectedError where the hops do not percolate, are too many, or do not converge."""
        settings = self._settings
        hops = self._hops()
        sites = distinct_sites(self._unit, settings.mobile_ion)
        landscape = Landscape(sites, hops, settings.dimensions)
        for site in sorted(set(sites.values())):
            self._vacancy(self._cell.number_of(site), landscape)
        for number, hop in enumerate(hops, start=1):
            if landscape.is_worthwhile(hop):
                self._records.log(f"hop {number} of {len(hops)}: {hop.length:.2f} angstrom")
                self._saddle(hop, landscape)
        return Found(
            landscape.barriers(),
            math.hypot(NUMERICAL_ERROR, landscape.spread),
            self._path(landscape),
            self._provenance(hops, landscape),
        )

    def _hops(self) -> list[Hop]:
        """The hops that may be needed: all up to a little over the length at which they percolate."""
        settings = self._settings
        hops = distinct_hops(self._unit, settings.mobile_ion, settings.longest_hop)
        enough = percolation_energies(Link(*edge, hop.length) for hop in hops for edge in hop.equivalents)
        needed = enough[settings.dimensions - 1]
        if not math.isfinite(needed):
            raise RejectedError(
                FailureKind.NO_PERCOLATION,
                f"{self._formula}: no hops of {settings.mobile_ion} up to {settings.longest_hop:g} angstrom lead "
                f"through the crystal in {settings.dimensions} dimension(s); raise longest_hop, or ask for fewer "
                "dimensions",
            )
        hops = [hop for hop in hops if hop.length <= LONGER * needed]
        if len(hops) > settings.most_hops:
            raise RejectedError(
                FailureKind.UNSUPPORTED_MATERIAL,
                f"{self._formula}: {len(hops)} symmetry-distinct hops of {settings.mobile_ion} may matter, more than "
                f"most_hops {settings.most_hops}; raise it, or ask for fewer dimensions",
            )
        return hops

    def _vacancy(self, number: int, landscape: Landscape) -> Positions:
        """Positions of all sites of the supercell after relaxation without the site `number`."""
        known = self._records.vacancies
        if str(number) not in known:
            relaxation = self._relaxed(
                self._cell.without(number), f"vacancy on site {number}", self._settings.fmax / 2
            )
            positions = relaxation.structure.cart_coords.tolist()
            positions.insert(number, self._cell.structure.cart_coords[number].tolist())
            energy = relaxation.energy_per_atom * len(relaxation.structure)
            known[str(number)] = {"energy": energy, "positions": positions}
            self._records.save()
        positions = np.array(known[str(number)]["positions"])
        if self._cell.is_filled(number, positions):
            raise self._unstable(self._cell.unit_site(number))
        landscape.add_vacancy(self._cell.unit_site(number), number, known[str(number)]["energy"])
        return positions

    def _unstable(self, site: int) -> RejectedError:
        # Symmetry would make a free hop of every way out of such a site, but it lies on a saddle between them.
        return RejectedError(
            FailureKind.UNSUPPORTED_MATERIAL,
            f"{self._formula}: a vacancy on site {site} of the primitive cell is not stable, a neighbour falls into "
            "it, so there are no separate hops to compute; use molecular dynamics",
        )

    def _saddle(self, hop: Hop, landscape: Landscape) -> None:
        begin, end = self._cell.ends(
            (hop.first, hop.second, hop.image), lambda number: self._vacancy(number, landscape)
        )
        if name_of(hop) not in self._records.hops:
            if one_place(begin, end):
                raise self._unstable(hop.first)
            band = self._band(hop, begin, end)
            self._write_path(hop, band)
            self._keep(hop, band)
        found = self._records.hops[name_of(hop)]
        landscape.add_saddle(hop, (found["forward"] + found["backward"]) / 2)

    def _band(self, hop: Hop, begin: Any, end: Any) -> Band:
        settings = self._settings
        images = images_for(hop.length, settings.image_spacing)
        band = self._climbed(begin, end, images)
        if band.converged and band.unseen > NUMERICAL_ERROR:
            self._records.log(
                f"{images} images may miss {band.unseen:.3f} eV of the summit, so more are taken"
            )
            band = self._climbed(begin, end, 2 * images + 1)
        if not band.converged:
            raise RejectedError(
                FailureKind.NOT_CONVERGED,
                f"{self._formula}: the band of a hop of {hop.length:.2f} angstrom has a force of {band.max_force:.2g} "
                f"eV/angstrom left (fmax {settings.fmax:g}) after {band.steps} steps; raise steps, or lower "
                "image_spacing where the path is bent",
            )
        return band

    def _climbed(self, begin: Any, end: Any, images: int) -> Band:
        settings = self._settings
        with self._records.log_file.open("a", encoding="utf-8", buffering=1) as log:
            return climb(
                begin,
                end,
                self._potential.calculator,
                images=images,
                fmax=settings.fmax,
                steps=settings.steps,
                log=log,
            )

    def _keep(self, hop: Hop, band: Band) -> None:
        numbers = self._cell.number_of(hop.first), self._cell.number_of(hop.second, hop.image)
        ends = [float(self._records.vacancies[str(n)]["energy"]) for n in numbers]
        saddle = max([*band.energies, *ends])
        self._records.hops[name_of(hop)] = {
            "first": hop.first,
            "second": hop.second,
            "image": list(hop.image),
            "length": hop.length,
            "multiplicity": len(hop.equivalents),
            "forward": saddle - ends[0],
            "backward": saddle - ends[1],
            "images": [energy - ends[0] for energy in band.energies],
            "unseen": band.unseen,
            "max_force": band.max_force,
            "steps": band.steps,
        }
        self._records.log(f"barrier {saddle - ends[0]:.3f} eV forward, {saddle - ends[1]:.3f} eV backward")
        self._records.save()

    def _relaxed(self, structure: pmg.Structure, what: str, fmax: float) -> Relaxation:
        steps = self._settings.steps
        try:
            found = relax(structure, self._potential, fmax=fmax, steps=steps, cell=False)
        except RelaxationExploded as error:
            raise RejectedError(FailureKind.EXPLODED, f"{what}: {error}") from error
        except NonFiniteEnergy as error:
            raise RejectedError(FailureKind.NOT_FINITE, f"{what}: {error}") from error
        if not found.converged:
            raise RejectedError(
                FailureKind.NOT_CONVERGED,
                f"{self._formula}, {what}: a force of {found.max_force:.2g} eV/angstrom is left (asked for {fmax:g}) "
                f"after {steps} steps; raise steps or fmax",
            )
        return found

    def _provenance(self, hops: list[Hop], landscape: Landscape) -> dict[str, Any]:
        return {
            "unit": Crystal(self._unit).to_dict(),
            "supercell": self._records.matrix.tolist(),
            "supercell_atoms": len(self._cell.structure) - 1,
            "site_energies": {str(site): energy for site, energy in landscape.site_energies.items()},
            "hops": [self._records.hops[name_of(hop)] for hop in landscape.known],
            "hops_that_cannot_help": [hop.length for hop in hops if hop not in landscape.known],
            "fmax": self._settings.fmax,
        }

    def _path(self, landscape: Landscape) -> Path:
        """A copy of the path over the saddle that decides the barrier."""
        barrier = landscape.barriers()[self._settings.dimensions - 1]
        highest = min(landscape.known, key=lambda hop: abs(landscape.height(hop) - barrier))
        return Path(shutil.copyfile(self._records.path_of(highest), self._records.folder / "path.extxyz"))

    def _write_path(self, hop: Hop, band: Band) -> None:
        from ase.io import write

        write(self._records.path_of(hop), band.images)

    def _begun(self, structure: pmg.Structure, folder: Path) -> HopRecords:
        """The primitive cell at rest, and the supercell to compute in."""
        settings = self._settings
        unit = self._at_rest(primitive_cell(structure))
        matrix = smallest_supercell(unit.lattice, settings.image_distance)
        atoms = round(abs(float(np.linalg.det(matrix)))) * len(unit)
        if atoms > settings.most_atoms:
            raise RejectedError(
                FailureKind.UNSUPPORTED_MATERIAL,
                f"{self._formula}: images {settings.image_distance:g} angstrom apart need {atoms} atoms, more than "
                f"most_atoms {settings.most_atoms}; raise it, or lower image_distance",
            )
        records = HopRecords(folder, unit, matrix)
        records.log(f"{len(unit)} atoms in the primitive cell, {atoms} in the supercell")
        return records

    def _at_rest(self, unit: pmg.Structure) -> pmg.Structure:
        """The primitive cell relaxed, with less symmetry than before where that is deeper."""
        fmax = self._settings.fmax / 5  # it is small, and a shallow slope off a saddle is a small force
        relaxed = self._relaxed(unit, "the crystal", fmax)
        shaken = self._relaxed(rattled(unit), "the crystal off its symmetry", fmax)
        if shaken.energy_per_atom < relaxed.energy_per_atom - DEEPER:
            return primitive_cell(shaken.structure)
        return primitive_cell(relaxed.structure) if relaxed.steps else unit
