"""Earlier campaigns as prior knowledge of a new one: a run folder or a campaign.db under `data:`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loop.errors import CampaignError
from materials.base import Candidate, Material, Measurement, Origin
from materials.settings import content_of

if TYPE_CHECKING:
    from loop.database.view import View
    from materials.archive import Record

DATABASES = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class EarlierResult:
    """What an earlier campaign measured of one candidate, under the id it had there.

    final: the material as the last stage left it. duplicate_of: the candidate that turned out to be the same
    material, where that one is told of, too. doubt: why the values should not be believed, empty where nothing does.
    """

    candidate: Candidate
    measurements: tuple[Measurement, ...]
    final: Material
    duplicate_of: str | None
    doubt: str


def is_campaign(path: Path) -> bool:
    """Whether a path under `data:` means a campaign: a folder or a database. Measured tables are neither."""
    return path.is_dir() or path.suffix.lower() in DATABASES


def known_content(path: Path) -> str:
    """A hash of what a path under `data:` tells: of a campaign what its database holds, but no clock times."""
    if not is_campaign(path):
        return content_of(path)
    with open_earlier(path) as view:
        return f"sha256:{view.content_digest()[:16]}"


def open_earlier(place: Path) -> View:
    """The state of the campaign in a run folder, or of the only one in an SQLite file; a driver may be at work.

    Raises CampaignError where no campaign is, and for a database of another version's tables.
    """
    # Not at the top: a campaign's configuration is checked with this, and its state is read through one.
    from loop.database.store import Store
    from loop.report.folder import config_of, state_of

    if not place.is_dir():
        return Store.view(place)
    if not (place / "campaign.yaml").is_file():
        raise CampaignError(
            f"{place} is no run folder: campaign.yaml is missing. What is known before comes from a run folder, a "
            "campaign.db or a table; structures without measurements go under generators as "
            "{kind: files, path: ...}."
        )
    return state_of(place, config_of(place))


def earlier_results(place: Path) -> list[EarlierResult]:
    """All that the campaign's own evaluations measured and that counts there, in the order of its candidates.

    What it knew before itself is left out: it has a source of its own, which may be named as well.
    """
    with open_earlier(place) as view:
        records = own_results(view)
        found = [_result(record, view.name) for record in records]
    told = {record.id for record in records if not record.doubt}
    return [one if one.duplicate_of in told else replace(one, duplicate_of=None) for one in found]


def own_results(view: View) -> list[Record]:
    """The records of which the campaign itself measured something that counts: done, and no audit."""
    return [r for r in view.archive((), (), ()).values() if r.measurements and not r.known_before]


def _result(record: Record, campaign: str) -> EarlierResult:
    proposed = record.candidate
    told = ", ".join(_provenance(record, campaign))
    return EarlierResult(
        candidate=replace(proposed, origin=Origin("data", note=told)),
        measurements=record.measurements,
        final=record.material,
        duplicate_of=record.duplicate_of,
        doubt=record.doubt,
    )


def _provenance(record: Record, campaign: str) -> Iterator[str]:
    yield f"campaign {campaign}"
    yield f"candidate {record.id}"
    yield f"round {record.round}"
    yield f"by {record.candidate.origin.generator}"
