"""Audits: some results of each round measured again by another oracle, shown and never learned from."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from campaigns import answer, formulas, run, write_campaign
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.audit import choose
from loop.audit_record import SAME_DATA, audited_in, oracle_told, same_data
from loop.database.rows import AnsweredPrediction
from loop.database.store import Store
from loop.engine import Campaign, ExitCode
from loop.events import Listener
from loop.loading import ConfigError, load_campaign
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Measurement, Origin, Prediction
from oracles.relax import RelaxSettings

OFFSET = 0.25


def audited_campaign(folder: Path, **audit: object) -> Path:
    """The campaign of `campaigns`, audited by a second table whose band gaps are OFFSET larger."""
    file = write_campaign(folder, acquisition={"kind": "noisy_expected_improvement"})
    with (folder / "second.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["formula", "band_gap"])
        writer.writerows([f, answer(f)[1] + OFFSET] for f in formulas())
    block = {"each": 2, "oracle": second_table()} | audit
    document = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(document | {"audit": block}, sort_keys=False))
    return file


def second_table() -> dict[str, object]:
    return {"kind": "table", "file": "second.csv", "measures": ["band_gap"], "fidelity": "experiment"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("audited")
    code, output = run(audited_campaign(folder), folder / "run")
    assert code == 0, output
    return folder / "run", output


def test_each_round_tells_how_far_the_two_are_apart(finished: tuple[Path, str]) -> None:
    folder, output = finished
    with Store.view(folder / "campaign.db") as store:
        rounds = [audited_in(row) for row in store.rounds()]
    assert len(rounds) == 3
    for audited in rounds:
        assert 0 < len(audited) <= 4
        assert len({one.candidate_id for one in audited}) == len(audited)
        reasons = [one.why.split(":")[0] for one in audited]
        assert reasons == sorted(reasons, reverse=True)  # the surprising ones first
        assert all(
            d.difference == pytest.approx(OFFSET, abs=1e-4) for one in audited for d in one.disagreements
        )
    assert any(one.disagreements for audited in rounds for one in audited)
    assert "measured again by table; band_gap apart by 0.25 (median)" in output
    assert "Measured again by another oracle" in (folder / "report.html").read_text()


def test_nothing_is_learned_from_an_audit(finished: tuple[Path, str], tmp_path: Path) -> None:
    file = audited_campaign(tmp_path)
    document = yaml.safe_load(file.read_text())
    del document["audit"]
    file.write_text(yaml.safe_dump(document))
    code, output = run(file, tmp_path / "run")
    assert code == 0, output
    with (
        Store.view(finished[0] / "campaign.db") as audited,
        Store.view(tmp_path / "run" / "campaign.db") as alone,
    ):
        with_audit = [line for line in audited.dump() if '"oracle":"audit"' not in line]
        assert with_audit == alone.dump()
        assert len(with_audit) < len(audited.dump())


def test_an_interrupted_audit_goes_on(finished: tuple[Path, str], tmp_path: Path) -> None:
    class Waits(Listener):
        """Ends the driver the second time that an audit's answer has come."""

        audits = 0

        def step_started(self, step: str) -> None:
            self.auditing = step == "audit"

        def waiting(self) -> None:
            if self.auditing:
                self.audits += 1
                if self.audits == 2:
                    raise KeyboardInterrupt

    config = load_campaign(str(audited_campaign(tmp_path))).config
    with pytest.raises(KeyboardInterrupt), Campaign(config, tmp_path / "run", Waits()) as campaign:
        campaign.run()
    with Campaign(config, tmp_path / "run") as campaign:
        assert campaign.run() is ExitCode.DONE
    with (
        Store.view(finished[0] / "campaign.db") as whole,
        Store.view(tmp_path / "run" / "campaign.db") as cut,
    ):
        assert cut.content_digest() == whole.content_digest()
        assert [audited_in(row) for row in cut.rounds()] == [audited_in(row) for row in whole.rounds()]


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        ({"kind": "table", "file": "answers.csv", "measures": ["band_gap"], "fidelity": "experiment",
          "gate": {"band_gap": {"at_least": 1.8}}}, "same table already"),
        ({"kind": "relax"}, "crystal"),
        ({"kind": "table", "file": "second.csv", "measures": ["diffusivity"], "fidelity": "experiment"}, "diffusivity"),
    ],
)  # fmt: skip
def test_an_audit_that_can_tell_nothing_is_refused(
    tmp_path: Path, oracle: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_campaign(str(audited_campaign(tmp_path, oracle=oracle)))


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        ({"kind": "relax", "fmax": 0.02}, "same relax already"),
        ({"kind": "insertion", "potential": "7net-l3i5"}, "name the same potential in both blocks"),
        ({"kind": "relax", "potential": "7net-l3i5"}, None),
    ],
)
def test_an_audit_is_independent_and_fits_the_line(
    tmp_path: Path, oracle: dict[str, object], message: str | None
) -> None:
    document = {
        "name": "salts",
        "space": {"elements": ["Li", "Cl"], "required": ["Li"]},
        "objectives": [{"property": "energy_above_hull", "goal": "minimize"}],
        "oracles": [{"kind": "relax"}, {"kind": "hull"}],
        "audit": {"oracle": oracle},
    }
    file = tmp_path / "salts.yaml"
    file.write_text(yaml.safe_dump(document))
    if message is None:
        assert load_campaign(str(file)).config.audit is not None
        return
    with pytest.raises(ConfigError, match=message):
        load_campaign(str(file))


