"""A run folder to which rounds and models are added by hand, and what somebody else finds in MLflow's registry."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from campaigns import write_campaign
from mlflow import MlflowClient, artifacts
from safetensors.numpy import load_file, save_file
from stored_campaign import GOALS, LINE, A, B, C, decision

from loop.config import CampaignConfig
from loop.database.store import Store
from loop.events import Listener
from loop.loading import load_campaign
from loop.report.view import read_view
from loop.tracking import Tracker

NAME = "table.energy_model"


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


class RunFolder:
    """A campaign's run folder to which rounds and models are added as the engine adds them."""

    def __init__(self, folder: Path) -> None:
        file = write_campaign(folder.parent / f"{folder.name}-file", tracking={"experiment": "registry"})
        self.config: CampaignConfig = load_campaign(file).config
        self.folder = folder
        folder.mkdir()

    @contextmanager
    def store(self) -> Iterator[Store]:
        with Store.open(self.folder / "campaign.db", self.config.name, create=True) as store:
            yield store

    def add_round(self, number: int, *, closed: bool = True) -> None:
        picked = (A, B, C)[number - 1]
        with self.store() as store:
            store.commit_decision(number, **decision([picked], [picked]))
            if closed:
                store.close_round(number)

    def add_model(
        self, number: int, *, champion: bool, role: str = "energy_model", weight: float | None = None
    ) -> Path:
        path = self.folder / "models" / str(number) / f"{role}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"weights": np.full(3, float(number if weight is None else weight))}, path)
        digest = sha256(path.read_bytes()).hexdigest()
        with self.store() as store:
            place = str(path.relative_to(self.folder))
            store.add_model(role, f"{role}@{number}", place, digest, champion=champion, round=number)
        return path

    def log(self) -> list[str]:
        """What a driver that starts now does for MLflow; the warnings it gave."""
        heard, written = Heard(), Future[None]()
        written.set_result(None)
        with self.store() as store:
            view = read_view(store, GOALS, (), LINE)
            tracker = Tracker(self.config, heard)
            tracker.log(store, view, self.folder, written)
            tracker.finish(store, view, self.folder, written)
        return heard.warnings


class Registry:
    """What somebody else finds in an MLflow store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(uri)

    def versions(self, name: str = NAME) -> list[str]:
        found = sorted(self.client.search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version))
        return [version.tags["matloop.version"] for version in found]

    def aliases(self, name: str = NAME) -> dict[str, str]:
        found = self.client.get_registered_model(name).aliases
        return {
            alias: self.client.get_model_version(name, str(version)).tags["matloop.version"]
            for alias, version in found.items()
        }

    def weights(self, alias: str, name: str = NAME) -> float:
        place = artifacts.download_artifacts(f"models:/{name}@{alias}", tracking_uri=self.uri)
        (path,) = Path(place).iterdir()
        assert path.name == "energy_model.safetensors"
        return float(load_file(path)["weights"][0])

    def round_of_run(self, version: str, name: str = NAME) -> str:
        (found,) = [
            v
            for v in self.client.search_model_versions(f"name = '{name}'")
            if v.tags["matloop.version"] == version
        ]
        return str(self.client.get_run(found.run_id).data.tags["matloop.round"])
