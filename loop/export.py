"""Exports what a campaign measured: `python -m loop.export runs/battery --format csv`. Takes no lock."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from loop.doors import errors_told
from loop.errors import CampaignError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Format(StrEnum):
    """csv: everything, to be read again under `data:`; the others hold crystals."""

    CSV = "csv"
    EXTXYZ = "extxyz"
    ASE = "ase"
    OPTIMADE = "optimade"


NAMES = {Format.CSV: "measured.csv", Format.EXTXYZ: "measured.extxyz"}
NAMES |= {Format.ASE: "measured.db", Format.OPTIMADE: "measured.optimade.json"}


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")],
    formats: Annotated[list[Format], typer.Option("--format", help="Repeatable.")] = [Format.CSV],  # noqa: B006  # typer reads it
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="the run folder's export/")
    ] = None,
) -> None:
    """Writes every material that has a value, as the last stage left it, with where it comes from."""
    with errors_told():
        try:
            _export(folder, formats, out or folder / "export")
        except OSError as error:
            raise CampaignError(f"{error}; name another folder with --out") from None


def _export(folder: Path, formats: list[Format], target: Path) -> None:
    from loop.exporting.atoms import write_ase_database, write_frames
    from loop.exporting.measured import measured_in
    from loop.exporting.optimade import write_optimade
    from loop.exporting.table import write_table
    from loop.report.folder import open_view

    writers = {Format.CSV: write_table, Format.EXTXYZ: write_frames}
    writers |= {Format.ASE: write_ase_database, Format.OPTIMADE: write_optimade}
    view, _ = open_view(folder)
    measured = measured_in(view)
    target.mkdir(parents=True, exist_ok=True)
    for one in dict.fromkeys(formats):
        path = target / NAMES[one]
        number = writers[one](path, measured)
        left_out = len(measured) - number
        told = f"; {left_out} without a fully occupied structure are in the csv only" if left_out else ""
        typer.echo(f"{path}: {number} materials{told}")


if __name__ == "__main__":
    app()
