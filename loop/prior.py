"""What is known before the first round: the tables under `data:`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loop.errors import CampaignError
from materials.base import Candidate, Measurement, Origin
from materials.reading import Entry, ReadingError, read_materials

Prior = tuple[list[Candidate], dict[str, list[Measurement]]]


def read_prior(files: Sequence[Path]) -> Prior:
    """Candidates and their measurements, by candidate id; a material named twice keeps all its measurements.

    Raises CampaignError for a file that cannot be read, and for one in which nothing was measured: such a file
    belongs under `generators:`.
    """
    candidates: dict[str, Candidate] = {}
    measurements: dict[str, list[Measurement]] = {}
    for file in files:
        measured = 0
        for entry in _entries(file):
            candidate = Candidate(entry.material, Origin("data", note=f"{file.name}: {entry.name}"))
            candidates.setdefault(candidate.id, candidate)
            measurements.setdefault(candidate.id, []).extend(entry.measurements)
            measured += len(entry.measurements)
        if not measured:
            raise CampaignError(
                f"{file}: no column holds measurements. Name a column after a property (such as band_gap), "
                "or list the file under generators as {kind: files, path: ...} to propose its materials."
            )
    return list(candidates.values()), measurements


def _entries(file: Path) -> list[Entry]:
    try:
        return read_materials(file)
    except ReadingError as error:
        raise CampaignError(f"data: {error}") from error
