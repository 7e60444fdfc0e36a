"""Learned models in MLflow's registry: real stores and servers, real files, and failures between any two steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from shutil import copyfile

import pytest
from mlflow import MlflowClient
from mlflow_servers import Relay, mlflow_server
from registered_models import NAME, Registry, RunFolder


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def registry(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    copyfile(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return Registry(uri)


def test_models_become_versions_with_aliases_and_files(tmp_path: Path, registry: Registry) -> None:
    run = RunFolder(tmp_path / "run")
    shipped = run.add_model(0, champion=True)
    run.add_round(1)
    assert run.log() == []
    assert registry.versions() == ["energy_model@0"]
    assert registry.aliases() == {"champion": "energy_model@0"}
    (version,) = registry.client.search_model_versions(f"name = '{NAME}'")
    assert version.tags == {
        "matloop.version": "energy_model@0",
        "matloop.round": "0",
        "matloop.sha256": sha256(shipped.read_bytes()).hexdigest(),
        "matloop.format": "safetensors",
    }
    run.add_model(1, champion=False)
    run.add_round(2)
    run.add_model(2, champion=False)
    assert run.log() == []
    assert registry.versions() == ["energy_model@0", "energy_model@1", "energy_model@2"]
    assert registry.aliases() == {"champion": "energy_model@0", "challenger": "energy_model@2"}
    assert (registry.weights("champion"), registry.weights("challenger")) == (0.0, 2.0)
    assert [registry.round_of_run(v) for v in registry.versions()] == ["all", "1", "2"]


def test_a_challenger_that_wins_takes_the_title(tmp_path: Path, registry: Registry) -> None:
    run = RunFolder(tmp_path / "run")
    run.add_model(0, champion=True)
    run.add_round(1)
    run.add_model(1, champion=False)
    run.log()
    run.add_round(2)
    run.add_model(2, champion=True)
    run.log()
    assert registry.aliases() == {"champion": "energy_model@2", "challenger": "energy_model@1"}
    assert registry.weights("champion") == 2.0


def test_the_model_of_an_open_round_is_there_already(tmp_path: Path, registry: Registry) -> None:
    """It is in use: the round's run is begun for it, and logged when the round closes."""
    run = RunFolder(tmp_path / "run")
    run.add_round(1, closed=False)
    run.add_model(1, champion=False)
    run.log()
    assert registry.aliases() == {"challenger": "energy_model@1"}
    run.add_model(1, champion=True)
    run.log()
    assert registry.aliases() == {"champion": "energy_model@1"}
    with run.store() as store:
        assert store.run_ids().keys() == {None}
        store.close_round(1)
    run.log()
    experiment = registry.client.get_experiment_by_name("registry")
    runs = registry.client.search_runs([experiment.experiment_id])
    assert sorted(r.data.tags["matloop.round"] for r in runs) == ["1", "all"]
    assert all("measured" in r.data.metrics for r in runs)


def test_surrogates_are_not_registered(tmp_path: Path, registry: Registry) -> None:
    run = RunFolder(tmp_path / "run")
    run.add_round(1)
    run.add_model(1, champion=True, role="gp_band_gap")
    assert run.log() == []
    assert list(registry.client.search_registered_models()) == []


def test_two_run_folders_of_one_name_do_not_mix(tmp_path: Path, registry: Registry) -> None:
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    first.add_model(0, champion=True)
    second.add_model(0, champion=True)
    second.add_round(1)
    second.add_model(1, champion=True)
    for _ in range(2):
        assert first.log() == second.log() == []
    other = name_of(second)
    assert registry.versions() == ["energy_model@0"]
    assert registry.aliases() == {"champion": "energy_model@0"}
    assert registry.versions(other) == ["energy_model@0", "energy_model@1"]
    assert registry.aliases(other) == {"champion": "energy_model@1", "challenger": "energy_model@0"}
    places = {m.name: m.tags["matloop.run_folder"] for m in registry.client.search_registered_models()}
    assert places == {NAME: str(first.folder), other: str(second.folder)}


