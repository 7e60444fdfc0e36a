"""Writes ranking, structures and report of a run folder anew: `python -m loop.report runs/battery`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from loop.doors import errors_told

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def write(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")],
    against: Annotated[
        Path | None,
        typer.Option(
            help="Your own structures (.cif, .extxyz, .csv, a folder of .cif): what is the same as one of them, by "
            "pymatgen's StructureMatcher, stands as known, in place of the index of known materials."
        ),
    ] = None,
) -> None:
    """Writes report.html, ranking.csv and structures/ from the database; safe while a driver runs."""
    from loop.report.folder import open_view
    from loop.report.projection import write_all
    from materials.reading import ReadingError

    with errors_told(ReadingError):
        view, _ = open_view(folder)
        write_all(replace(view, against=against), folder)
    typer.echo(str(folder / "report.html"))


if __name__ == "__main__":
    app()
