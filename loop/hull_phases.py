"""Relaxes and corrects a user's reference phases, one process per core, and writes their reference file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loop.part_files import compute, done_ids, grouped, records
from materials.base import content_hash
from materials.checkpoints import potential_version
from materials.corrections import CorrectionScheme, correction_per_atom
from materials.hull import MixedEnergiesError
from materials.potential import load_potential
from materials.reference_table import (
    EnergySource,
    ReferenceEntry,
    ReferenceTable,
    read_table,
    structure_text,
    write_table,
)
from materials.relaxation import relax
from materials.sources import SourcePhase

Record = dict[str, Any]
SCHEME = CorrectionScheme.materials_project_2020


@dataclass(frozen=True)
class RelaxSettings:
    """How reference phases are relaxed: potential (and its hash), largest force in eV/angstrom, most steps."""

    potential: str = "7net-0"
    sha256: str | None = None
    fmax: float = 0.03
    steps: int = 500


@dataclass(frozen=True)
class Summary:
    """What became of the phases: entries in the file now, how many are new, not converged, and failures."""

    entries: int
    added: int
    unconverged: int
    failures: tuple[str, ...]

    def text(self, path: Path) -> str:
        """One paragraph for the terminal."""
        lines = [
            f"{path}: {self.entries} phases, {self.added} of them added now; {len(self.failures)} failed"
        ]
        if self.unconverged:
            lines.append(f"{self.unconverged} did not converge and lie too high; raise --steps")
        lines.append(f"name it in a campaign:  {{kind: hull, reference: [{path.name}]}}")
        return "\n".join(lines)


@dataclass(frozen=True)
class RelaxTask:
    """Relaxes phases in a worker process; a failure is a record with the key `failure`."""

    settings: RelaxSettings

    def __call__(self, phases: Sequence[SourcePhase]) -> list[Record]:
        return [self._relax(phase) for phase in phases]

    def _relax(self, phase: SourcePhase) -> Record:
        potential = load_potential(self.settings.potential, self.settings.sha256, "cpu")
        try:
            relaxed = relax(phase.structure, potential, fmax=self.settings.fmax, steps=self.settings.steps)
        except ValueError as error:
            # An unknown element or an exploded cell concerns this phase alone.
            return {"id": phase.id, "failure": str(error)}
        cell, sites = structure_text(relaxed.structure)
        return {
            "id": phase.id,
            "formula": relaxed.structure.composition.reduced_formula,
            "nsites": len(relaxed.structure),
            "spacegroup": relaxed.structure.get_space_group_info()[1],
            "energy_per_atom": relaxed.energy_per_atom,
            "correction_per_atom": correction_per_atom(relaxed.structure, SCHEME),
            "geometry": "relaxed",
            "converged": relaxed.converged,
            "cell": cell,
            "sites": sites,
        }


def extend_reference(
    output: Path, phases: Sequence[SourcePhase], settings: RelaxSettings, workers: int = 0
) -> Summary:
    """Relaxes the phases that output does not hold yet and adds them to it.

    Each finished phase is kept in a part file beside output until all are done, so that an interrupted run
    goes on where it stopped. Raises MixedEnergiesError where output was made with another potential or
    correction.
    """
    version = potential_version(settings.potential, settings.sha256)
    source = EnergySource(settings.potential, version, SCHEME.value)
    entries = {entry.id: entry for entry in _existing(output, source)}
    wanted = {phase.id: phase for phase in phases if phase.id not in entries}
    part = output.with_name(f".{output.name}.{content_hash(asdict(settings))[:8]}.jsonl")
    part.parent.mkdir(parents=True, exist_ok=True)
    done = done_ids(part)
    missing = [phase for identifier, phase in wanted.items() if identifier not in done]
    missing.sort(key=lambda phase: phase.atoms)
    if missing:
        compute(
            RelaxTask(settings),
            grouped(missing, 1),
            part,
            min(workers or os.cpu_count() or 1, len(missing)),
            len(missing),
        )
    results = [record for record in records(part) if record["id"] in wanted]
    added = [ReferenceEntry(**record, tier="relaxed") for record in results if "failure" not in record]
    entries |= {entry.id: entry for entry in added}
    if entries:
        table = ReferenceTable(source, "relaxed", tuple(entries.values()), settings=asdict(settings))
        write_table(output, table)
    part.unlink(missing_ok=True)
    failures = tuple(f"{record['id']}: {record['failure']}" for record in results if "failure" in record)
    unconverged = sum(not entry.converged for entry in entries.values())
    return Summary(len(entries), len(added), unconverged, failures)


def _existing(output: Path, source: EnergySource) -> tuple[ReferenceEntry, ...]:
    if not output.exists():
        return ()
    table = read_table(output)
    if table.source != source:
        raise MixedEnergiesError(f"{output}: made with {table.source}, not {source}; write to another file")
    return table.entries
