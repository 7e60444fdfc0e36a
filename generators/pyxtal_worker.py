"""A child process that grows random crystals with pyxtal: one JSON job per line in, one JSON answer per line out.

    python -m generators.pyxtal_worker CPU_SECONDS

pyxtal: Fredericks, Parrish, Sayre, Zhu, Comput. Phys. Commun. 261, 107810 (2021) (doi:10.1016/j.cpc.2020.107810).
pyxtal loops without end on some inputs. The kernel ends this process when one job has used CPU_SECONDS of processor
time, whatever else the machine is doing; it also ends with its parent, at the end of its input.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import pymatgen.core as pmg
import pyxtal.operations
from pyxtal.crystal import random_crystal
from pyxtal.lattice import Lattice
from pyxtal.msg import Comp_CompatibilityError, VolumeError
from pyxtal.symmetry import Group
from pyxtal.tolerance import Tol_matrix

from materials.base import Crystal

# pyxtal makes this table of 15,000 radii anew for every distance check; it is never changed there.
pyxtal.operations.Tol_matrix = cache(Tol_matrix)


def grow(job: dict[str, Any]) -> dict[str, Any]:
    """A crystal with the job's composition and the space group it has, or {} when `attempts` gave none.

    Job: species and counts of the primitive cell, volume (cubic angstrom) of it, distances [[a, b, angstrom], ...],
    seed, attempts (space groups to try). Equal jobs give equal answers.
    """
    # Part of pyxtal draws from the global generators.
    random.seed(job["seed"])
    np.random.seed(job["seed"])
    rng = np.random.default_rng(job["seed"])
    tolerances = Tol_matrix(*(tuple(d) for d in job["distances"]), prototype="atomic")
    for _ in range(job["attempts"]):
        group = _group(int(rng.integers(2, 231)))
        cells = group.cellsize()
        if not group.check_compatible(np.array(job["counts"]) * cells)[0]:
            continue
        seed = int(rng.integers(2**32))
        try:
            crystal = _crystal(job, group, job["volume"] * cells, tolerances, seed)
        except (Comp_CompatibilityError, VolumeError, RuntimeError, ValueError, IndexError):
            # pyxtal's ways to say that this draw did not work out.
            continue
        if crystal is not None:
            return {"crystal": crystal.to_dict(), "group": group.number}
    return {}


def _crystal(
    job: dict[str, Any], group: Group, volume: float, tolerances: Tol_matrix, seed: int
) -> Crystal | None:
    rng = np.random.default_rng(seed)
    lattice = Lattice(group.lattice_type, volume, PBC=[1, 1, 1], unique_axis="c", random_state=rng)
    grown = _BoundedCrystal(
        group=group,
        species=job["species"],
        numIons=job["counts"],
        lattice=lattice,
        conventional=False,
        random_state=rng,
        tm=tolerances,
    )
    if not grown.valid:
        return None
    symbols = [site.specie for site in grown.atom_sites for _ in site.coords]
    coordinates = np.concatenate([site.coords for site in grown.atom_sites])
    cell = pmg.Structure(grown.lattice.matrix, symbols, coordinates)
    primitive = cell.get_primitive_structure()
    return Crystal(primitive) if len(primitive) == sum(job["counts"]) else None


class _BoundedCrystal(random_crystal):  # type: ignore[misc]
    """pyxtal's crystal with one attempt instead of up to 400, which take minutes in tight cells.

    Another space group is the better second attempt: 0.29 processor seconds for each crystal of battery.yaml's space,
    against 0.46 with four attempts and 0.71 with nine.
    """

    def set_crystal(self) -> None:
        self.numattempts = 0
        self.set_lattice(self.lattice0)
        sites = self._set_coords()
        if sites:
            self.atom_sites = sites


@cache
def _group(number: int) -> Group:
    return Group(number)


def main(cpu_seconds: float) -> None:
    """Answers jobs until the input ends."""
    warnings.simplefilter("ignore")
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C on a terminal is for the campaign, which ends this one
    # Whatever pyxtal prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        answer = grow(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
