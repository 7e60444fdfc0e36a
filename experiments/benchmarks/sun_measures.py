"""What the S.U.N. benchmark measures on one structure, with the oracles of a campaign at their defaults.

Validity is the rule of a campaign's space; relaxation, guards, corrections and energy above the hull are those of
`kind: relax` and `kind: hull`, so a structure counts as (meta)stable here where a campaign would say so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pymatgen.core as pmg

from materials.base import Candidate, Crystal, Origin, content_hash
from materials.chemistry import is_charge_balanced
from materials.evaluation import FailureKind, Outcome, Request, Status
from materials.novelty import why_invalid
from oracles.base import Oracle
from oracles.hull import HullSettings
from oracles.relax import RelaxSettings

ABSTAINS = f"hull: {FailureKind.UNKNOWN_REFERENCE}"


class OracleFailedError(RuntimeError):
    """An oracle failed for a fault of the machine, not of the structure."""


@dataclass(frozen=True)
class Measured:
    """What was found on one structure, as JSON values.

    id: of structure and settings together. invalid: why it is not valid, empty where it is; nothing further is
    measured on an invalid one. stopped_by: the oracle and the kind of failure that ended its line, empty where it has
    an energy above the hull; message says it in words. steps: of every optimiser tried. rmsd: see `displacement`,
    angstrom. volume_change: relaxed over generated volume, less one. Energies in eV/atom. tiers: of the reference
    phases the hull consists of there. seconds: of processor time. relaxed: the relaxed crystal, as `Crystal.to_dict`
    gives it.
    """

    id: str
    formula: str
    atoms: int
    invalid: str
    charge_balanced: bool = False
    stopped_by: str = ""
    message: str = ""
    converged: bool = False
    steps: int | None = None
    rmsd: float | None = None
    volume_change: float | None = None
    energy_per_atom: float | None = None
    energy_above_hull: float | None = None
    energy_above_hull_std: float | None = None
    tiers: tuple[str, ...] = ()
    seconds: float = 0.0
    relaxed: dict[str, Any] | None = None

    def crystal(self) -> Crystal | None:
        """The relaxed crystal; None where the relaxation did not succeed."""
        return None if self.relaxed is None else Crystal.from_dict(self.relaxed)


@cache
def settings() -> tuple[RelaxSettings, HullSettings]:
    """The oracles' settings: a campaign's defaults."""
    return RelaxSettings(), HullSettings()


@cache
def conditions() -> dict[str, Any]:
    """What was asked, for the reader of a report, and to tell answers under other settings apart."""
    relax, hull = settings()
    return {
        "potential": relax.potential,
        "potential_version": relax.model_version(),
        "fmax": relax.fmax,
        "steps": relax.steps,
        "correction": str(hull.correction),
        "hull": hull.model_version(),
        "settings": content_hash([relax.fingerprint(), hull.fingerprint()])[:12],
    }


def key_of(crystal: Crystal) -> str:
    """Names structure and settings: equal keys give equal answers."""
    return content_hash([crystal.digest, conditions()])


def displacement(start: pmg.Structure, end: pmg.Structure) -> float:
    """Root mean square displacement of the atoms during a relaxation, angstrom.

    Fractional displacements, less their mean, in the lattice of the mean cell parameters; so a cell that only grows
    moves no atom. This is the RMSD of MatterGen (Zeni et al., Nature 639, 624 (2025),
    doi:10.1038/s41586-025-08628-5; its `compute_rmsd_angstrom`: StructureMatcher.get_rms_dist without scaling, times
    the cube root of the volume per atom) for the known pairing of atoms. The matcher takes the pairing with the least
    value, so this one is never smaller, and it always exists.
    """
    moved = end.frac_coords - start.frac_coords
    moved -= np.round(moved - np.median(moved, axis=0))  # an atom may have been written in another cell
    moved -= moved.mean(axis=0)
    mean = np.mean([start.lattice.parameters, end.lattice.parameters], axis=0)
    lattice = pmg.Lattice.from_parameters(*mean)
    return float(np.sqrt(np.mean(np.sum((moved @ lattice.matrix) ** 2, axis=1))))


class MeasureTask:
    """Measures crystals in a worker process."""

    def __call__(self, crystals: Sequence[Crystal]) -> list[dict[str, Any]]:
        return [asdict(measure(crystal)) for crystal in crystals]


def measure(crystal: Crystal) -> Measured:
    """All of `Measured`. Raises OracleFailedError."""
    found = Measured(
        id=key_of(crystal),
        formula=crystal.formula,
        atoms=len(crystal.structure),
        invalid=why_invalid(crystal),
        charge_balanced=is_charge_balanced(crystal.structure.composition),
    )
    return found if found.invalid else _relaxed(crystal, found)


def _relaxed(crystal: Crystal, found: Measured) -> Measured:
    relax, hull = _oracles()
    began = time.process_time()
    candidate = Candidate(crystal, Origin("sun"))
    outcome = _asked(relax, Request("sun", candidate, crystal, "relax"))
    found = replace(
        found,
        converged=bool(outcome.provenance.get("converged")),
        steps=outcome.provenance.get("steps"),
        seconds=time.process_time() - began,
    )
    if not isinstance(outcome.material, Crystal):
        return _stopped(found, outcome)
    found = replace(
        found,
        rmsd=displacement(crystal.structure, outcome.material.structure),
        volume_change=outcome.provenance["volume_change"],
        energy_per_atom=outcome.measurements[0].value,
        relaxed=outcome.material.to_dict(),
    )
    request = Request("sun", candidate, outcome.material, "hull", outcome.measurements)
    return _judged(found, _asked(hull, request))


def _judged(found: Measured, outcome: Outcome) -> Measured:
    if outcome.failure is not None:
        return _stopped(found, outcome)
    height = next(m for m in outcome.measurements if m.property == "energy_above_hull")
    return replace(
        found,
        energy_above_hull=height.value,
        energy_above_hull_std=height.std,
        tiers=tuple(sorted({phase["tier"] for phase in outcome.provenance["decomposition"]})),
    )


def _stopped(found: Measured, outcome: Outcome) -> Measured:
    assert outcome.failure is not None
    return replace(
        found, stopped_by=f"{outcome.oracle}: {outcome.failure.kind}", message=outcome.failure.message
    )


@cache
def _oracles() -> tuple[Oracle, Oracle]:
    relax, hull = settings()
    return relax.build(), hull.build()


def _asked(oracle: Oracle, request: Request) -> Outcome:
    (outcome,) = oracle.evaluate([request])
    if outcome.status is Status.FAILED:
        raise RuntimeError(
            f"{request.oracle} failed, and may not when the machine is mended: {outcome.failure}"
        )
    return outcome
