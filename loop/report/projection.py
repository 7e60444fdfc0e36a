"""What is written after every round: ranking, structures, report and MLflow runs. None of it is the truth."""

from __future__ import annotations

from pathlib import Path

from loop.config import CampaignConfig
from loop.database.store import Store
from loop.database.view import View
from loop.events import Listener
from loop.line import build_line
from loop.report.page import write_report
from loop.report.ranking import write_ranking, write_structures
from loop.report.view import CampaignView, read_view
from loop.tracking import Tracker


def view_of(store: View, config: CampaignConfig) -> CampaignView:
    """The view of a store under its configuration."""
    line = tuple(stage.name for stage in build_line(config.oracles))
    return read_view(store, config.as_objectives(), config.as_constraints(), line)


def write_all(view: CampaignView, folder: Path) -> None:
    """Writes ranking.csv, structures/ and report.html into the run folder."""
    write_structures(view, folder)
    write_ranking(view, folder)
    write_report(view, folder)


class Projection:
    """Writes the files after each round, and hands the rounds to MLflow in the background."""

    def __init__(self, config: CampaignConfig, listener: Listener) -> None:
        self._config = config
        self._tracker = Tracker(config, listener)

    def after_round(self, store: Store, folder: Path) -> None:
        """Files at once; MLflow while the next round runs."""
        view = view_of(store, self._config)
        write_all(view, folder)
        self._tracker.log(store, view, folder)

    def finish(self, store: Store, folder: Path) -> None:
        """Writes the files once more (an earlier driver may have died before it did), then waits for MLflow."""
        view = view_of(store, self._config)
        write_all(view, folder)
        self._tracker.finish(store, view, folder)