@pytest.mark.parametrize(
    ("potential", "alike"),
    [("7net-l3i5", True), ("7net-mf-0:R2SCAN", False), ("ase.calculators.emt:EMT", False)],
)
def test_an_audit_says_its_potential_and_whether_it_learned_the_same_data(
    potential: str, alike: bool
) -> None:
    audit = RelaxSettings(potential=potential)
    assert oracle_told(audit) == f"relax with {potential}"
    assert same_data(audit, [RelaxSettings()]) is alike
    assert not same_data(audit, [])


def record(number: int, progress: Progress) -> Record:
    material = Composition(f"Li{number + 1}Cl")
    return Record(Candidate(material, Origin("test")), material, progress, round=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(Progress), max_size=12), st.integers(1, 5), st.data())
def test_the_most_surprising_and_as_many_others_are_chosen(
    progresses: list[Progress], each: int, data: st.DataObject
) -> None:
    records = [record(i, p) for i, p in enumerate(progresses)]
    predicted = [r for r in records if data.draw(st.booleans())]
    offs = {r.id: data.draw(st.floats(0, 10)) for r in predicted}
    answered = [
        AnsweredPrediction(
            1, 1, i, Prediction("band_gap", 0.0, 1.0), Measurement("band_gap", off, "eV", "PBE", "o")
        )
        for i, off in offs.items()
    ]
    chosen = choose(Archive(records), 1, answered, each, np.random.default_rng(0))
    ids = [r.id for r, _ in chosen]
    assert len(set(ids)) == len(ids) <= 2 * each
    results = [r for r in records if r.progress is Progress.EVALUATED]
    assert set(ids) <= {r.id for r in results}
    known = sorted((offs[r.id] for r in results if r.id in offs), reverse=True)
    surprising = [offs[r.id] for r, why in chosen if why.startswith("surprising")]
    assert surprising == known[:each]
    assert len(ids) == min(len(results), len(surprising) + each)


@pytest.mark.slow
def test_another_potential_audits_real_relaxations(tmp_path: Path) -> None:
    from ase.build import bulk
    from ase.io import write

    for name, a in (("NaCl", 5.6), ("LiF", 4.0), ("KCl", 6.3), ("LiCl", 5.1)):
        write(tmp_path / f"{name}.cif", bulk(name, "rocksalt", a=a))
    document = {
        "name": "salts",
        "space": {"elements": ["Li", "Na", "K", "F", "Cl"], "number_of_atoms": [2, 4]},
        "objectives": [{"property": "energy_above_hull", "goal": "minimize"}],
        "generators": [{"kind": "files", "path": "."}],
        "oracles": [{"kind": "relax"}, {"kind": "hull"}],
        "audit": {"oracle": {"kind": "relax", "potential": "7net-l3i5"}},
        "budget": {"rounds": 1, "batch": 4, "pool": 4},
        "executor": {"kind": "serial"},
        "acquisition": {"kind": "random"},
        "surrogate": {"descriptor": "composition", "prior": "none"},
        "tracking": "none",
    }
    file = tmp_path / "salts.yaml"
    file.write_text(yaml.safe_dump(document))
    code, output = run(file, tmp_path / "run")
    assert code == 0, output
    with Store.view(tmp_path / "run" / "campaign.db") as store:
        audited = audited_in(store.rounds()[0])
    assert audited
    for one in audited:
        assert one.same_structure
        assert [d.name for d in one.disagreements] == ["energy_per_atom"]
        assert abs(one.disagreements[0].difference) < 0.05
    for shown in (output, (tmp_path / "run" / "report.html").read_text()):
        assert "relax with 7net-l3i5" in shown
        assert SAME_DATA in shown
