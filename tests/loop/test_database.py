"""The store, through its public methods, on SQLite and PostgreSQL."""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pymatgen.core as pmg
import pytest
from sqlalchemy import create_engine, event, text
from stored_campaign import (
    GOALS,
    LINE,
    candidate,
    decision,
    done,
    failed,
    gap,
    key,
    planned,
    run_campaign,
)

from loop.database import connection
from loop.database.errors import StateError
from loop.database.rows import Duplicate, EvaluationStatus
from loop.database.store import Store
from loop.database.view import View
from materials.archive import Progress, Record
from materials.base import (
    Bound,
    Candidate,
    Crystal,
    Failure,
    FailureKind,
    Origin,
    Outcome,
    Prediction,
    Recipe,
    Selection,
    Status,
    Ticket,
)

A, B, C = candidate("LiCl", "random"), candidate("Li2O"), candidate("Li3PS4")


@pytest.fixture
def store(place: str) -> Store:
    return Store.open(place, "test", create=True)


@pytest.fixture
def decided(store: Store) -> Store:
    """A store with one open round that picked A and B of A, B and C."""
    store.commit_decision(1, **decision([A, B, C], [A, B]))
    return store


def record(store: View, chosen: Candidate) -> Record:
    return store.archive(GOALS, (), LINE)[chosen.id]


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
    store.commit_decision(1, **decision([A], [A], predictions=broken, selections=picked))
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


def test_a_candidate_keeps_the_origin_it_was_first_seen_with(decided: Store) -> None:
    decided.close_round(1)
    again = candidate("Li3PS4", "genetic")
    decided.commit_decision(2, **decision([again], [again]))
    assert record(decided, C).candidate.origin.generator == "files"
    assert record(decided, C).round == 2


def test_a_line_goes_from_planned_to_evaluated(decided: Store) -> None:
    assert record(decided, A).progress is Progress.PENDING
    assert decided.mark_attempt(key(A.id, 0)) == 1
    ticket = Ticket("relax", key(A.id, 0), {"job": 12})
    decided.mark_submitted(key(A.id, 0), ticket)
    (row,) = decided.evaluations(EvaluationStatus.SUBMITTED)
    assert (row.ticket, row.attempts) == (ticket, 1)
    assert row.started_at is not None

    relaxed = candidate("Li2Cl2").material
    assert decided.record_outcome(done(A.id, 0, 2.5, material=relaxed), 1)
    assert record(decided, A).progress is Progress.PENDING
    assert record(decided, A).material == relaxed
    decided.plan(planned(A.id, 1), 1)
    decided.record_outcome(done(A.id, 1, 3.5), 1)
    assert record(decided, A) == Record(
        A, relaxed, Progress.EVALUATED, (gap(2.5), gap(3.5)), round=1, known_before=False
    )
    assert {i: after for i, _, after in decided.seen()} == {A.id: relaxed, B.id: None}


def test_the_last_stage_decides_the_material_in_whatever_order_answers_come(decided: Store) -> None:
    early, late = candidate("Li2Cl2").material, candidate("Li3Cl3").material
    decided.plan(planned(A.id, 1), 1)
    decided.record_outcome(done(A.id, 1, material=late), 1)
    decided.record_outcome(done(A.id, 0, material=early), 1)
    assert record(decided, A).material == late


def test_the_stage_counts_and_not_the_order_of_planning(store: Store) -> None:
    early, late = candidate("Li2Cl2").material, candidate("Li3Cl3").material
    store.commit_decision(1, **decision([A], [A], evaluations=[planned(A.id, 1), planned(A.id, 0)]))
    for stage, material in ((1, late), (0, early)):
        store.record_outcome(done(A.id, stage, float(stage), material=material), 1)
    assert record(store, A).material == late
    assert record(store, A).measurements == (gap(0.0), gap(1.0))


def test_an_outcome_comes_back_as_it_was_given(decided: Store) -> None:
    given = done(
        A.id,
        0,
        material=candidate("Li8Cl8").material,
        provenance={"version": "1.2", "steps": 31, "nested": {"fmax": 0.029999999999999999}},
        artifacts={"log": {"path": "evaluations/x/relax.log", "sha256": "00"}},
    )
    decided.record_outcome(given, 1)
    assert decided.outcome(given.key) == given
    assert decided.outcome(key(B.id, 0)) is None
    assert decided.outcome("nothing") is None


def test_the_first_valid_outcome_wins(decided: Store) -> None:
    assert decided.record_outcome(done(A.id, 0, 1.0), 1)
    before = decided.dump()
    assert not decided.record_outcome(done(A.id, 0, 2.0), 2)
    assert not decided.record_outcome(failed(A.id, 0), 2)
    decided.mark_submitted(key(A.id, 0), Ticket("relax", "late"))
    with pytest.raises(StateError, match="not asked again"):
        decided.mark_attempt(key(A.id, 0))
    assert decided.dump() == before


