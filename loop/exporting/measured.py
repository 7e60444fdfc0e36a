"""What is exported: every material with a value that counts, and what is told of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loop.database.rows import BESIDE_THE_LINE, EvaluationStatus
from loop.report.view import CampaignView
from materials.archive import Record
from materials.base import Measurement


@dataclass(frozen=True)
class Measured:
    """A record of a campaign; `name` tells it apart among campaigns.

    modified: when the latest answer about it came, UTC in ISO 8601; empty where it was only known before.
    """

    campaign: str
    record: Record
    modified: str = ""

    @property
    def name(self) -> str:
        return f"{self.campaign}:{self.record.id}"

    def about(self) -> dict[str, str]:
        """Where it comes from, and what should be known before it is believed."""
        record = self.record
        told = {
            "campaign": self.campaign,
            "candidate": record.id,
            "generator": record.candidate.origin.generator,
            "round": "" if record.round is None else str(record.round),
            "duplicate_of": record.duplicate_of or "",
            "stopped_by": record.stopped_by or "",
            "doubt": record.doubt,
            "known_before": "yes" if record.known_before else "",
        }
        return {name: value for name, value in told.items() if value}

    def best(self) -> dict[str, Measurement]:
        """The measurement of each property at the highest fidelity."""
        names = dict.fromkeys(m.property for m in self.record.measurements)
        found = ((name, self.record.measured(name)) for name in names)
        return {name: measured for name, measured in found if measured is not None}

    def layers(self) -> Iterator[dict[str, Measurement]]:
        """All measurements, each property once a layer: its first, its second, and so on."""
        by_property: defaultdict[str, list[Measurement]] = defaultdict(list)
        for measurement in self.record.measurements:
            by_property[measurement.property].append(measurement)
        for number in range(max(map(len, by_property.values()), default=0)):
            yield {name: found[number] for name, found in by_property.items() if number < len(found)}


def measured_in(view: CampaignView) -> Sequence[Measured]:
    """Everything with a value, in the order in which it was first seen."""
    modified: dict[str, str] = {}
    for row in view.evaluations:
        if row.status is EvaluationStatus.DONE and row.stage > BESIDE_THE_LINE and row.finished_at:
            modified[row.candidate_id] = max(row.finished_at, modified.get(row.candidate_id, ""))
    known = (record for record in view.archive.values() if record.measurements)
    return [Measured(view.name, record, modified.get(record.id, "")) for record in known]
