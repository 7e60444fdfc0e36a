"""Whole campaigns through the command line, answered from a table."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaigns import ROOT, run, start, write_campaign

from loop.database.store import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of a campaign with learning, constraint and MLflow, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    file = write_campaign(
        folder,
        acquisition={"kind": "noisy_expected_improvement"},
        constraints=[{"property": "band_gap", "at_least": 1.0}],
        tracking={"experiment": "tests"},
    )
    code, output = run(file, folder / "run")
    assert code == 0, output
    return folder / "run", output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_what_remains_in_the_run_folder(finished: tuple[Path, str]) -> None:
    folder, output = finished
    ranking = rows(folder / "ranking.csv")
    assert len(ranking) == 6 + 3 * 5
    assert "band_gap (eV)" in ranking[0]
    assert "predicted formation_energy std (eV/atom)" in ranking[0]
    assert {row["generator"] for row in ranking} == {"data", "files"}
    page = (folder / "report.html").read_text()
    for heading in (
        "Pareto front",
        "Progress by round",
        "Predicted against what the oracles said",
        "Where candidates came from",
    ):
        assert heading in page
    assert "http://" not in page.split("<body>")[1]
    assert "done" in output


def test_predictions_are_stored_before_the_test(finished: tuple[Path, str]) -> None:
    with Store.view(finished[0] / "campaign.db") as store:
        for number in (1, 2, 3):
            expected = store.predictions(number)
            assert all(s.candidate.id in expected for s in store.selections(number))


def test_batches_are_picked_by_expected_improvement_not_by_what_stands_in_for_it(
    finished: tuple[Path, str],
) -> None:
    with Store.view(finished[0] / "campaign.db") as store:
        for number in (1, 2, 3):
            assert "expected hypervolume improvement" in store.selections(number)[0].reason


def test_the_ranking_puts_feasible_candidates_first(finished: tuple[Path, str]) -> None:
    statuses = [row["status"] for row in rows(finished[0] / "ranking.csv")]
    last_complete = max(i for i, status in enumerate(statuses) if status == "complete")
    assert all(status == "complete" for status in statuses[: last_complete + 1])


def test_every_round_is_an_mlflow_run_once(finished: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished[0].parent}/mlflow.db")
    experiment = client.get_experiment_by_name("tests")
    runs = client.search_runs([experiment.experiment_id])
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert sorted(r.data.tags["matloop.round"] for r in children) == ["1", "2", "3"]
    assert len(runs) == 4
    assert all(r.data.metrics["measured"] == 5 for r in children)
    history = client.get_metric_history(
        next(r.info.run_id for r in runs if r not in children), "best_band_gap"
    )
    assert [m.step for m in history] == [1, 2, 3]


def test_running_it_again_does_nothing(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    with Store.view(folder / "campaign.db") as store:
        before = store.content_digest()
    code, output = run(folder.parent / "campaign.yaml", folder)
    assert code == 0, output
    with Store.view(folder / "campaign.db") as store:
        assert store.content_digest() == before


def test_status_and_report_of_a_finished_run(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for module, expected in (("loop.status", "3 of 3 rounds"), ("loop.report", "report.html")):
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder)], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_equal_seeds_give_equal_campaigns_and_other_seeds_do_not(tmp_path: Path) -> None:
    file = write_campaign(tmp_path)
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        code, output = run(file, tmp_path / name, "--set", f"seed={seed}")
        assert code == 0, output
        with Store.view(tmp_path / name / "campaign.db") as store:
            digests.append([s.candidate.id for n in (1, 2, 3) for s in store.selections(n)])
    assert digests[0] == digests[1] != digests[2]


def test_the_run_folder_of_another_campaign_is_left_alone(tmp_path: Path) -> None:
    file = write_campaign(tmp_path)
    assert run(file, tmp_path / "run", "--rounds", "1")[0] == 0
    before = {f: f.read_bytes() for f in (tmp_path / "run").glob("*.*ml")}
    code, output = run(file, tmp_path / "run", "--rounds", "1", "--set", "name=other")
    assert code == 2
    assert "is the run folder of the campaign table, not of other; name another one with --dir" in output
    assert before == {f: f.read_bytes() for f in before}


def test_a_budget_may_grow_and_meaning_may_not(tmp_path: Path) -> None:
    file = write_campaign(tmp_path)
    assert run(file, tmp_path / "run", "--rounds", "1")[0] == 0
    code, output = run(file, tmp_path / "run", "--rounds", "2")
    assert code == 0, output
    with Store.view(tmp_path / "run" / "campaign.db") as store:
        assert store.last_round() == 2
    code, output = run(file, tmp_path / "run", "--rounds", "3", "--set", "budget.batch=6")
    assert code == 0, output
    with Store.view(tmp_path / "run" / "campaign.db") as store:
        assert [len(store.selections(n)) for n in (1, 2, 3)] == [5, 5, 6]
    code, output = run(file, tmp_path / "run", "--set", "space.number_of_atoms=[2, 8]")
    assert code == 2
    assert "space.number_of_atoms" in output
    assert "--dir" in output


def test_a_second_driver_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    oracles = [{"kind": "table", "file": "answers.csv", "measures": ["formation_energy", "band_gap"],
                "fidelity": "experiment", "delay": 5.0}]  # fmt: skip
    file = write_campaign(tmp_path, oracles=oracles)
    first = start(file, tmp_path / "run")
    try:
        while not (tmp_path / "run" / "driver.json").exists():
            time.sleep(0.05)
        code, output = run(file, tmp_path / "run")
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert code == 2
    assert str(first.pid) in output


def test_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    oracles = [{"kind": "table", "file": "answers.csv", "measures": ["formation_energy", "band_gap"],
                "fidelity": "experiment", "delay": 0.3}]  # fmt: skip
    file = write_campaign(tmp_path, oracles=oracles)
    process = start(file, tmp_path / "run")
    while not list(tmp_path.glob("run/evaluations/*/*/outcome.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "same command" in output
    assert run(file, tmp_path / "run")[0] == 0


def test_the_brake_stops_a_campaign_in_which_everything_fails(tmp_path: Path) -> None:
    oracles = [{"kind": "table", "file": "answers.csv", "measures": ["formation_energy", "band_gap"],
                "fidelity": "experiment", "failure_rate": 1.0}]  # fmt: skip
    code, output = run(write_campaign(tmp_path, oracles=oracles, data=[]), tmp_path / "run")
    assert code == 3
    assert "failure_share" in output


def test_an_unreachable_mlflow_server_is_a_warning_and_is_caught_up(tmp_path: Path) -> None:
    file = write_campaign(
        tmp_path, tracking={"experiment": "outage"}, budget={"rounds": 2, "batch": 3, "pool": 20}
    )
    code, output = run_with(file, tmp_path / "run", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert code == 0, output
    assert "MLflow" in output
    assert "warning" in output
    uri = f"sqlite:///{tmp_path}/later.db"
    code, output = run_with(file, tmp_path / "run", MLFLOW_TRACKING_URI=uri)
    assert code == 0, output
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("outage")
    assert len(client.search_runs([experiment.experiment_id])) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"acquisitoin": {"kind": "random"}}, "acquisitoin"),
        ({"acquisition": {"kind": "randum"}}, "random"),
        ({"budget": {"rounds": "many"}}, "budget.rounds"),
        ({"objectives": [{"property": "band_gab", "goal": "maximize"}]}, "band_gap"),
        ({"data": ["missing.csv"]}, "missing.csv"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, change: dict[str, object], told: str) -> None:
    code, output = run(write_campaign(tmp_path, **change), tmp_path / "run")
    assert code == 2
    assert told in output
    assert "Traceback" not in output
    assert not (tmp_path / "run" / "campaign.db").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    code, output = run(write_campaign(tmp_path), tmp_path / "run", "--dry-run")
    assert code == 0
    assert "formation_energy" in output
    assert not (tmp_path / "run").exists()


def run_with(file: Path, folder: Path, **environment: str) -> tuple[int, str]:
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    try:
        return run(file, folder)
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def test_generators_that_propose_nothing_are_bad_input(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.cif").write_text("data_a\n_cell_length_a 3\n")
    file = write_campaign(
        tmp_path,
        space={"elements": ["Li", "O"]},
        data=[],
        generators=[{"kind": "files", "path": "broken"}],
        surrogate={"kind": "gp", "descriptor": "composition"},
    )
    code, output = run(file, tmp_path / "run")
    assert code == 2
    assert "the generators proposed nothing at all" in output


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, output = run(write_campaign(tmp_path), tmp_path / "file" / "run")
    assert code == 2
    assert "the run folder" in output
    assert "name another with --dir" in output
    assert "everything measured" not in output
