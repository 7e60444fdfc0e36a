"""Runs or resumes a campaign: `python -m loop.campaign battery.yaml`.

Exit codes: 0 done, 2 bad input, 3 stopped by the brake, 75 waiting for something outside, 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.doors import drive

if TYPE_CHECKING:
    from loop.engine import ExitCode
    from loop.loading import LoadedCampaign

INTERRUPTED = 130

# Without rich's help pages, which cost a third of the time `--help` may take.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def run(
    file: Annotated[
        str, typer.Argument(help="A campaign file, or the name of a bundled one (battery.yaml).")
    ],
    folder: Annotated[
        Path | None, typer.Option("--dir", help="The run folder.", show_default="runs/<name>")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in all, instead of the file's budget.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key, for example executor.kind=serial."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the file, print the plan and the effective file, and stop."),
    ] = False,
) -> None:
    """Runs a campaign, or resumes it where it stopped: the same command does both."""
    from loop.errors import CampaignError
    from loop.loading import ConfigError, load_campaign

    overrides = list(changes or ())
    if rounds is not None:
        overrides.append(f"budget.rounds={rounds}")
    try:
        loaded = load_campaign(file, overrides)
        run_folder = folder or Path("runs") / loaded.config.name
        if dry_run:
            _print_plan(loaded, run_folder)
            return
        code = int(_run(loaded, run_folder))
    except (ConfigError, CampaignError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(
            f"error: {error}; everything measured so far is kept. Mend it and run the same command again.",
            err=True,
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; nothing is lost. Run the same command again to go on.", err=True)
        code = INTERRUPTED
    raise typer.Exit(code)


def _print_plan(loaded: LoadedCampaign, folder: Path) -> None:
    from rich.console import Console

    from loop.plan import describe

    Console().print(describe(loaded.config, folder))


def _run(loaded: LoadedCampaign, folder: Path) -> ExitCode:
    from loop.progress import Display

    with Display(folder) as display:
        code, reason = drive(loaded.config, folder, display)
        display.finished(code, reason)
    return code


if __name__ == "__main__":
    app()
