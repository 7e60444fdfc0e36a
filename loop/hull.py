"""Adds a chemistry to the reference hull: `python -m loop.hull add my_reference.csv.xz --files my_cifs/`.

The phases are fetched, relaxed with the hull's potential and corrected like the reference that ships. A
campaign names the file: `{kind: hull, reference: [my_reference.csv.xz]}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from loop.hull_phases import RelaxSettings
    from materials.sources import Fetched

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Make and look at reference files for the hull."
)


@app.callback()
def commands() -> None:
    """Make and look at reference files for the convex hull."""


@app.command()
def add(
    output: Annotated[
        Path, typer.Argument(help="Reference file to write or extend, such as my_reference.csv.xz.")
    ],
    files: Annotated[
        Path | None, typer.Option(help="Your structures: a folder of CIF files, a .cif, .extxyz or .csv.")
    ] = None,
    optimade: Annotated[
        str | None, typer.Option(help="Address of an OPTIMADE provider; needs --elements.")
    ] = None,
    materials_project: Annotated[
        bool,
        typer.Option(
            "--materials-project", help="Fetch from the Materials Project; needs --elements and a key."
        ),
    ] = False,
    elements: Annotated[str, typer.Option(help="Elements to fetch, such as Li,P,S.")] = "",
    endpoint: Annotated[
        str | None,
        typer.Option(envvar="MP_API_ENDPOINT", help="Another address of the Materials Project interface."),
    ] = None,
    energy_above_hull: Annotated[
        float, typer.Option(help="Highest Materials Project energy above hull to fetch, eV/atom.")
    ] = 0.05,
    potential: Annotated[str, typer.Option(help="Potential; must be the campaign's.")] = "7net-0",
    sha256: Annotated[str | None, typer.Option(help="Hash of a checkpoint file given as potential.")] = None,
    fmax: Annotated[float, typer.Option(help="Largest force at the end, eV/angstrom.")] = 0.03,
    steps: Annotated[int, typer.Option(help="Largest number of relaxation steps.")] = 500,
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
) -> None:
    """Fetch phases, relax and correct them, and write a reference file. Run it again to go on after an interruption."""
    from loop.hull_phases import RelaxSettings

    settings = RelaxSettings(potential, sha256, fmax, steps)
    _run(
        lambda: _fetch(files, optimade, materials_project, elements, endpoint, energy_above_hull),
        output,
        settings,
        workers,
    )


def _run(fetch: Callable[[], Fetched], output: Path, settings: RelaxSettings, workers: int) -> None:
    """Fetches, relaxes and writes; every foreseen trouble is one line and exit code 2."""
    from loop.hull_phases import extend_reference

    # All foreseen errors (source, file, mixing, trust) are ValueErrors with a message made for people.
    try:
        fetched = fetch()
        for reason in fetched.left_out:
            typer.echo(f"left out: {reason}", err=True)
        summary = extend_reference(output, fetched.phases, settings, workers)
    except (ValueError, FileNotFoundError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    for failure in summary.failures:
        typer.echo(f"failed: {failure}", err=True)
    typer.echo(summary.text(output))
    if not summary.entries:
        raise typer.Exit(2)


def _fetch(
    files: Path | None,
    optimade: str | None,
    materials_project: bool,
    elements: str,
    endpoint: str | None,
    energy_above_hull: float,
) -> Fetched:
    from materials.sources import SourceError, from_files, from_materials_project, from_optimade

    if (files is not None) + (optimade is not None) + materials_project != 1:
        raise SourceError("name one source: --files, --optimade or --materials-project")
    if files is not None:
        return from_files(files)
    symbols = [symbol.strip() for symbol in elements.split(",") if symbol.strip()]
    if not symbols:
        raise SourceError("name the elements to fetch: --elements Li,P,S")
    if optimade is not None:
        return from_optimade(optimade, symbols)
    return from_materials_project(symbols, endpoint=endpoint, energy_above_hull=energy_above_hull)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A reference file.")],
) -> None:
    """Print what a reference file holds: source, tier and the number of phases by chemical system."""
    from collections import Counter

    from materials.reference_table import ReferenceFileError, read_table

    try:
        table = read_table(path)
    except ReferenceFileError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{path}: {len(table.entries)} phases, {table.tier}, {table.source}")
    systems = Counter("-".join(sorted(entry.elements)) for entry in table.entries)
    for system, count in sorted(systems.items(), key=lambda item: (-item[1], item[0]))[:20]:
        typer.echo(f"  {system}: {count}")


if __name__ == "__main__":
    app()
