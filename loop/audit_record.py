"""What audits found, for the terminal, MLflow and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loop.database.rows import RoundRow
from oracles.base import OracleSettings
from oracles.potential_choice import MATERIALS_PROJECT, PotentialSettings

AUDIT = "audit"
"""The name of an audit's evaluations, and of its part of a round's notes."""

SAME_DATA = "both potentials learned the same data, so agreement is no proof"


def oracle_told(oracle: OracleSettings) -> str:
    """'relax with 7net-l3i5', 'dft with protocol fast': the kind, and what it computes with where it says so."""
    if isinstance(oracle, PotentialSettings):
        place = Path(oracle.potential)
        return f"{oracle.kind} with {place.name if place.is_absolute() else oracle.potential}"
    protocol = getattr(oracle, "protocol", None)
    return oracle.kind if protocol is None else f"{oracle.kind} with protocol {protocol}"


def same_data(audit: OracleSettings, line: Sequence[OracleSettings]) -> bool:
    """Whether the audit's potential and one of the line's learned the Materials Project's energies."""
    return _learned_materials_project(audit) and any(map(_learned_materials_project, line))


def _learned_materials_project(oracle: OracleSettings) -> bool:
    return isinstance(oracle, PotentialSettings) and oracle.potential_zero == MATERIALS_PROJECT


@dataclass(frozen=True)
class Disagreement:
    """One property as the campaign has it and as the audit measured it, in the property's unit."""

    name: str
    unit: str
    campaign: float
    audit: float

    @property
    def difference(self) -> float:
        """Audit minus campaign."""
        return self.audit - self.campaign


@dataclass(frozen=True)
class Audited:
    """A result that was measured again: why it was chosen, by which oracle, and what came of it.

    same_data: whether the potentials of campaign and audit learned the same data, so that agreement proves nothing.
    """

    candidate_id: str
    formula: str
    why: str
    oracle: str
    disagreements: tuple[Disagreement, ...] = ()
    same_structure: bool | None = None
    failure: str = ""
    same_data: bool = False

    def told(self) -> str:
        """What came of it, in words."""
        if self.failure:
            return self.failure
        parts = [f"{d.name} {d.campaign:.3f}, audit {d.audit:.3f} {d.unit}" for d in self.disagreements]
        if self.same_structure is not None:
            parts.append("the same structure" if self.same_structure else "relaxed to another structure")
        return "; ".join(parts) or "nothing that compares"

    def as_notes(self) -> dict[str, Any]:
        """As JSON values, for the notes of a round."""
        return asdict(self)

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Audited:
        """The inverse of `as_notes`."""
        return cls(**{**notes, "disagreements": tuple(Disagreement(**d) for d in notes["disagreements"])})


def audited_in(row: RoundRow) -> list[Audited]:
    """What a round measured again."""
    return [Audited.from_notes(notes) for notes in row.notes.get(AUDIT, ())]


def told(audited: Sequence[Audited]) -> str:
    """A round's audits in a sentence: the typical and the largest disagreement of each property."""
    answered = [a for a in audited if not a.failure]
    parts = [f"{len(audited)} measured again by {audited[0].oracle}"]
    for name, found in by_property(answered).items():
        worst, formula = max(((abs(d.difference), f) for d, f in found), key=lambda item: item[0])
        typical = median(abs(d.difference) for d, _ in found)
        parts.append(
            f"{name} apart by {typical:.3g} (median), at most {worst:.3g} {found[0][0].unit} ({formula})"
        )
    moved = sum(a.same_structure is False for a in answered)
    if moved:
        parts.append(f"{moved} relaxed to another structure")
    if len(answered) < len(audited):
        parts.append(f"{len(audited) - len(answered)} failed")
    if any(a.same_data for a in answered):
        parts.append(SAME_DATA)
    return "; ".join(parts)


def by_property(audited: Sequence[Audited]) -> dict[str, list[tuple[Disagreement, str]]]:
    """Property -> its disagreements, each with the formula."""
    found: dict[str, list[tuple[Disagreement, str]]] = {}
    for one in audited:
        for disagreement in one.disagreements:
            found.setdefault(disagreement.name, []).append((disagreement, one.formula))
    return found


def audit_metrics(audited: Sequence[Audited]) -> dict[str, float]:
    """Finite numbers for MLflow."""
    metrics = {"audited": float(len(audited)), "audits_failed": float(sum(bool(a.failure) for a in audited))}
    for name, found in by_property(audited).items():
        apart = [abs(d.difference) for d, _ in found]
        metrics[f"audit_{name}_median"], metrics[f"audit_{name}_largest"] = median(apart), max(apart)
    return metrics if audited else {}
