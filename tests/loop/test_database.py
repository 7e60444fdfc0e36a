"""Campaigns, decisions, rounds and models in the store, on SQLite and PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable

import pymatgen.core as pmg
import pytest
from stored_campaign import (
    GOALS,
    LINE,
    A,
    B,
    C,
    candidate,
    decision,
    done,
    gap,
    key,
    planned,
    record,
)

from loop.database.errors import StateError
from loop.database.rows import Duplicate, EvaluationStatus
from loop.database.store import Store
from materials.archive import Progress, Record
from materials.base import Bound, Candidate, Crystal, Origin, Prediction, Recipe, Selection
from materials.evaluation import Ticket


def test_a_new_campaign_is_empty(store: Store) -> None:
    assert store.config() is None
    assert store.last_round() == 0
    assert store.open_round() is None
    assert len(store.archive(GOALS, (), LINE)) == 0
    assert store.rounds() == store.evaluations() == store.models() == list(store.seen()) == []
    assert store.run_ids() == store.failure_counts() == store.seconds_by_oracle() == {}


def test_the_configuration_is_kept_and_may_grow_but_not_change_its_meaning(store: Store) -> None:
    store.begin({"budget": {"rounds": 3}, "seed": 1}, "meaning")
    store.begin({"budget": {"rounds": 5}, "seed": 1}, "meaning")
    assert store.config() == {"budget": {"rounds": 5}, "seed": 1}
    with pytest.raises(StateError, match="another configuration"):
        store.begin({"seed": 2}, "another meaning")
    assert store.config() == {"budget": {"rounds": 5}, "seed": 1}


def test_a_decision_comes_back_as_it_was_given(decided: Store) -> None:
    given = decision([A, B, C], [A, B])
    assert decided.pool(1) == [A, B, C]
    assert [c.origin for c in decided.pool(1)] == [A.origin, B.origin, C.origin]
    assert decided.selections(1) == given["selections"]
    assert decided.predictions(1) == given["predictions"]
    assert decided.refusals(1) == given["refusals"]
    (row,) = decided.rounds()
    assert (row.number, row.seed, row.closed_at, row.timings) == (1, 7, None, {"fit": 0.5})
    assert decided.open_round() == row
    rows = decided.evaluations()
    assert [(r.key, r.status, r.attempts, r.stage, r.round) for r in rows] == [
        (key(A.id, 0), EvaluationStatus.PLANNED, 0, 0, 1),
        (key(B.id, 0), EvaluationStatus.PLANNED, 0, 0, 1),
    ]


def test_deciding_a_round_again_changes_nothing_and_another_choice_is_refused(decided: Store) -> None:
    before = decided.dump()
    decided.commit_decision(1, **decision([A, B, C], [A, B]))
    assert decided.dump() == before
    with pytest.raises(StateError, match="round 1 was decided before"):
        decided.commit_decision(1, **decision([A, B, C], [C]))
    assert decided.dump() == before


def test_a_decision_that_cannot_be_kept_whole_is_not_kept_at_all(store: Store) -> None:
    with pytest.raises(StateError):
        store.commit_decision(1, **decision([A], [A], evaluations=[planned(B.id, 0)]))
    assert store.dump() == []
    assert store.last_round() == 0


def test_numbers_a_model_could_not_give_have_no_row(store: Store) -> None:
    broken = {A.id: (Prediction("band_gap", math.nan, 1.0), Prediction("diffusivity", 1.0, 0.1))}
    picked = [Selection(A, "relax", "first", -math.inf)]
    versions = {"band_gap": "gp@1", "diffusivity": "gp@1"}
    store.commit_decision(
        1, **decision([A], [A], predictions=broken, selections=picked, model_versions=versions)
    )
    assert store.predictions(1) == {A.id: (Prediction("diffusivity", 1.0, 0.1),)}
    assert store.selections(1)[0].acquisition_value is None


def test_a_refused_duplicate_is_kept_beside_the_pool(store: Store) -> None:
    store.commit_decision(1, **decision([A], [A], duplicates=[Duplicate(B, A.id)]))
    assert store.pool(1) == [A]
    assert list(store.archive(GOALS, (), LINE)) == [A.id]
    assert any("before_relaxation" in line and B.id in line for line in store.dump())


def test_prior_data_are_known_before_and_added_once(store: Store) -> None:
    known = gap(8.5, "experiment", "lab", std=0.1, bound=Bound.LOWER, conditions={"temperature": 300.0})
    for _ in range(2):
        store.add_prior([A, B, A], {A.id: [known, known, gap(7.0)]})
    store.add_prior([C], {A.id: [known], C.id: [gap(1.0)]})
    archive = store.archive(GOALS, (), LINE)
    assert list(archive) == [A.id, B.id, C.id]
    assert archive[A.id] == Record(
        A, A.material, Progress.EVALUATED, (known, known, gap(7.0)), round=None, known_before=True
    )
    assert archive[B.id].measurements == ()


def test_a_negative_zero_is_added_once(store: Store) -> None:
    for _ in range(2):
        store.add_prior([A], {A.id: [gap(-0.0)]})
    assert [m.value for m in store.archive(GOALS, (), LINE)[A.id].measurements] == [0.0]


def test_a_candidate_keeps_the_origin_it_was_first_seen_with(decided: Store) -> None:
    decided.close_round(1)
    again = candidate("Li3PS4", "genetic")
    decided.commit_decision(2, **decision([again], [again]))
    assert record(decided, C).candidate.origin.generator == "files"
    assert record(decided, C).round == 2


def test_evaluations_are_found_by_status_round_and_candidate(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    decided.close_round(1)
    decided.commit_decision(2, **decision([C], [C]))
    assert [r.candidate_id for r in decided.evaluations(EvaluationStatus.PLANNED)] == [B.id, C.id]
    assert [r.candidate_id for r in decided.evaluations(round=2)] == [C.id]
    both = decided.evaluations(EvaluationStatus.PLANNED, EvaluationStatus.DONE, round=1)
    assert [r.candidate_id for r in both] == [A.id, B.id]
    assert decided.evaluations(candidate_id="nobody") == []


def test_rounds_close_once(decided: Store) -> None:
    decided.close_round(1, {"evaluate": 2.0}, {"warning": "sparse hull"})
    (row,) = decided.rounds()
    decided.close_round(1, {"evaluate": 9.0})
    assert decided.rounds() == [row]
    assert (row.timings, row.notes) == ({"fit": 0.5, "evaluate": 2.0}, {"warning": "sparse hull"})
    assert decided.open_round() is None
    assert decided.last_round() == 1
    with pytest.raises(StateError, match="round 2 has not been decided"):
        decided.close_round(2)


def test_models_have_one_champion_a_role(store: Store) -> None:
    for version in ("1", "2", "2"):
        store.add_model("surrogate", version, f"models/{version}", "00", champion=True)
    store.add_model("surrogate", "3", "models/3", "11", champion=False)
    store.add_model("energy", "1", "models/e", "22", champion=True)
    assert [(m.version, m.champion) for m in store.models("surrogate")] == [
        ("1", False),
        ("2", True),
        ("3", False),
    ]
    assert [m.role for m in store.models() if m.champion] == ["surrogate", "energy"]


def test_tracking_ids_are_kept(decided: Store) -> None:
    decided.set_run_id(None, "parent")
    decided.set_run_id(1, "child")
    assert decided.run_ids() == {None: "parent", 1: "child"}
    assert decided.rounds()[0].mlflow_run_id == "child"


def test_crystals_and_recipes_come_back_exactly(store: Store) -> None:
    lattice = [[3.1, 0.1, 0.0], [0.0, 1 / 3, math.pi], [-7.3, 1e-17, 5.000000000000001]]
    species = [{"Li+": 0.3, "Na+": 0.7}, "Cl-"]
    structure = pmg.Structure(lattice, species, [[0.1, 0.2, 0.3], [1 / 3, 2 / 3, 0.9999999999999999]])
    recipe = Recipe({"Li2CO3": 1.05, "NaCl": 1 / 7}, 900.0, 12.5, "argon")
    given = Candidate(Crystal(structure), Origin("files"), recipe)
    store.add_prior([given], {})
    (kept,) = store.archive(GOALS, (), LINE).values()
    assert kept.candidate == given
    assert kept.candidate.id == kept.id == given.id


def test_what_was_never_decided_is_refused(store: Store) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.mark_attempt("nothing"),
        lambda: store.mark_submitted("nothing", Ticket("relax", "nothing")),
        lambda: store.plan(planned(A.id, 0), 1),
        lambda: store.stop(A.id, "gate"),
        lambda: store.record_outcome(done(A.id, 0), 1),
        lambda: store.set_duplicate(A.id, B.id, "after_relaxation"),
        lambda: store.add_prior([], {A.id: [gap(1.0)]}),
    ]
    for act in acts:
        with pytest.raises(StateError, match=r"no (evaluation|candidate)"):
            act()
    assert store.dump() == []
