"""Computes the hops of one crystal until they carry a vacancy through it, and keeps each in a file on the way."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pymatgen.core as pmg

from materials.evaluation import FailureKind
from materials.potential import Potential
from materials.relaxation import NonFiniteEnergy, Relaxation, RelaxationExploded, relax
from oracles.elastic_band import Band, Positions, Supercell, climb, one_place
from oracles.hops import Hop, distinct_hops, distinct_sites, primitive_cell, smallest_supercell
from oracles.one_by_one import RejectedError
from oracles.percolation import Link, percolation_energies

if TYPE_CHECKING:
    from oracles.neb import NebSettings

CHECKPOINT = "hops.json"
LOG = "neb.log"
LONGER = 1.3  # times the longest hop that percolation needs: longer ones are not tried
WORTHWHILE = 0.01  # eV; a hop that cannot lower the barrier by more is not computed
NUMERICAL_ERROR = 0.03  # eV; of the supercell, the force limit and the number of images


@dataclass(frozen=True)
class Found:
    """Barriers (eV) in 1, 2 and 3 dimensions, infinite where unknown; std in eV; path: file of the highest hop's images."""

    barriers: tuple[float, float, float]
    std: float
    path: Path
    provenance: Mapping[str, Any]


class Survey:
    """The hops of one crystal; every vacancy and hop is computed once, also by an evaluation that is begun again.

    folder: where checkpoint, log and paths are kept; None for a temporary one.
    """

    def __init__(
        self, structure: pmg.Structure, settings: NebSettings, potential: Potential, folder: Path | None
    ) -> None:
        self._settings = settings
        self._potential = potential
        self._formula = structure.composition.reduced_formula
        self._folder = Path(tempfile.mkdtemp(prefix="neb")) if folder is None else folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known = self._read() or self._begun(structure)
        self._unit = pmg.Structure.from_dict(self._known["unit"])
        self._cell = Supercell.of(self._unit, np.array(self._known["matrix"]))

    def run(self) -> Found:
        """Raises RejectedError where the hops do not percolate, are too many, or do not converge."""
        settings = self._settings
        hops = self._hops()
        sites = distinct_sites(self._unit, settings.mobile_ion)
        for site in sorted(set(sites.values())):
            self._vacancy(self._cell.number_of(site))
        done: list[Hop] = []
        for number, hop in enumerate(hops, start=1):
            if self._worthwhile(done, hops, hop):
                self._log(f"hop {number} of {len(hops)}: {hop.length:.2f} angstrom")
                self._saddle(hop)
                done.append(hop)
        barriers = self._barriers({hop: self._energy(hop) for hop in done})
        return Found(barriers, self._std(), self._path(done, barriers), self._provenance(hops, done))

    def _hops(self) -> list[Hop]:
        """The hops that may be needed: all up to a little over the length at which they percolate."""
        settings = self._settings
        hops = distinct_hops(self._unit, settings.mobile_ion, settings.longest_hop)
        enough = percolation_energies(Link(*edge, hop.length) for hop in hops for edge in hop.equivalents)
        needed = enough[settings.dimensions - 1]
        if not math.isfinite(needed):
            message = (
                f"{self._formula}: no hops of {settings.mobile_ion} up to {settings.longest_hop:g} angstrom lead through "
                f"the crystal in {settings.dimensions} dimension(s); raise longest_hop or ask for fewer dimensions"
            )
            raise RejectedError(FailureKind.NO_PERCOLATION, message)
        hops = [hop for hop in hops if hop.length <= LONGER * needed]
        if len(hops) > settings.most_hops:
            message = (
                f"{self._formula}: {len(hops)} symmetry-distinct hops of {settings.mobile_ion} may matter, more than "
                f"most_hops {settings.most_hops}; raise it, or ask for fewer dimensions"
            )
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
        return hops

    def _worthwhile(self, done: list[Hop], hops: list[Hop], hop: Hop) -> bool:
        """Whether a hop could lower the barrier, were it and all others still open no higher than their ends."""
        wanted = self._settings.dimensions - 1
        known = {h: self._energy(h) for h in done}
        now = self._barriers(known)[wanted]
        at_best = self._barriers({h: known.get(h, self._floor(h)) for h in hops})[wanted]
        floor = self._floor(hop) - self._lowest()
        return min(now, 1e9) - at_best > WORTHWHILE and floor < now - WORTHWHILE

    def _barriers(self, energies: Mapping[Hop, float]) -> tuple[float, float, float]:
        lowest = self._lowest()
        links = (Link(*edge, energy - lowest) for hop, energy in energies.items() for edge in hop.equivalents)
        return percolation_energies(links)

    def _lowest(self) -> float:
        return min(self._site_energies().values())

    def _site_energies(self) -> dict[int, float]:
        """Energy of the supercell with a vacancy on each distinct site: the lowest found for it, eV."""
        sites = distinct_sites(self._unit, self._settings.mobile_ion)
        energies: dict[int, float] = {}
        for number, vacancy in self._known["vacancies"].items():
            site = sites[self._unit_site(int(number))]
            energies[site] = min(energies.get(site, math.inf), vacancy["energy"])
        return energies

    def _unit_site(self, number: int) -> int:
        place = self._cell.structure.frac_coords[number] @ self._cell.matrix
        apart = place - self._unit.frac_coords
        apart = (apart - np.rint(apart)) @ self._unit.lattice.matrix
        return int(np.argmin(np.linalg.norm(apart, axis=1)))

    def _floor(self, hop: Hop) -> float:
        """A saddle is no lower than the higher of its ends."""
        sites, energies = distinct_sites(self._unit, self._settings.mobile_ion), self._site_energies()
        return max(energies[sites[hop.first]], energies[sites[hop.second]])

    def _energy(self, hop: Hop) -> float:
        return max(self._floor(hop), float(self._known["hops"][_name(hop)]["saddle"]))

    def _vacancy(self, number: int) -> Positions:
        """Positions of all sites of the supercell after relaxation without the site `number`."""
        known = self._known["vacancies"]
        if str(number) not in known:
            relaxation = self._relax(self._cell.without(number), f"vacancy on site {number}")
            positions = relaxation.structure.cart_coords.tolist()
            positions.insert(number, self._cell.structure.cart_coords[number].tolist())
            energy = relaxation.energy_per_atom * len(relaxation.structure)
            known[str(number)] = {"energy": energy, "positions": positions}
            self._write()
        return np.array(known[str(number)]["positions"])

    def _saddle(self, hop: Hop) -> None:
        if _name(hop) in self._known["hops"]:
            return
        begin, end = self._cell.ends((hop.first, hop.second, hop.image), self._vacancy)
        if one_place(begin, end):
            self._keep(hop, "both ends relax into one valley: no barrier", [])
            return
        settings = self._settings
        with (self._folder / LOG).open("a", encoding="utf-8") as log:
            band = climb(
                begin,
                end,
                self._potential.calculator,
                images=settings.images,
                fmax=settings.fmax,
                steps=settings.steps,
                log=log,
            )
        if not band.converged:
            raise RejectedError(FailureKind.NOT_CONVERGED, self._unconverged(hop, band))
        self._write_path(hop, band)
        self._keep(hop, "converged", band.energies, max_force=band.max_force, steps=band.steps)

    def _unconverged(self, hop: Hop, band: Band) -> str:
        return (
            f"{self._formula}: the band of a hop of {hop.length:.2f} angstrom has a force of {band.max_force:.2g} "
            f"eV/angstrom left (fmax {self._settings.fmax:g}) after {band.steps} steps; raise steps, or images where the "
            "path is long or bent"
        )

    def _keep(self, hop: Hop, note: str, energies: tuple[float, ...] | list[float], **more: float) -> None:
        ends = [self._known["vacancies"][str(n)]["energy"] for n in self._ends(hop)]
        saddle = max([*energies, *ends])
        self._known["hops"][_name(hop)] = {
            "first": hop.first,
            "second": hop.second,
            "image": list(hop.image),
            "length": hop.length,
            "multiplicity": len(hop.equivalents),
            "saddle": saddle,
            "forward": saddle - ends[0],
            "backward": saddle - ends[1],
            "images": [energy - ends[0] for energy in energies],
            "note": note,
            **more,
        }
        self._log(f"barrier {saddle - ends[0]:.3f} eV forward, {saddle - ends[1]:.3f} eV backward; {note}")
        self._write()

    def _ends(self, hop: Hop) -> tuple[int, int]:
        return self._cell.number_of(hop.first), self._cell.number_of(hop.second, hop.image)

    def _relax(self, structure: pmg.Structure, what: str) -> Relaxation:
        settings = self._settings
        self._log(f"relaxing: {what}, {len(structure)} atoms")
        try:
            found = relax(
                structure, self._potential, fmax=settings.fmax / 2, steps=settings.steps, cell=False
            )
        except RelaxationExploded as error:
            raise RejectedError(FailureKind.EXPLODED, f"{what}: {error}") from error
        except NonFiniteEnergy as error:
            raise RejectedError(FailureKind.NOT_FINITE, f"{what}: {error}") from error
        if not found.converged:
            message = (
                f"{self._formula}, {what}: a force of {found.max_force:.2g} eV/angstrom is left (asked for "
                f"{settings.fmax / 2:g}) after {settings.steps} steps; raise steps or fmax"
            )
            raise RejectedError(FailureKind.NOT_CONVERGED, message)
        return found

    def _std(self) -> float:
        """Numerical error: how far vacancies that symmetry makes equal differ, and NUMERICAL_ERROR."""
        sites, lowest = distinct_sites(self._unit, self._settings.mobile_ion), self._site_energies()
        spread = max(
            vacancy["energy"] - lowest[sites[self._unit_site(int(number))]]
            for number, vacancy in self._known["vacancies"].items()
        )
        return math.hypot(NUMERICAL_ERROR, spread)

    def _provenance(self, hops: list[Hop], done: list[Hop]) -> dict[str, Any]:
        lowest = self._lowest()
        return {
            "supercell": self._known["matrix"],
            "supercell_atoms": len(self._cell.structure) - 1,
            "unit": self._known["unit"],
            "site_energies": {str(site): e - lowest for site, e in sorted(self._site_energies().items())},
            "hops": [self._known["hops"][_name(hop)] for hop in done],
            "hops_that_cannot_help": [hop.length for hop in hops if hop not in done],
            "fmax": self._settings.fmax,
        }

    def _path(self, done: list[Hop], barriers: tuple[float, float, float]) -> Path:
        """A copy of the path over the highest saddle of the percolating network."""
        height = barriers[self._settings.dimensions - 1] + self._lowest()
        highest = min(done, key=lambda hop: abs(self._energy(hop) - height))
        source, target = self._path_of(highest), self._folder / "path.extxyz"
        if not source.exists():  # a hop without a barrier has its ends only
            from ase.io import write

            write(source, list(self._cell.ends((highest.first, highest.second, highest.image), self._vacancy)))
        shutil.copyfile(source, target)
        return target

    def _path_of(self, hop: Hop) -> Path:
        return self._folder / f"hop_{_name(hop)}.extxyz"

    def _write_path(self, hop: Hop, band: Band) -> None:
        from ase.io import write

        write(self._path_of(hop), band.images)

    def _begun(self, structure: pmg.Structure) -> dict[str, Any]:
        """The primitive cell at rest, and the supercell to compute in."""
        settings = self._settings
        unit = primitive_cell(structure)
        relaxed = self._relax(unit, "the crystal")
        if relaxed.steps:
            unit = primitive_cell(relaxed.structure)
        matrix = smallest_supercell(unit.lattice, settings.image_distance)
        atoms = round(abs(float(np.linalg.det(matrix)))) * len(unit)
        if atoms > settings.most_atoms:
            message = (
                f"{self._formula}: images {settings.image_distance:g} angstrom apart need {atoms} atoms, more than most_atoms "
                f"{settings.most_atoms}; raise it, or lower image_distance"
            )
            raise RejectedError(FailureKind.UNSUPPORTED_MATERIAL, message)
        return {"unit": unit.as_dict(), "matrix": matrix.tolist(), "vacancies": {}, "hops": {}}

    def _read(self) -> dict[str, Any] | None:
        file = self._folder / CHECKPOINT
        if not file.exists():
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        self._log(f"continuing with {len(found['hops'])} hops known")
        return found

    def _write(self) -> None:
        temporary = self._folder / f"{CHECKPOINT}.tmp"
        temporary.write_text(json.dumps(self._known), encoding="utf-8")
        os.replace(temporary, self._folder / CHECKPOINT)

    def _log(self, line: str) -> None:
        with (self._folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{self._formula}: {line}\n")


def _name(hop: Hop) -> str:
    return f"{hop.first}_{hop.second}_{'_'.join(map(str, hop.image))}"
