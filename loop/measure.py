"""Measures structures with oracles, without a campaign; the same command again goes on where it stopped.

    python -m loop.measure candidates.csv --oracle relax --oracle hull --out results.csv --structures relaxed.extxyz

Exit codes: 0 every row has an answer or the reason why not, 2 bad input, 75 waiting for something outside,
130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loop.measuring.course import Measuring
    from loop.measuring.display import Display
    from loop.measuring.plan import MeasurePlan

BAD_INPUT, WAITING, INTERRUPTED = 2, 75, 130

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Places:
    """Where the input is and the output goes."""

    file: Path
    out: Path
    structures: Path | None
    folder: Path


@app.command()
def run(
    file: Annotated[
        Path,
        typer.Argument(help="A folder of CIF files, a .cif, .extxyz, or .csv with a column cif or formula."),
    ],
    oracle: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="In order: relax, or 'relax: {fmax: 0.05}' with settings."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Take the oracles of a campaign file instead.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("results.csv"),
    structures: Annotated[
        Path | None,
        typer.Option(help="Write final structures too: .extxyz, .csv, or a folder of CIF files."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Work folder: what is measured is kept here.", show_default="OUT.work"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.", show_default="one per core")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="As in a campaign: limits.seconds_per_evaluation=3600."
        ),
    ] = None,
) -> None:
    """Measures each row of FILE, and writes a row with the values, or the reason why there are none."""
    from loop.errors import CampaignError
    from materials.reading import ReadingError

    work = folder or out.with_name(out.name + ".work")
    try:
        _check_places(places := Places(file, out, structures, work))
        plan = _plan(oracle or [], config, [*(changes or ()), *_executor(workers)])
        code = _measure(plan, places)
    except (CampaignError, ReadingError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except OSError as error:
        typer.echo(
            f"error: {error}; everything measured so far is kept. Mend it and run the same command again.",
            err=True,
        )
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; nothing is lost. Run the same command again to go on.", err=True)
        code = INTERRUPTED
    raise typer.Exit(code)


def _executor(workers: int | None) -> list[str]:
    return [] if workers is None else [f"executor.workers={workers}"]


def _plan(oracles: list[str], config: str | None, changes: list[str]) -> MeasurePlan:
    from loop.loading import ConfigError
    from loop.measuring.plan import plan_of, plan_of_campaign

    if bool(oracles) == (config is not None):
        raise ConfigError("name what measures: --oracle KIND, once or several times, or --config FILE")
    return plan_of(oracles, changes) if config is None else plan_of_campaign(config, changes)


def _check_places(places: Places) -> None:
    """Raises CampaignError where output would overwrite the input, or cannot be written later."""
    from loop.errors import CampaignError
    from loop.measuring.structures import check_form

    written = [path for path in (places.out, places.structures) if path is not None]
    for path in written:
        if path.resolve() == places.file.resolve():
            raise CampaignError(f"{path}: this is the input; write to another file")
    if places.structures is not None:
        check_form(places.structures)
        if places.structures.resolve() == places.out.resolve():
            raise CampaignError(f"{places.out}: named by both --out and --structures; name two files")
    for path in written:
        if path.is_dir() and path.suffix:
            raise CampaignError(f"{path}: this is a folder; name a file")
    _check_writable("--out", places.out)
    if places.structures is not None:
        _check_writable("--structures", places.structures)
    _check_writable("--dir", places.folder)


def _check_writable(option: str, path: Path) -> None:
    """Makes the folder that will hold `path`. Raises CampaignError where nothing can be written there."""
    from loop.errors import CampaignError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise CampaignError(
            f"{option} {path}: nothing can be written to {path.parent} ({error.strerror}); name another place. "
            "Nothing was measured."
        ) from error


def _measure(plan: MeasurePlan, places: Places) -> int:
    from loop.measuring.display import Display

    with Display() as display:
        # Imported under the display: loading the numerical libraries takes seconds.
        from loop.line import build_line
        from loop.lock import DriverLock
        from loop.measuring.course import Ending, Measuring
        from loop.measuring.rows import read_rows

        display.reading(places.file)
        rows = list(read_rows(places.file))
        places.folder.mkdir(parents=True, exist_ok=True)
        with DriverLock(places.folder):
            line = build_line(plan.oracles)
            measuring = Measuring(rows, line, places.folder / "evaluations", display)
            display.began(rows, measuring.courses, [stage.name for stage in line])
            _write(measuring, places)
            try:
                _run(measuring, plan, display)
            finally:
                left_out = _write(measuring, places)
                files = [places.out, *([places.structures] if places.structures else []), places.folder]
                display.finished(rows, measuring.courses, left_out, files)
        waits = any(course.ending is Ending.WAITING for course in measuring.courses.values())
    return WAITING if waits else 0


def _run(measuring: Measuring, plan: MeasurePlan, display: Display) -> None:
    if not measuring.open:
        return
    seconds = plan.limits.seconds_per_evaluation
    with plan.executor.build(measuring.folder, seconds) as dispatcher:
        dispatcher.warm(plan.oracles)
        display.dispatched(dispatcher)
        measuring.run(dispatcher)


def _write(measuring: Measuring, places: Places) -> int:
    """Writes what is known now; how many structures had no place in their file."""
    from loop.measuring.results import write_results
    from loop.measuring.structures import write_structures

    write_results(places.out, measuring.rows, measuring.courses, measuring.line)
    if places.structures is None or not any(
        course.walk.measurements and course.walk.material.kind == "crystal"
        for course in measuring.courses.values()
    ):
        return 0
    return len(write_structures(places.structures, measuring.rows, measuring.courses))


if __name__ == "__main__":
    app()
