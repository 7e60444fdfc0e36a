"""MLflow as a projection of the database: a parent run for the campaign, a child run for each closed round,
and the models that outlive a round in its model registry (`loop.model_registry`).

Nothing is ever read back from MLflow but the ids of runs it already holds, so that a round that was logged
before a crash is not logged twice. An outage is a warning; the next round, or the next start, catches up.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from loop.audit_record import audit_metrics, audited_in
from loop.config import CampaignConfig, TrackingSettings
from loop.database.rows import ModelEntry, RoundRow
from loop.database.store import Store
from loop.events import Listener
from loop.model_registry import kept_models, register_models
from loop.report.view import CampaignView
from loop.screen_record import screen_records
from loop.track_record import RoundHonesty, by_round, noted, told

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = ("ranking.csv", "report.html")


@dataclass(frozen=True)
class RoundLog:
    """What one child run says; metrics are finite numbers, tags texts."""

    number: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Logged:
    """What MLflow holds now: the parent's run id, round -> child run id, and the models its registry agrees with.

    models: None where the registry failed.
    warnings: what is missing there, each in words.
    """

    parent: str
    rounds: Mapping[int, str]
    models: tuple[ModelEntry, ...] | None
    warnings: tuple[str, ...]


class Tracker:
    """Logs closed rounds in a background thread; run ids go into the store from the driver's own thread."""

    def __init__(self, config: CampaignConfig, listener: Listener) -> None:
        self._config = config
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._running: Future[Logged] | None = None
        self._registered: tuple[ModelEntry, ...] = ()

    def log(self, store: Store, view: CampaignView, folder: Path, written: Future[None]) -> None:
        """Starts logging every closed round that has no run yet, and the files of the run folder once `written`.

        Models are registered where their table has changed since this tracker last did so. Skips a turn while one
        is still being logged.
        """
        settings = self._config.tracking
        if not isinstance(settings, TrackingSettings):
            return
        if self._running is not None and not self._running.done():
            return
        self._keep_ids(store)
        logged = store.run_ids()
        todo = [
            RoundLog(row.number, round_metrics(view, row.number, row.timings), round_tags(row))
            for row in view.rounds
            if row.closed_at is not None and row.number not in logged
        ]
        models = kept_models(store.models())
        if todo or models != self._registered:
            self._running = self._thread.submit(_log, self._config, settings, folder, todo, models, written)

    def finish(self, store: Store, view: CampaignView, folder: Path, written: Future[None]) -> None:
        """Waits for what is being logged, then logs what is left."""
        if self._running is not None:
            self._keep_ids(store)
        self.log(store, view, folder, written)
        self._keep_ids(store)
        self._thread.shutdown()

    def _keep_ids(self, store: Store) -> None:
        if self._running is None:
            return
        try:
            logged = self._running.result()
        except Exception as error:
            self._listener.warning(
                f"MLflow at {tracking_uri()} could not be written ({_reason(error)}); the campaign goes on, and the "
                "missing rounds are logged at the next start. Start that server, unset MLFLOW_TRACKING_URI, or set "
                "tracking: none"
            )
        else:
            store.set_run_id(None, logged.parent)
            for number, run_id in logged.rounds.items():
                store.set_run_id(number, run_id)
            if logged.models is not None:
                self._registered = logged.models
            for message in logged.warnings:
                self._listener.warning(message)
        self._running = None


def shown(config: CampaignConfig) -> dict[str, Any]:
    """The configuration as others may see it: a password in the database's URL is hidden."""
    database = (
        None if config.database is None else make_url(config.database).render_as_string(hide_password=True)
    )
    return config.model_dump(mode="json") | {"database": database}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def round_metrics(view: CampaignView, number: int, timings: Mapping[str, float]) -> dict[str, float]:
    """Counts, best values, prediction errors on this round's outcomes, and seconds per step."""
    so_far = [r for r in view.archive.complete if (r.round or 0) <= number]
    own = [r for r in view.archive.values() if r.round == number]
    metrics: dict[str, float] = {
        "measured": len(own),
        "failed": sum(r.failure is not None for r in own),
        "stopped_at_gate": sum(r.stopped_at_gate for r in own),
        "doubted": sum(r.doubted for r in own),
        "complete": sum(r.id in {c.id for c in so_far} for r in own),
    }
    for objective in view.archive.objectives:
        values = [v for r in so_far if (v := r.value(objective.property, objective.fidelity)) is not None]
        if values:
            metrics[f"best_{objective.property}"] = max(values, key=objective.score)
    for entry in by_round(view.answered):
        if entry.round == number:
            metrics |= honesty_metrics(entry)
    for record in screen_records(view.rounds, view.evaluations):
        if record.round == number:
            metrics |= record.metrics()
    for row in view.rounds:
        if row.number == number:
            metrics |= audit_metrics(audited_in(row))
    return metrics | {f"seconds_{step}": seconds for step, seconds in timings.items()}


