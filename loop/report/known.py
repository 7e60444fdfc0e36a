"""Which measured crystals are known materials: by the index that ships, or exactly among the user's structures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from materials.archive import Record
from materials.base import Crystal
from materials.known import KnownMaterials, known_exactly


def known_ids(records: Iterable[Record], against: Path | None = None) -> Mapping[str, str]:
    """Candidate id -> id of the known material that its crystal is, of the campaign's own candidates that are one.

    By formula, space group and size in the Materials Project, without `against`; with it (a file or folder of
    structures), by StructureMatcher among them. Raises materials.reading.ReadingError.
    """
    own = {r.id: r.material for r in records if isinstance(r.material, Crystal) and not r.known_before}
    if against is not None:
        return known_exactly(own, against)
    found = {name: _known_id(crystal) for name, crystal in own.items()}
    return {name: known for name, known in found.items() if known is not None}


@lru_cache(maxsize=10_000)
def _known_id(crystal: Crystal) -> str | None:
    """Kept, because reports are written after every round."""
    return KnownMaterials.load().find(crystal.structure)