def test_a_failure_may_be_retried_and_a_rejection_may_not(decided: Store) -> None:
    for attempt in (1, 2):
        decided.record_outcome(failed(A.id, 0), 1)
        assert record(decided, A).progress is Progress.FAILED
        assert record(decided, A).failure == Failure(FailureKind.EXPLODED, "the cell flew apart")
        assert decided.evaluations(candidate_id=A.id)[0].attempts == attempt
    assert decided.mark_attempt(key(A.id, 0)) == 3
    assert record(decided, A).progress is Progress.PENDING
    decided.record_outcome(done(A.id, 0), 2)
    (row,) = decided.evaluations(candidate_id=A.id)
    assert (row.status, row.attempts, row.failure, row.round, row.arrived_in_round) == ("done", 3, None, 1, 2)

    decided.record_outcome(failed(B.id, 0, Status.REJECTED), 1)
    assert not decided.record_outcome(done(B.id, 0), 1)
    assert record(decided, B).progress is Progress.FAILED
    assert decided.failure_counts() == {"exploded": 1}


def test_an_unknown_outcome_waits_for_a_person(decided: Store) -> None:
    decided.record_outcome(failed(A.id, 0, Status.UNKNOWN), 1)
    assert record(decided, A).progress is Progress.PENDING
    decided.record_outcome(done(A.id, 0), 1)
    assert record(decided, A).measurements == (gap(1.5),)


def test_what_a_failure_measured_is_kept_but_no_value(decided: Store) -> None:
    partial = failed(A.id, 0, measurements=(gap(9.0),), material=candidate("Li9Cl9").material)
    decided.record_outcome(partial, 1)
    assert decided.outcome(partial.key) == partial
    assert record(decided, A).measurements == ()
    assert record(decided, A).material == A.material
    decided.record_outcome(done(A.id, 0, 2.0), 1)
    assert record(decided, A).measurements == (gap(2.0),)


def test_a_stopped_line_and_a_duplicate_count_as_evaluated(decided: Store) -> None:
    for chosen in (A, B):
        decided.record_outcome(done(chosen.id, 0), 1)
    decided.stop(A.id, "relax: band_gap at least 2 not kept")
    decided.set_duplicate(B.id, A.id, "after_relaxation")
    assert record(decided, A).stopped_by == "relax: band_gap at least 2 not kept"
    assert record(decided, B).duplicate_of == A.id
    assert {r.progress for r in decided.archive(GOALS, (), LINE).values()} == {Progress.EVALUATED}


