"""What the commands share: an error that a person can act on is told in one line, and driving a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from loop.errors import CampaignError

if TYPE_CHECKING:
    from loop.config import CampaignConfig
    from loop.engine import ExitCode
    from loop.progress import Display


@contextmanager
def errors_told(*more: type[Exception]) -> Iterator[None]:
    """Ends the command with exit code 2, without a traceback, where such an error is raised within."""
    kinds: tuple[type[Exception], ...] = (CampaignError, *more)
    try:
        yield
    except kinds as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def drive(
    config: CampaignConfig, folder: Path, display: Display, most_waiting: int | None = None
) -> tuple[ExitCode, str]:
    """Runs or resumes a campaign and writes its reports; how it ended, and why. See `Campaign.run`."""
    # Imported under the display: loading the numerical libraries takes seconds, and the user should see why.
    from loop.engine import Campaign
    from loop.report.projection import Projection

    with Campaign(config, folder, display) as campaign:
        projection = Projection(campaign.config, campaign.listener)
        code = campaign.run(project=projection.update, most_waiting=most_waiting)
        projection.finish(campaign.store, folder)
    return code, campaign.stop_reason
