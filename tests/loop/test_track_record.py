"""A campaign whose model is far too sure: its predictions are judged, widened, and all of it is told."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from campaigns import run
from jumping_law import BATCH, ROUNDS, SMOOTH_ROUNDS, write_jumping_campaign

from loop.database.store import Store
from loop.report.folder import open_view
from loop.report.predictions import notes
from loop.report.view import CampaignView
from loop.track_record import by_round, noted

JUMP = SMOOTH_ROUNDS + 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("jump")
    file = write_jumping_campaign(folder, tracking={"experiment": "jump"})
    code, output = run(file, folder / "run")
    assert code == 0, output
    return folder / "run", output


@pytest.fixture(scope="module")
def view(finished: tuple[Path, str]) -> CampaignView:
    return open_view(finished[0])[0]


def test_widening_sets_in_after_the_jump_and_brings_coverage_back(view: CampaignView) -> None:
    entries = {e.round: e for e in by_round(view.answered)}
    assert list(entries) == list(range(1, ROUNDS + 1))
    assert all(e.honesty.count == BATCH for e in entries.values())
    assert [entries[n].widening for n in range(1, JUMP + 1)] == [1.0] * JUMP
    assert entries[JUMP].honesty.inside_90 < BATCH / 2
    for number in range(JUMP + 1, ROUNDS + 1):
        assert entries[number].widening > 1.5
        assert entries[number].honesty.inside_90 >= BATCH - 2


def test_it_would_not_have_come_back_by_itself(view: CampaignView) -> None:
    later = [a for a in view.answered if a.round > JUMP]
    missed = [
        abs(a.measurement.value - a.prediction.mean) > 1.645 * a.prediction.std / a.prediction.widening
        for a in later
    ]
    assert sum(missed) > 0.2 * len(missed)


def test_the_factor_relaxes_as_the_model_learns(view: CampaignView) -> None:
    factors = [noted(row)["band_gap"].factor for row in view.rounds if row.number > JUMP]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] < factors[0] / 2


def test_the_terminal_says_so(finished: tuple[Path, str]) -> None:
    output = finished[1]
    assert output.count("predicted before the test: band_gap off by") == ROUNDS
    assert output.count("warning: the intervals of band_gap are widened") == ROUNDS - JUMP


def test_the_report_and_the_ranking_say_so(finished: tuple[Path, str], view: CampaignView) -> None:
    page = (finished[0] / "report.html").read_text().split("<body>")[1]
    (note,) = re.findall('<p class="note">(.*?)</p>', page)
    assert note.startswith(f"Round {ROUNDS}: the intervals of band_gap are widened")
    most = max(noted(row)["band_gap"].factor for row in view.rounds if row.number > JUMP)
    assert note.endswith(f"Widened in rounds {JUMP + 1} to {ROUNDS}, at most {most:.2f} times.")
    assert f"{BATCH} of {BATCH}" in page
    with (finished[0] / "ranking.csv").open(newline="") as handle:
        rows = {row["id"]: row for row in csv.DictReader(handle)}
    for answered in view.answered:
        row, expected = rows[answered.candidate_id], answered.prediction
        low, high = (
            float(row["predicted band_gap 90 % low (eV)"]),
            float(row["predicted band_gap 90 % high (eV)"]),
        )
        assert (low + high) / 2 == pytest.approx(expected.mean)
        assert high - low == pytest.approx(2 * 1.6448536 * expected.std)
        assert float(row["predicted band_gap distance"]) == pytest.approx(expected.distance)


def test_the_report_names_the_rounds_of_a_gap_and_of_a_single_widening(view: CampaignView) -> None:
    def told(*kept: int) -> str:
        rounds = (row if row.number in kept else replace(row, notes={}) for row in view.rounds)
        (note,) = notes(replace(view, rounds=tuple(rounds)))
        return note

    assert "Widened in rounds" not in told(JUMP + 1)
    assert " Widened in rounds 4 to 5, 8, at most " in told(4, 5, 8)
    assert " Widened in rounds 5, 7, at most " in told(5, 7)


def test_mlflow_says_so_once_for_each_round(finished: tuple[Path, str], view: CampaignView) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished[0].parent}/mlflow.db")
    experiment = client.get_experiment_by_name("jump")
    runs = {r.data.tags["matloop.round"]: r for r in client.search_runs([experiment.experiment_id])}
    for entry in by_round(view.answered):
        logged = runs[str(entry.round)].data
        found = entry.honesty
        expected = {
            "tested": found.count,
            "mae": found.mae,
            "nll": found.nll,
            "spearman": found.spearman,
            "coverage_50": found.coverage_50,
            "coverage_90": found.coverage_90,
            "widening": entry.widening,
        }
        assert {k: logged.metrics[f"{k}_band_gap"] for k in expected} == pytest.approx(expected)
        assert ("matloop.widened" in logged.tags) == (entry.round > JUMP)
    history = client.get_metric_history(runs["all"].info.run_id, "coverage_90_band_gap")
    assert [m.step for m in history] == list(range(1, ROUNDS + 1))


def test_what_is_stored_is_what_is_told(finished: tuple[Path, str]) -> None:
    """The reason of a selection names the stored, widened standard deviation."""
    with Store.view(finished[0] / "campaign.db") as store:
        for picked in store.selections(ROUNDS):
            (expected,) = picked.predictions
            assert f"± {expected.std:.2g} eV" in picked.reason
            assert expected.distance is not None
