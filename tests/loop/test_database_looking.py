"""Looking at a campaign while it runs, beside others, and with other tools."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine, event, text
from stored_campaign import (
    GOALS,
    LINE,
    A,
    B,
    C,
    candidate,
    decision,
    done,
    failed,
    gap,
    record,
    run_campaign,
)

from loop.database import connection
from loop.database.errors import StateError
from loop.database.store import Store
from materials.archive import Progress


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