def test_a_file_that_is_gone_or_changed_is_named_and_caught_up(tmp_path: Path, registry: Registry) -> None:
    run = RunFolder(tmp_path / "run")
    run.add_model(0, champion=True)
    run.add_round(1)
    path = run.add_model(1, champion=False)
    kept = path.read_bytes()
    path.write_bytes(kept + b" ")
    (warning,) = run.log()
    assert f"{path} has changed" in warning
    path.unlink()
    (warning,) = run.log()
    assert f"{path} cannot be read (No such file or directory), so energy_model@1 is not" in warning
    assert registry.aliases() == {"champion": "energy_model@0"}
    path.write_bytes(kept)
    assert run.log() == []
    assert registry.aliases() == {"champion": "energy_model@0", "challenger": "energy_model@1"}
    assert registry.versions() == ["energy_model@0", "energy_model@1"]


def test_a_campaign_begun_anew_in_an_old_folder_is_not_taken_for_the_old_one(
    tmp_path: Path, registry: Registry
) -> None:
    """Its versions have the same names; the files do not."""
    run = RunFolder(tmp_path / "run")
    run.add_model(0, champion=False)
    run.add_round(1)
    run.add_model(1, champion=True)
    run.log()
    run.add_model(1, champion=True, weight=7.0)
    assert run.log() == []
    assert registry.versions() == ["energy_model@0", "energy_model@1", "energy_model@1"]
    assert registry.aliases() == {"champion": "energy_model@1", "challenger": "energy_model@0"}
    assert registry.weights("champion") == 7.0


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """In front of a real server."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as url, Relay(url) as relay:
        yield relay


def name_of(run: RunFolder) -> str:
    return f"{NAME}.{sha256(str(run.folder).encode()).hexdigest()[:8]}"


@pytest.mark.slow
def test_a_server_that_fails_between_any_two_steps_is_caught_up_with(
    tmp_path: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver whose server goes away leaves what a killed driver leaves: all requests up to some one are done."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.url)
    registry = Registry(relay.url)
    registry.client.create_registered_model(NAME)  # somebody else's
    told = []
    for healthy in count():
        run = RunFolder(tmp_path / f"run{healthy}")
        run.add_round(1)
        run.add_model(0, champion=True)
        run.add_model(1, champion=False)
        relay.healthy, relay.answer_lost = healthy, healthy % 2 == 0
        warnings = run.log()
        relay.healthy = math.inf
        if not warnings:
            break
        told.append("model registry" in warnings[0])
        with run.store() as store:
            assert (1 in store.run_ids()) == told[-1]
        assert run.log() == []
        name = name_of(run)
        assert registry.versions(name) == ["energy_model@0", "energy_model@1"]
        assert registry.aliases(name) == {"champion": "energy_model@0", "challenger": "energy_model@1"}
        assert (registry.weights("champion", name), registry.weights("challenger", name)) == (0.0, 1.0)
    assert told.count(False) > 6
    assert told.count(True) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost", ["registered-models/create", "model-versions/create", "registered-models/alias"]
)
def test_a_request_that_is_sent_again_leaves_nothing_twice(
    tmp_path: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.url)
    registry, run = Registry(relay.url), RunFolder(tmp_path / "run")
    run.add_round(1)
    run.add_model(0, champion=True)
    run.add_model(1, champion=False)
    relay.lose_once, before = lost, relay.lost
    assert run.log() == []
    assert relay.lost == before + 1
    (name,) = (
        m.name
        for m in registry.client.search_registered_models()
        if m.tags.get("matloop.run_folder") == str(run.folder)
    )
    assert registry.versions(name) == ["energy_model@0", "energy_model@1"]
    assert registry.aliases(name) == {"champion": "energy_model@0", "challenger": "energy_model@1"}
