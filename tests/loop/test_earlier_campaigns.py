"""What an earlier campaign measured is known before the first round of a new one, and where it came from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from campaigns import write_campaign
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_campaign import GOALS, LINE, A, B, C, candidate, decision, done, failed, gap, key, planned
from typer.testing import CliRunner

from loop.campaign import app as campaign
from loop.database.store import Store
from loop.engine import Campaign, ExitCode
from loop.errors import CampaignError
from loop.loading import ConfigError, load_campaign
from loop.prior import read_prior
from loop.report.folder import open_view
from materials.archive import Record
from materials.base import Bound, Composition, Measurement
from materials.evaluation import Outcome, Status
from materials.properties import CONDITIONS, PROPERTIES, Property

BUDGET = {"rounds": 1, "batch": 4, "pool": 20}
FINAL = Composition("Na3Cl")


def run(file: Path, folder: Path) -> list[Record]:
    """Runs a campaign to its end: its records, in their order."""
    with Campaign(load_campaign(str(file)).config, folder) as driver:
        assert driver.run() is ExitCode.DONE
        return list(driver.archive().values())


def own(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if not r.known_before and r.measurements]


@pytest.fixture
def run_folder(tmp_path: Path, place: str) -> Path:
    """The run folder of an earlier campaign named test, on each kind of database in turn.

    A was relaxed and measured, B failed after its relaxation, C is the same as A. Li2S is doubted. LiF was known.
    """
    doubted = candidate("Li2S")
    with Store.open(place, "test", create=True) as store:
        store.begin({"name": "test"}, "fingerprint")
        store.add_prior([candidate("LiF")], {candidate("LiF").id: [gap(8.5)]})
        picked = [A, B, C, doubted]
        store.commit_decision(1, **decision(picked, picked))
        store.record_outcome(done(A.id, 0, 1.25, material=FINAL), 1)
        store.record_outcome(done(B.id, 0, 2.5), 1)
        store.record_outcome(done(C.id, 0, 1.25, material=FINAL), 1)
        store.set_duplicate(C.id, A.id, "after_relaxation")
        store.record_outcome(done(doubted.id, 0, 9.0, doubt="models disagree"), 1)
        for chosen, outcome in ((A, done(A.id, 1, 3.5)), (B, failed(B.id, 1))):
            store.plan(planned(chosen.id, 1), 1)
            store.record_outcome(outcome, 1)
    folder = tmp_path / "earlier"
    folder.mkdir()
    goals = [{"property": "band_gap", "goal": "maximize"}]
    document = {
        "name": "test",
        "space": {"elements": ["Li", "Cl"]},
        "objectives": goals,
        "oracles": [{"kind": "relax"}],
    }
    url = place if "://" in place else f"sqlite:///{place}"
    (folder / "campaign.yaml").write_text(yaml.safe_dump(document | {"database": url}))
    return folder


def test_what_counted_is_known_with_its_provenance(run_folder: Path) -> None:
    prior = read_prior([run_folder])
    assert [c.id for c in prior.candidates] == [A.id, B.id, C.id]
    assert prior.measurements == {A.id: [gap(1.25), gap(3.5)], B.id: [gap(2.5)], C.id: [gap(1.25)]}
    assert prior.doubted == 1
    notes = {c.id: (c.origin.generator, c.origin.note) for c in prior.candidates}
    assert notes[A.id] == ("data", f"campaign test, candidate {A.id}, round 1, by random")
    assert notes[B.id] == ("data", f"campaign test, candidate {B.id}, round 1, by files")


def test_a_new_campaign_knows_materials_as_they_were_left_and_their_repetitions(
    run_folder: Path, tmp_path: Path
) -> None:
    prior = read_prior([run_folder])
    with Store.open(tmp_path / "new.db", "new", create=True) as store:
        for _ in range(2):
            store.add_prior(prior.candidates, prior.measurements, prior.finals, prior.duplicates)
        records = store.archive(GOALS, (), LINE)
        seen = {i: (material, final) for i, material, final in store.seen()}
    assert all(record.known_before for record in records.values())
    assert {i: r.measurements for i, r in records.items()} == {
        i: tuple(found) for i, found in prior.measurements.items()
    }
    assert seen == {
        A.id: (A.material, FINAL),
        B.id: (B.material, None),
        C.id: (C.material, FINAL),
    }
    assert (records[A.id].duplicate_of, records[C.id].duplicate_of) == (None, A.id)
    assert [r.id for r in records.complete] == [A.id, B.id]


def _measurements() -> st.SearchStrategy[Measurement]:
    numbers = st.floats(-1e6, 1e6)

    def of(known: Property) -> st.SearchStrategy[Measurement]:
        return st.builds(
            Measurement,
            property=st.just(known.name),
            value=numbers,
            unit=st.just(known.unit),
            fidelity=st.sampled_from(known.fidelities),
            oracle=st.sampled_from(["relax", "hull_2", "data"]),
            std=st.none() | st.floats(0, 1e6),
            bound=st.sampled_from(Bound),
            conditions=st.dictionaries(st.sampled_from([*CONDITIONS, "other"]), numbers, max_size=3),
        )

    return st.sampled_from(list(PROPERTIES.values())).flatmap(of)


@settings(max_examples=15, deadline=None)
@given(st.lists(_measurements(), min_size=1, max_size=6))
def test_measurements_are_kept_exactly(measured: list[Measurement]) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder, "campaign.db")
        with Store.open(place, "earlier", create=True) as store:
            store.commit_decision(1, **decision([A], [A]))
            store.record_outcome(Outcome(key(A.id, 0), A.id, LINE[0], Status.DONE, tuple(measured)), 1)
        assert read_prior([place]).measurements == {A.id: measured}


def test_a_campaign_starts_from_an_earlier_one_and_a_table(tmp_path: Path) -> None:
    first = run(write_campaign(tmp_path / "first", name="first", budget=BUDGET), tmp_path / "first" / "run")
    file = write_campaign(tmp_path / "second", data=["known.csv", "../first/run"], budget=BUDGET)
    second = run(file, tmp_path / "second" / "run")
    known = {r.id: r for r in second if r.known_before}
    assert len(known) == 6 + len(own(first))
    for record in own(first):
        assert known[record.id].measurements == record.measurements
        assert known[record.id].candidate.origin.note.startswith(
            f"campaign first, candidate {record.id}, round 1"
        )
    assert not {r.id for r in own(second)} & {r.id for r in own(first)}


def test_an_earlier_campaign_that_went_on_is_refused(tmp_path: Path) -> None:
    earlier = write_campaign(tmp_path / "first", name="first", budget=BUDGET)
    run(earlier, tmp_path / "first" / "run")
    file = write_campaign(tmp_path / "second", data=["../first/run"], budget=BUDGET)
    before = run(file, tmp_path / "second" / "run")
    run(earlier, tmp_path / "first" / "run")  # nothing left to do: the report and the lock are no content
    assert run(file, tmp_path / "second" / "run") == before
    run(
        write_campaign(tmp_path / "first", name="first", budget=BUDGET | {"rounds": 2}),
        tmp_path / "first" / "run",
    )
    with pytest.raises(CampaignError, match=r"data\[0\]: the content of the file or folder differs"):
        run(file, tmp_path / "second" / "run")


def dry_run(folder: Path, **changes: object) -> tuple[int, str]:
    result = CliRunner().invoke(campaign, [str(write_campaign(folder, **changes)), "--dry-run"])
    return result.exit_code, " ".join(result.output.split())


def test_a_dry_run_tells_how_much_is_known(run_folder: Path, tmp_path: Path) -> None:
    code, told = dry_run(tmp_path / "new", data=[str(run_folder)])
    assert code == 0
    assert "3 materials with 4 measurements in the campaign of" in told
    assert "1 doubted, left out" in told, told


def _other_revision(folder: Path) -> Path:
    with Store.open(folder / "campaign.db", "earlier", create=True) as store:
        store.begin({}, "fingerprint")
    with closing(sqlite3.connect(folder / "campaign.db")) as connection, connection:
        connection.execute("UPDATE matloop_version SET version_num = '0001'")
    return folder / "campaign.db"


def _no_campaign(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    return folder / "mlflow.db"


def _no_database(folder: Path) -> Path:
    (folder / "campaign.db").write_text("not a database, but some text that is long enough to be one " * 20)
    return folder / "campaign.db"


def _structures(folder: Path) -> Path:
    (folder / "some.cif").touch()
    return folder


SOURCES: Mapping[str, tuple[object, str]] = {
    "another revision": (_other_revision, "its tables are of revision 0001"),
    "another program's": (_no_campaign, "this database holds no campaign"),
    "text": (_no_database, "it is not an SQLite database"),
    "structures": (_structures, "is no run folder: campaign.yaml is missing"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_no_readable_campaign_is_refused_with_its_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "source").mkdir()
    make, reason = SOURCES[source]
    file = write_campaign(tmp_path, data=[str(make(tmp_path / "source"))])  # type: ignore[operator]
    with pytest.raises(ConfigError, match=rf"campaign.yaml:\d+: data\[0\]: .*{reason}"):
        load_campaign(str(file))


def test_a_campaign_that_measured_nothing_is_told(tmp_path: Path) -> None:
    with Store.open(tmp_path / "campaign.db", "earlier", create=True) as store:
        store.commit_decision(1, **decision([A], [A]))
    code, told = dry_run(tmp_path / "new", data=[str(tmp_path / "campaign.db")])
    assert code == 2
    assert "nothing is known from this campaign: it measured nothing" in told


def test_a_run_folder_is_looked_at_without_what_it_was_made_from(tmp_path: Path) -> None:
    run(write_campaign(tmp_path / "first", name="first", budget=BUDGET), tmp_path / "first" / "run")
    file = write_campaign(tmp_path / "second", data=["../first/run"], budget=BUDGET)
    run(file, tmp_path / "second" / "run")
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    view, _ = open_view(tmp_path / "second" / "run")
    assert sum(record.known_before for record in view.archive.values()) > 0
    with pytest.raises(ConfigError, match="no such file or folder"):
        load_campaign(str(file))
