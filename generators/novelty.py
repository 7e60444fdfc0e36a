"""What a campaign has seen already, so that generators propose new materials."""

from __future__ import annotations

from materials.archive import Archive
from materials.identity import IdentityIndex


def known_materials(archive: Archive) -> IdentityIndex:
    """The archive's materials, as proposed and as the oracles left them."""
    known = IdentityIndex()
    for record in archive.values():
        known.add(record.id, record.candidate.material)
        if record.material is not record.candidate.material:
            known.add(record.id, record.material)
    return known
