"""Measures some results of a round again with an independent oracle, and says how far the two are apart.

What comes of it is logged and shown, never learned from: it tells how far the campaign's own oracles can be
trusted where the campaign looks, which is not where they were tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loop.asking import Asker
from loop.audit_record import AUDIT, Audited, Disagreement, oracle_told, same_data
from loop.database.rows import BESIDE_THE_LINE, AnsweredPrediction, PlannedEvaluation
from loop.events import Listener
from loop.line import ZERO_WHEN_RELAXED, Stage, comparable
from loop.seeds import derived_rng
from materials.archive import Archive, Progress, Record
from materials.base import Bound, Crystal, Measurement, content_hash
from materials.evaluation import Outcome, Request, Status, request_key

if TYPE_CHECKING:
    import numpy as np

    from loop.config import AuditSettings


class Audit:
    """The audits of a campaign's rounds."""

    def __init__(
        self, settings: AuditSettings, line: Sequence[Stage], asker: Asker, listener: Listener, seed: int
    ) -> None:
        self._settings = settings
        self._line = line
        self._asker = asker
        self._listener = listener
        self._seed = seed
        oracle = settings.oracle
        line_so_far = line[-1].fingerprint
        self._fingerprint = content_hash([line_so_far, oracle.fingerprint(), oracle.model_version()])

    def run(self, number: int, archive: Archive) -> list[Audited]:
        """Measures what is chosen of round `number` again; returns when all is answered."""
        answered = [a for a in self._asker.store.answered_predictions() if a.arrived_in_round == number]
        rng = derived_rng(self._seed, number, AUDIT)
        chosen = choose(archive, number, answered, self._settings.each, rng)
        requests = {record.id: self._request(record) for record, _ in chosen}
        outcomes = self._asked(number, list(requests.values()))
        return [
            self._audited(record, why, outcomes[requests[record.id].key])
            for record, why in chosen
            if requests[record.id].key in outcomes
        ]

    def _request(self, record: Record) -> Request:
        return Request(
            key=request_key(record.id, AUDIT, self._fingerprint),
            candidate=record.candidate,
            material=record.material,
            oracle=AUDIT,
            measurements=record.measurements,
        )

    def _asked(self, number: int, requests: Sequence[Request]) -> dict[str, Outcome]:
        store, dispatcher = self._asker.store, self._asker.dispatcher
        outcomes: dict[str, Outcome] = {}
        earlier = {row.key: row for row in store.evaluations(round=number)}
        for request in requests:
            store.plan(PlannedEvaluation(request.key, request.candidate.id, AUDIT, BESIDE_THE_LINE), number)
            before = store.outcome(request.key)
            if before is not None and before.status in (Status.DONE, Status.REJECTED):
                outcomes[request.key] = before
                continue
            found = self._asker.ask(self._settings.oracle, request, earlier.get(request.key))
            if found is not None:
                self._keep(found, number, outcomes)
        waited_for = {request.key for request in requests} - set(outcomes)
        while waited_for - set(outcomes):
            for outcome in dispatcher.wait(0.5, outside=False):
                self._keep(outcome, number, outcomes)
            self._listener.waiting()
        return outcomes

    def _keep(self, outcome: Outcome, number: int, outcomes: dict[str, Outcome]) -> None:
        self._asker.keep(outcome, number)
        outcomes[outcome.key] = outcome

    def _audited(self, record: Record, why: str, outcome: Outcome) -> Audited:
        oracle = self._settings.oracle
        learned_alike = same_data(oracle, [stage.settings for stage in self._line])
        found = Audited(record.id, record.material.formula, why, oracle_told(oracle), same_data=learned_alike)
        if outcome.failure is not None:
            return replace(found, failure=f"{outcome.failure.kind}: {outcome.failure.message}")
        apart = tuple(self._disagreements(record, outcome))
        return replace(found, disagreements=apart, same_structure=_same_structure(record, outcome))

    def _disagreements(self, record: Record, outcome: Outcome) -> Iterator[Disagreement]:
        for measured in outcome.measurements:
            if measured.property == ZERO_WHEN_RELAXED:
                yield Disagreement(measured.property, measured.unit, 0.0, measured.value)
                continue
            makers = {
                stage.name
                for stage in self._line
                if comparable(measured.property, stage.settings, self._settings.oracle)
            }
            own = _latest([m for m in record.measurements if m.oracle in makers], measured)
            if own is not None:
                yield Disagreement(measured.property, measured.unit, own.value, measured.value)


def choose(
    archive: Archive,
    number: int,
    answered: Sequence[AnsweredPrediction],
    each: int,
    rng: np.random.Generator,
) -> list[tuple[Record, str]]:
    """Up to `each` most surprising results of round `number`, and as many others at random, with the reason.

    A result surprises by how many stated standard deviations it lies from what was predicted before its test, the
    property that does so most. Failures and repetitions of known materials are no results.
    """
    results = [
        r
        for r in archive.values()
        if r.round == number and r.progress is Progress.EVALUATED and r.duplicate_of is None
    ]
    surprises = _surprises(answered)
    surprising = sorted((r for r in results if r.id in surprises), key=lambda r: (-surprises[r.id][0], r.id))[
        :each
    ]
    others = [r for r in results if r not in surprising]
    drawn = rng.permutation(len(others))[:each]
    told = [
        (r, f"surprising: {surprises[r.id][1]} off by {surprises[r.id][0]:.1f} sigma") for r in surprising
    ]
    return told + [(others[i], "at random") for i in sorted(drawn)]


def _surprises(answered: Sequence[AnsweredPrediction]) -> dict[str, tuple[float, str]]:
    from loop.honesty import Forecast

    found: dict[str, tuple[float, str]] = {}
    for a in answered:
        if a.measurement.bound is Bound.EXACT:
            score = Forecast(a.prediction.mean, a.prediction.std, a.measurement.value).score
            found[a.candidate_id] = max(found.get(a.candidate_id, (0.0, "")), (score, a.prediction.property))
    return found


def _latest(measurements: Sequence[Measurement], audit: Measurement) -> Measurement | None:
    """The campaign's latest value of the same property at the same conditions, both no mere limits."""
    same = [
        m
        for m in measurements
        if m.property == audit.property
        and dict(m.conditions) == dict(audit.conditions)
        and m.bound is Bound.EXACT
        and audit.bound is Bound.EXACT
    ]
    return same[-1] if same else None


def _same_structure(record: Record, outcome: Outcome) -> bool | None:
    """Whether the audit left the crystal what it was; None where it did not relax it."""
    if not (isinstance(outcome.material, Crystal) and isinstance(record.material, Crystal)):
        return None
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return bool(StructureMatcher().fit(record.material.structure, outcome.material.structure))
