"""Opens a run folder for looking at it: the configuration and a view of its database, without the driver's lock."""

from __future__ import annotations

from pathlib import Path

from loop.config import CampaignConfig
from loop.database.store import Store
from loop.database.view import View
from loop.errors import CampaignError
from loop.loading import load_campaign
from loop.report.projection import view_of
from loop.report.view import CampaignView


def config_of(folder: Path) -> CampaignConfig:
    """The configuration of a run folder. Raises CampaignError where there is no campaign."""
    file = folder / "campaign.yaml"
    if not file.is_file():
        raise CampaignError(
            f"{folder} is no run folder: campaign.yaml is missing. Name a folder such as runs/battery."
        )
    return load_campaign(str(file), looking=True).config


def store_of(folder: Path, config: CampaignConfig) -> Store:
    """The campaign's state, to write to without the driver's lock; for services and people."""
    return Store.open(config.database or folder / "campaign.db", config.name, create=False)


def state_of(folder: Path, config: CampaignConfig) -> View:
    """The campaign's state, to read. Raises CampaignError for a database of another version's tables."""
    return Store.view(config.database or folder / "campaign.db", config.name)


def open_view(folder: Path) -> tuple[CampaignView, CampaignConfig]:
    """The view and the configuration of a run folder. Raises CampaignError where there is no campaign."""
    config = config_of(folder)
    with state_of(folder, config) as store:
        return view_of(store, config), config