def round_tags(row: RoundRow) -> dict[str, str]:
    """`matloop.widened` says why and by how much intervals were widened, where they were."""
    widened = [told(name, found) for name, found in noted(row).items()]
    return {"matloop.widened": "; ".join(widened)} if widened else {}


def honesty_metrics(entry: RoundHonesty) -> dict[str, float]:
    """mae_, spearman_, nll_, coverage_50_, coverage_90_, tested_ (how many values) and widening_ of a property."""
    found = entry.honesty
    values = {
        "tested": found.count,
        "mae": found.mae,
        "spearman": found.spearman,
        "nll": found.nll,
        "coverage_50": found.coverage_50,
        "coverage_90": found.coverage_90,
        "widening": entry.widening,
    }
    return {f"{name}_{entry.property}": value for name, value in values.items() if value is not None}


def _log(
    config: CampaignConfig,
    settings: TrackingSettings,
    folder: Path,
    rounds: Sequence[RoundLog],
    models: tuple[ModelEntry, ...],
    written: Future[None],
) -> Logged:
    # Patience belongs to the campaign, not to a server that is down: few retries unless the user set more.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # A server's client prints addresses into the live display.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri())
    runs = _Runs(client, settings.experiment, config.name, folder)
    _log_configuration(client, runs.parent, config)
    ids = {entry.number: _log_round(client, runs, entry) for entry in rounds}
    wait([written])
    for name in ARTIFACTS:
        if (folder / name).exists():
            client.log_artifact(runs.parent, str(folder / name))
    client.set_terminated(runs.parent)
    try:
        remarks = register_models(client, config.name, folder, models, runs.of_round)
    except Exception as error:  # the rounds are logged all the same
        told = (
            f"MLflow's model registry could not be written ({_reason(error)}); the campaign goes on, and the missing "
            "models are registered after a later round or at the next start"
        )
        return Logged(runs.parent, ids, None, (told,))
    return Logged(runs.parent, ids, models, tuple(remarks))


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class _Runs:
    """The runs of one run folder: found by their tags, made where they are missing."""

    def __init__(self, client: MlflowClient, experiment: str, campaign: str, folder: Path) -> None:
        self._client = client
        self._identity = {"matloop.campaign": campaign, "matloop.run_folder": str(folder.resolve())}
        found = client.get_experiment_by_name(experiment)
        self._experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        self.parent = self._find_or_create(campaign, {"matloop.round": "all"})

    def of_round(self, number: int | None) -> str:
        """The run of a round, open or closed; the parent for what was there before the first."""
        if not number:
            return self.parent
        tags = {"matloop.round": str(number), "mlflow.parentRunId": self.parent}
        return self._find_or_create(f"round {number}", tags)

    def _find_or_create(self, name: str, more: Mapping[str, str]) -> str:
        wanted = self._identity | {"matloop.round": more["matloop.round"]}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
        found = self._client.search_runs([self._experiment_id], query, max_results=1)
        if found:
            return str(found[0].info.run_id)
        made = self._client.create_run(self._experiment_id, run_name=name, tags={**wanted, **more})
        return str(made.info.run_id)


def _log_configuration(client: MlflowClient, run_id: str, config: CampaignConfig) -> None:
    """The parameters that the run does not have yet; MLflow changes none and takes a hundred at once."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    missing = [Param(key, value) for key, value in _flat(shown(config)).items() if key not in known]
    for start in range(0, len(missing), 100):
        client.log_batch(run_id, params=missing[start : start + 100])


def _log_round(client: MlflowClient, runs: _Runs, entry: RoundLog) -> str:
    run_id = runs.of_round(entry.number)
    for key, value in entry.tags.items():
        client.set_tag(run_id, key, value)
    for one in (run_id, runs.parent):  # either may have been logged before a crash
        if entry.number not in {m.step for m in client.get_metric_history(one, "measured")}:
            _log_metrics(client, one, entry.metrics, entry.number)
    client.set_terminated(run_id)
    return run_id


def _log_metrics(client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    from time import time

    from mlflow.entities import Metric

    now = int(time() * 1000)
    client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()])


def _flat(value: object, prefix: str = "") -> dict[str, str]:
    """Nested configuration as dotted keys; MLflow parameters are short texts."""
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = [(f"{prefix}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {prefix.replace("[", ".").replace("]", ""): str(value)[:500]}
    return {key: text for name, item in items for key, text in _flat(item, name).items()}
