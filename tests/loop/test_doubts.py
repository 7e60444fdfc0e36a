"""Doubted candidates: kept from the stages that build on what is doubted, sent first to the oracle that judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from campaigns import write_campaign
from doubting_oracles import announce
from hypothesis import given
from hypothesis import strategies as st

from loop.database.rows import EvaluationRow
from loop.database.store import Store
from loop.engine import Campaign, ExitCode
from loop.events import Listener
from loop.line import build_line, following
from loop.loading import load_campaign
from materials.archive import Progress
from materials.evaluation import Outcome

SUSPECTS, GUILTY = ("Al", "Ga", "Y"), ("Ga",)


class Interrupts(Listener):
    """Ends the driver after so many answers."""

    def __init__(self, after: int) -> None:
        self.left = after

    def outcome(self, outcome: Outcome, stage: str, formula: str, ended: bool) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def oracles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A line: a value, a suspicion, another value, a judge."""
    announce(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    table = {"kind": "table", "file": "answers.csv", "fidelity": "experiment"}
    return [
        table | {"measures": ["formation_energy"]},
        {"kind": "suspicion", "suspects": list(SUSPECTS)},
        table | {"measures": ["band_gap"]},
        {"kind": "judge", "guilty": list(GUILTY)},
    ]


INDEX = [{"property": "refractive_index", "goal": "maximize"}]


def finish(
    folder: Path,
    oracles: Sequence[dict[str, object]],
    listener: Listener | None = None,
    **changes: object,
) -> Store:
    """The state of a campaign run to its end, going on as often as it is interrupted."""
    budget = {"rounds": 2, "batch": 8, "pool": 40}
    file = write_campaign(folder, oracles=list(oracles), budget=budget, **changes)
    while True:
        try:
            with Campaign(load_campaign(str(file)).config, folder / "run", listener) as campaign:
                assert campaign.run() is ExitCode.DONE
            break
        except KeyboardInterrupt:
            continue
    return Store.open(folder / "run" / "campaign.db", "table", create=False)


def asked(rows: Sequence[EvaluationRow], candidate_id: str) -> list[str]:
    return [row.oracle for row in rows if row.candidate_id == candidate_id]


def test_a_doubted_candidate_is_judged_before_anything_builds_on_it(
    tmp_path: Path, oracles: list[dict[str, object]]
) -> None:
    with finish(tmp_path / "campaign", oracles) as store:
        rows = store.evaluations()
        records = [r for r in store.archive((), (), range(4)).values() if not r.known_before]  # type: ignore[arg-type]
    doubted = [r for r in records if r.material.formula.startswith(SUSPECTS)]
    assert 0 < len(doubted) < len(records)
    for record in records:
        guilty = record.material.formula.startswith(GUILTY)
        if record not in doubted:
            assert asked(rows, record.id) == ["table", "suspicion", "table_2", "judge"]
        elif guilty:
            assert asked(rows, record.id) == ["table", "suspicion", "judge"]
            assert record.stopped_by == "judge: forces are large"
            assert record.measured("band_gap") is None
        else:
            assert asked(rows, record.id) == ["table", "suspicion", "judge", "table_2"]
            assert record.stopped_by is None
    assert {r.material.formula.startswith(GUILTY) for r in doubted} == {True, False}


def test_without_a_judge_the_line_of_a_doubted_candidate_ends(
    tmp_path: Path, oracles: list[dict[str, object]]
) -> None:
    with finish(tmp_path / "campaign", oracles[:3]) as store:
        records = store.archive((), (), range(3)).values()  # type: ignore[arg-type]
        stopped = {r.material.formula: r.stopped_by for r in records if not r.known_before}
    assert {reason for f, reason in stopped.items() if f.startswith(SUSPECTS)} == {
        "suspicion: models disagree"
    }
    assert {reason for f, reason in stopped.items() if not f.startswith(SUSPECTS)} == {None}


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_doubt_survives_an_interruption(
    tmp_path: Path, oracles: list[dict[str, object]], after: int
) -> None:
    class Often(Interrupts):
        def outcome(self, outcome: Outcome, stage: str, formula: str, ended: bool) -> None:
            try:
                super().outcome(outcome, stage, formula, ended)
            except KeyboardInterrupt:
                self.left = after
                raise

    oracles[1]["gate"] = {"energy_spread": {"at_most": 1.0}}
    with finish(tmp_path / "whole", oracles) as whole, finish(tmp_path / "cut", oracles, Often(after)) as cut:
        assert cut.content_digest() == whole.content_digest()


def test_a_refusal_after_a_lifted_doubt_ends_the_line(
    tmp_path: Path, oracles: list[dict[str, object]]
) -> None:
    """The judge stands behind the stage that refuses, and was asked before it."""
    there = tmp_path / "there"
    there.touch()
    oracles[2] = {"kind": "program", "program": str(there), "refuses": ["Al"]}
    with finish(tmp_path / "campaign", oracles, objectives=INDEX) as store:
        records = store.archive((), (), range(4)).values()  # type: ignore[arg-type]
        refused = [r for r in records if r.failure is not None]
        assert {r.material.formula[:2] for r in refused} == {"Al"}
        assert all(asked(store.evaluations(), r.id)[-2:] == ["judge", "program"] for r in refused)
        assert not [r for r in records if r.progress is Progress.PENDING]


@pytest.mark.parametrize("place", [0, 2])
def test_what_failed_for_want_of_a_program_is_asked_when_it_is_there(
    tmp_path: Path, oracles: list[dict[str, object]], place: int
) -> None:
    program = tmp_path / "program"
    oracles[place] = {"kind": "program", "program": str(program)}
    file = write_campaign(
        tmp_path / "campaign",
        oracles=oracles,
        objectives=INDEX,
        budget={"rounds": 1, "batch": 8, "pool": 40},
    )
    config = load_campaign(str(file)).config
    with Campaign(config, tmp_path / "run") as campaign:
        campaign.run()
        assert {str(r.failure.kind) for r in campaign.archive().failed if r.failure} == {"missing_program"}
    program.touch()
    with Campaign(config, tmp_path / "run") as campaign:
        assert campaign.run() is ExitCode.DONE
        archive = campaign.archive()
    assert not archive.failed
    assert not archive.pending
    assert archive.complete
    with Campaign(config, tmp_path / "run") as campaign:
        before = campaign.store.content_digest()
        assert campaign.run() is ExitCode.DONE
        assert campaign.store.content_digest() == before


@given(st.sets(st.integers(0, 3)), st.sampled_from(["", "why"]))
def test_what_follows_is_never_answered_and_judges_first_in_a_doubt(answered: set[int], doubt: str) -> None:
    from doubting_oracles import JudgeSettings, SuspicionSettings

    line = build_line(
        [SuspicionSettings(), JudgeSettings(), SuspicionSettings(suspects=("A",)), JudgeSettings()]
    )
    found = following(line, answered, doubt)
    left = [number for number in range(4) if number not in answered and (not doubt or number % 2)]
    assert (None if found is None else found.number) == (left[0] if left else None)
