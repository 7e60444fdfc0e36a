"""What is written after every round: ranking, structures, report and MLflow runs. None of it is the truth."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from loop.config import CampaignConfig, TrackingSettings
from loop.database.store import Store
from loop.database.view import View
from loop.events import Listener
from loop.line import stage_names
from loop.report.page import write_report
from loop.report.ranking import write_ranking, write_structures
from loop.report.view import CampaignView, read_view
from loop.tracking import Tracker


def view_of(store: View, config: CampaignConfig) -> CampaignView:
    """The view of a store under its configuration."""
    return read_view(store, config.as_objectives(), config.as_constraints(), stage_names(config.oracles))


def write_all(view: CampaignView, folder: Path) -> None:
    """Writes ranking.csv, structures/ and report.html into the run folder."""
    write_structures(view, folder)
    write_ranking(view, folder)
    write_report(view, folder)


def _import_what_threads_need(config: CampaignConfig) -> None:
    """Imports in the driver's thread: a library imported by two threads at once shows each of them half of itself.

    scipy, for one, looks into torch while another thread is still importing it, and fails.
    """
    for module in (
        "materials.known",
        "scipy.stats",
        "torch",
        "botorch.utils.multi_objective.hypervolume",
        "plotly.offline",
        "pymatviz",
    ):
        import_module(module)
    if isinstance(config.tracking, TrackingSettings):
        import_module("mlflow")


class Projection:
    """Writes the files and logs the rounds to MLflow, both in the background."""

    def __init__(self, config: CampaignConfig, listener: Listener) -> None:
        self._config = config
        self._tracker = Tracker(config, listener)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._written: Future[None] | None = None

    def update(self, store: Store, folder: Path) -> None:
        """Starts to write what the store holds now. Raises OSError where the writing before this one failed."""
        if self._written is None:
            _import_what_threads_need(self._config)
        else:
            self._written.result()
        view = view_of(store, self._config)
        self._written = self._thread.submit(write_all, view, folder)
        self._tracker.log(store, view, folder, self._written)

    def finish(self, store: Store, folder: Path) -> None:
        """Writes what the store holds at the end and waits for the files and for MLflow."""
        self.update(store, folder)
        assert self._written is not None
        self._written.result()
        self._tracker.finish(store, view_of(store, self._config), folder, self._written)
        self._thread.shutdown()