def test_cancelled_evaluations_end_a_line_unless_an_answer_comes_after_all(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    assert decided.cancel_open("stopped by hand", round=1) == [key(B.id, 0)]
    assert decided.cancel_open("stopped by hand") == []
    assert record(decided, B).progress is Progress.FAILED
    assert record(decided, B).failure is None
    assert decided.outcome(key(B.id, 0)) is None
    assert not decided.record_outcome(failed(B.id, 0), 1)
    assert decided.record_outcome(done(B.id, 0), 1)
    assert record(decided, B).progress is Progress.PENDING


def test_evaluations_are_found_by_status_round_and_candidate(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    decided.close_round(1)
    decided.commit_decision(2, **decision([C], [C]))
    assert [r.candidate_id for r in decided.evaluations(EvaluationStatus.PLANNED)] == [B.id, C.id]
    assert [r.candidate_id for r in decided.evaluations(round=2)] == [C.id]
    both = decided.evaluations(EvaluationStatus.PLANNED, EvaluationStatus.DONE, round=1)
    assert [r.candidate_id for r in both] == [A.id, B.id]
    assert decided.evaluations(candidate_id="nobody") == []


def test_seconds_are_the_median_of_an_oracle(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    decided.record_outcome(failed(B.id, 0), 1)
    assert decided.seconds_by_oracle() == {"relax": 1.5}


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


def test_a_message_with_any_character_is_kept_readable(decided: Store) -> None:
    failure = Failure(FailureKind.ERROR, "zero \0, lone \ud800, ångström")
    decided.record_outcome(Outcome(key(A.id, 0), A.id, "relax", Status.FAILED, failure=failure), 1)
    kept = decided.evaluations(candidate_id=A.id)[0].failure
    assert kept is not None
    assert kept.message == "zero \\0, lone \\ud800, ångström"


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


def test_a_viewer_sees_each_change_and_cannot_write(place: str, decided: Store) -> None:
    with Store.view(place) as viewer:
        assert viewer.name == "test"
        assert record(viewer, A).progress is Progress.PENDING
        decided.record_outcome(failed(A.id, 0), 1)
        assert record(viewer, A).progress is Progress.FAILED
        decided.close_round(1)
        decided.commit_decision(2, **decision([C], [C]))
        assert list(viewer.archive(GOALS, (), LINE)) == [A.id, B.id, C.id]
        assert viewer.dump() == decided.dump()
        with pytest.raises(StateError), viewer._read() as session:
            session.execute(text("DELETE FROM selections"))


def test_a_viewer_looking_all_the_time_sees_whole_steps_and_disturbs_nobody(place: str, store: Store) -> None:
    running = threading.Event()

    def look() -> int:
        looks = 0
        with Store.view(place) as viewer:
            while not running.is_set():
                asked = {row.candidate_id for row in viewer.evaluations()}
                picked = {s.candidate.id for row in viewer.rounds() for s in viewer.selections(row.number)}
                assert asked <= picked
                archive = viewer.archive(GOALS, (), LINE)
                assert set(archive) >= picked
                assert all(r.measurements or r.known_before for r in archive.evaluated)
                looks += 1
            assert viewer.dump() == store.dump()
        return looks

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        run_campaign(store, 2)
        running.set()
        assert looking.result() > 1


def test_a_look_is_of_one_moment_even_when_the_driver_writes_in_between(place: str, decided: Store) -> None:
    waiting = [done(A.id, 0)]

    def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM evaluations" in statement and waiting:
            decided.record_outcome(waiting.pop(), 1)

    with Store.view(place) as viewer:
        event.listen(viewer._engine, "after_cursor_execute", write)
        before = record(viewer, A)
        assert not waiting
        assert (before.progress, before.measurements) == (Progress.PENDING, ())
        assert viewer.archive(GOALS, (), LINE[:1])[A.id].measurements == (gap(1.5),)


def test_the_archive_of_a_longer_line_is_read_anew(decided: Store) -> None:
    decided.record_outcome(done(A.id, 0), 1)
    assert decided.archive(GOALS, (), LINE[:1])[A.id].progress is Progress.EVALUATED
    assert decided.archive(GOALS, (), LINE)[A.id].progress is Progress.PENDING


def test_several_campaigns_share_a_database_without_seeing_one_another(place: str) -> None:
    first, second = (Store.open(place, name, create=True) for name in ("first", "second"))
    run_campaign(first)
    assert second.dump() == []
    run_campaign(second)
    assert first.dump() == second.dump()
    second.commit_decision(4, **decision([A], [A]))
    assert first.last_round() == 3
    with pytest.raises(StateError, match=r"first.*second"):
        Store.view(place)
    assert Store.view(place, "second").last_round() == 4
    with pytest.raises(StateError, match="no campaign 'third'"):
        Store.open(place, "third", create=False)


def test_equal_campaigns_have_equal_digests_on_every_database(tmp_path: Path, postgres_url: str) -> None:
    digests = set()
    for place in (str(tmp_path / "campaign.db"), postgres_url):
        with Store.open(place, "test", create=True) as store:
            run_campaign(store)
            digests.add(store.content_digest())
            store.cancel_open("nothing is open")
            digests.add(store.content_digest())
            store.add_prior([candidate("Li7P3S11")], {})
            assert store.content_digest() not in digests
    assert len(digests) == 1


def test_tables_are_read_with_pandas(place: str, decided: Store) -> None:
    decided.record_outcome(done(A.id, 0, 2.25), 1)
    engine = create_engine(connection.database_url(place))
    query = "SELECT c.formula, m.value, m.unit FROM measurements m JOIN candidates c ON c.id = m.candidate_id"
    frame = pd.read_sql(query, engine)
    engine.dispose()
    assert frame.to_dict("records") == [{"formula": "LiCl", "value": 2.25, "unit": "eV"}]


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no campaign database is there"):
        Store.view(tmp_path / "campaign.db")
    with pytest.raises(StateError, match="no campaign database is there"):
        Store.open(tmp_path / "campaign.db", "test", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("mysql://somewhere/db", "not supported"),
        ("sqlite://", "would be lost"),
        ("http://", "not an SQLAlchemy URL|not supported"),
        ("postgresql://nobody:secret@127.0.0.1:9/nothing?connect_timeout=2", "127.0.0.1:9"),
    ],
)
def test_a_wrong_database_is_refused_without_telling_passwords(place: str, complaint: str) -> None:
    with pytest.raises(StateError, match=complaint) as caught:
        Store.open(place, "test", create=True)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    path.write_text("measured by hand\n" * 100)
    with pytest.raises(StateError, match="not an SQLite database"):
        Store.open(path, "test", create=True)
    assert path.read_text().startswith("measured by hand")


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    path = tmp_path / "campaign.db"
    store = Store.open(path, "test", create=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match=r"campaign.db: another program"):
        store.begin({}, "f")
    other.execute("ROLLBACK")
    store.begin({}, "f")


def test_a_network_file_system_gets_a_rollback_journal_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [mounted])
    with caplog.at_level(logging.WARNING):
        store = Store.open(tmp_path / "campaign.db", "test", create=True)
    assert "nfs4" in caplog.text
    run_campaign(store, 1)
    reader = sqlite3.connect(tmp_path / "campaign.db")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_local_file_system_gets_a_write_ahead_log(tmp_path: Path) -> None:
    Store.open(tmp_path / "campaign.db", "test", create=True)
    reader = sqlite3.connect(tmp_path / "campaign.db")
    assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_guides_examples_run(memory_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = memory_folder / "runs" / "battery"
    folder.mkdir(parents=True)
    with Store.open(folder / "campaign.db", "battery", create=True) as store:
        run_campaign(store, 1)
    guide = Path(__file__).parents[2] / "docs" / "database.md"
    monkeypatch.chdir(memory_folder)
    examples = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    reading = [example for example in examples if "runs/battery" in example]
    assert len(reading) == 2
    for example in reading:
        exec(example, {})
