"""What is known before the first round: the tables under `data:`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.errors import CampaignError
from materials.base import Candidate, Measurement, Origin
from materials.reading import Entry, ReadingError, read_materials


@dataclass(frozen=True)
class Prior:
    """Candidates, their measurements by candidate id, and how many materials were left out because of a doubt."""

    candidates: list[Candidate]
    measurements: dict[str, list[Measurement]]
    doubted: int


def read_prior(files: Sequence[Path]) -> Prior:
    """What the tables hold; a material named twice keeps all its measurements, a doubted one is left out.

    Raises CampaignError for a file that cannot be read, and for one in which nothing was measured: such a file
    belongs under `generators:`.
    """
    candidates: dict[str, Candidate] = {}
    measurements: dict[str, list[Measurement]] = {}
    doubted = 0
    for file in files:
        entries = _entries(file)
        believed = [entry for entry in entries if not entry.doubt]
        doubted += len(entries) - len(believed)
        measured = 0
        for entry in believed:
            candidate = Candidate(entry.material, Origin("data", note=f"{file.name}: {entry.name}"))
            candidates.setdefault(candidate.id, candidate)
            measurements.setdefault(candidate.id, []).extend(entry.measurements)
            measured += len(entry.measurements)
        if not measured and not believed:
            raise CampaignError(
                f"{file}: all {len(entries)} materials in it are doubted (column doubt), so nothing is known from it. "
                "Have them judged by an oracle such as dft, or take the file out."
            )
        if not measured:
            raise CampaignError(
                f"{file}: no column holds measurements. Name a column after a property (such as band_gap), "
                "or list the file under generators as {kind: files, path: ...} to propose its materials."
            )
    return Prior(list(candidates.values()), measurements, doubted)


def _entries(file: Path) -> list[Entry]:
    try:
        return read_materials(file)
    except ReadingError as error:
        raise CampaignError(f"data: {error}") from error
