"""Writes ranking, structures and report of a run folder anew: `python -m loop.report runs/battery`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def write(folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")]) -> None:
    """Writes report.html, ranking.csv and structures/ from the database; safe while a driver runs."""
    from loop.errors import CampaignError
    from loop.loading import ConfigError
    from loop.report.folder import open_view
    from loop.report.projection import write_all

    try:
        view, _ = open_view(folder)
    except (CampaignError, ConfigError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    write_all(view, folder)
    typer.echo(str(folder / "report.html"))


if __name__ == "__main__":
    app()
