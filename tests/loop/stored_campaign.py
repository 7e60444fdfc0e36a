"""Values for the database's tests, and a small campaign that drives a store as the engine does."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from loop.database.rows import PlannedEvaluation
from loop.database.store import Store
from loop.database.view import View
from materials.archive import Record
from materials.base import Candidate, Composition, Measurement, Origin, Prediction, Selection, content_hash
from materials.evaluation import Failure, FailureKind, Outcome, Status, Ticket
from materials.goals import Objective

LINE = ("relax", "table")
GOALS = (Objective("band_gap", "maximize"),)
FORMULAS = [f"Li{n}{anion}" for n in range(1, 9) for anion in ("Cl", "O", "S", "P", "N")]


def candidate(formula: str, generator: str = "files") -> Candidate:
    return Candidate(Composition(formula), Origin(generator, ("parent",), 2**40, (0.1, 1e-300), "a note"))


A, B, C = candidate("LiCl", "random"), candidate("Li2O"), candidate("Li3PS4")


def gap(value: float, fidelity: str = "PBE", oracle: str = "table", **more: Any) -> Measurement:
    return Measurement("band_gap", value, "eV", fidelity, oracle, **more)


def key(candidate_id: str, stage: int) -> str:
    return content_hash([candidate_id, stage])


def planned(candidate_id: str, stage: int) -> PlannedEvaluation:
    return PlannedEvaluation(key(candidate_id, stage), candidate_id, LINE[stage], stage)


def selection(chosen: Candidate) -> Selection:
    return Selection(chosen, "relax", "most promising", 0.25, 3.5, (Prediction("band_gap", 1.0, 0.5),))


def decision(pool: Sequence[Candidate], picked: Sequence[Candidate], **more: Any) -> dict[str, Any]:
    """Arguments of `commit_decision` after the round's number."""
    return {
        "seed": 7,
        "pool": pool,
        "refusals": {("random", "known before"): 3, ("random", "too small"): 1},
        "predictions": {c.id: (Prediction("band_gap", 1.0, 0.5),) for c in pool},
        "model_versions": {"band_gap": "gp@1"},
        "selections": [selection(c) for c in picked],
        "evaluations": [planned(c.id, 0) for c in picked],
        "timings": {"fit": 0.5},
        **more,
    }


def record(view: View, chosen: Candidate) -> Record:
    return view.archive(GOALS, (), LINE)[chosen.id]


def done(candidate_id: str, stage: int, value: float = 1.5, **more: Any) -> Outcome:
    return Outcome(
        key(candidate_id, stage), candidate_id, LINE[stage], Status.DONE, (gap(value),), seconds=2.0, **more
    )


def failed(candidate_id: str, stage: int, status: Status = Status.FAILED, **more: Any) -> Outcome:
    failure = Failure(FailureKind.EXPLODED, "the cell flew apart")
    return Outcome(
        key(candidate_id, stage), candidate_id, LINE[stage], status, failure=failure, seconds=1.0, **more
    )


def answer(candidate_id: str, stage: int) -> Outcome:
    """What the oracle of `stage` always says about a candidate: mostly a value, sometimes a failure."""
    draw = random.Random(key(candidate_id, stage))
    if draw.random() < 0.25:
        return failed(candidate_id, stage)
    relaxed = Composition(f"Na{draw.randint(1, 9)}Cl") if stage == 0 else None
    return done(candidate_id, stage, draw.uniform(0, 5), material=relaxed)


def run_campaign(store: Store, rounds: int = 3) -> None:
    """Runs or resumes a campaign of `rounds` rounds; every decision follows from what is in the store."""
    store.begin({"name": "test"}, "fingerprint")
    store.add_prior([candidate("LiF"), candidate("Li3N")], {candidate("LiF").id: [gap(8.5), gap(8.5)]})
    while (last := store.last_round()) < rounds or store.open_round():
        if store.open_round() is None:
            last += 1
            _decide(store, last)
        for chosen in store.selections(last):
            _evaluate(store, chosen.candidate.id, last)
        store.add_model("surrogate", f"gp@{last}", f"models/{last}", "00", champion=True, round=last)
        store.set_run_id(last, f"run-{last}")
        store.close_round(last, {"evaluate": 1.0})


def _decide(store: Store, number: int) -> None:
    known = {i for i, _, _ in store.seen()}
    best = max((r.value("band_gap") or 0.0 for r in store.archive(GOALS, (), LINE).evaluated), default=0.0)
    draw = random.Random(f"{number} {len(known)} {best!r}")
    pool = [c for c in (candidate(f) for f in draw.sample(FORMULAS, 12)) if c.id not in known]
    store.commit_decision(number, **decision(pool, pool[:4]))


def _evaluate(store: Store, candidate_id: str, number: int) -> None:
    rows: Mapping[str, Any] = {row.key: row for row in store.evaluations(candidate_id=candidate_id)}
    for stage in range(len(LINE)):
        row = rows.get(key(candidate_id, stage))
        if row is None:
            store.plan(planned(candidate_id, stage), number)
        if row is None or row.status in ("planned", "submitted"):
            attempt = store.mark_attempt(key(candidate_id, stage))
            store.mark_submitted(key(candidate_id, stage), Ticket(LINE[stage], "k", {"attempt": attempt}))
            store.record_outcome(answer(candidate_id, stage), number)
        outcome = store.outcome(key(candidate_id, stage))
        assert outcome is not None
        if outcome.status is not Status.DONE:
            return
        if stage == 0 and outcome.measurements[0].value > 4:
            store.stop(candidate_id, "relax: band_gap at most 4 not kept")
            return
