"""Prints what to make and measure next: `python -m loop.ask runs/battery -n 4`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.doors import drive, errors_told

if TYPE_CHECKING:
    from loop.config import CampaignConfig

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def ask(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")],
    number: Annotated[int, typer.Option("--number", "-n", help="Materials at most.", min=1)] = 4,
    out: Annotated[
        Path | None, typer.Option(help="A CSV to fill in and to give to loop.tell.", show_default="none")
    ] = None,
) -> None:
    """Takes in what has been measured, decides rounds until so many materials wait to be made, and prints them.

    Where another driver runs, only prints what waits.
    """
    with errors_told():
        _ask(folder, number, out)


def _ask(folder: Path, number: int, out: Path | None) -> None:
    from loop.by_hand.orders import next_to_make, told, write_form
    from loop.lock import holder
    from loop.progress import Display
    from loop.report.folder import config_of, store_of

    config = config_of(folder)
    _check_lab(config, folder)
    driver = holder(folder)
    if driver is None:
        with Display(folder) as display:
            drive(config, folder, display, most_waiting=number)
    else:
        typer.echo(f"driven by {driver}; this is what waits now")
    with store_of(folder, config) as store:
        orders = next_to_make(store, number)
    if not orders:
        typer.echo(
            f"nothing waits to be made. If all {config.budget.rounds} rounds of the budget are used, allow more: "
            f"python -m loop.campaign {folder}/campaign.yaml --dir {folder} --rounds {config.budget.rounds + 1}"
        )
        return
    for place, one in enumerate(orders, 1):
        typer.echo(told(place, one))
    if out is not None:
        write_form(orders, out)
    form = f"{out} filled in" if out else "a CSV with a column id and one for each value"
    typer.echo(f"afterwards: python -m loop.tell {folder} RESULTS.csv, where RESULTS.csv is {form}")


def _check_lab(config: CampaignConfig, folder: Path) -> None:
    from loop.errors import CampaignError
    from oracles.lab.base import QueuedOracleSettings

    if not any(isinstance(oracle, QueuedOracleSettings) for oracle in config.oracles):
        raise CampaignError(
            f"{folder}: this campaign asks no people; add an oracle such as "
            "{kind: lab, measures: [log_ionic_conductivity]} to its file"
        )


if __name__ == "__main__":
    app()
