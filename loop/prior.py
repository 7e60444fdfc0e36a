"""What is known before the first round: the tables and earlier campaigns under `data:`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loop.earlier import earlier_results, is_campaign
from loop.errors import CampaignError
from materials.base import Candidate, Material, Measurement, Origin
from materials.reading import Entry, ReadingError, read_materials


@dataclass
class Prior:
    """Candidates and their measurements by candidate id; how many materials were left out because of a doubt.

    finals: of candidates of an earlier campaign, by id, the material as its last stage left it, and duplicates:
    of those that turned out to be the same material as another, that one's id.
    """

    candidates: list[Candidate] = field(default_factory=list)
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    doubted: int = 0
    finals: dict[str, Material] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)

    def add(self, candidate: Candidate, measurements: Sequence[Measurement]) -> None:
        """A material named twice keeps its first origin and all its measurements."""
        if candidate.id not in self.measurements:
            self.candidates.append(candidate)
        self.measurements.setdefault(candidate.id, []).extend(measurements)


def read_prior(sources: Sequence[Path]) -> Prior:
    """What tables and earlier campaigns hold; what is doubted is left out.

    Raises CampaignError for a source that cannot be read, and for one in which nothing was measured: such a file
    belongs under `generators:`.
    """
    prior = Prior()
    for source in sources:
        (_add_campaign if is_campaign(source) else _add_table)(prior, source)
    return prior


def _add_table(prior: Prior, file: Path) -> None:
    entries = _entries(file)
    believed = [entry for entry in entries if not entry.doubt]
    prior.doubted += len(entries) - len(believed)
    if not believed:
        raise CampaignError(
            f"{file}: all {len(entries)} materials in it are doubted (column doubt), so nothing is known from it. "
            "Have them judged by an oracle such as dft, or take the file out."
        )
    if not any(entry.measurements for entry in believed):
        raise CampaignError(
            f"{file}: no column holds measurements. Name a column after a property (such as band_gap), "
            "or list the file under generators as {kind: files, path: ...} to propose its materials."
        )
    for entry in believed:
        origin = Origin("data", note=f"{file.name}: {entry.name}")
        prior.add(Candidate(entry.material, origin), entry.measurements)


def _add_campaign(prior: Prior, place: Path) -> None:
    results = earlier_results(place)
    believed = [result for result in results if not result.doubt]
    prior.doubted += len(results) - len(believed)
    if not believed:
        doubted = (
            f"all {len(results)} materials it measured are doubted" if results else "it measured nothing"
        )
        raise CampaignError(
            f"{place}: nothing is known from this campaign: {doubted}. Let it go on until something is measured that "
            "is believed, or take it out."
        )
    for result in believed:
        prior.add(result.candidate, result.measurements)
        prior.finals.setdefault(result.candidate.id, result.final)
        if result.duplicate_of is not None:
            prior.duplicates.setdefault(result.candidate.id, result.duplicate_of)


def _entries(file: Path) -> list[Entry]:
    try:
        return read_materials(file)
    except ReadingError as error:
        raise CampaignError(f"data: {error}") from error
