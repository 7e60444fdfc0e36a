"""Runs a bundled campaign as a user would and prints its seconds, its peak memory and where the time went.

    python -m experiments.benchmarks.campaign battery.yaml --dir runs/benchmark_battery

Overhead is the wall time that belongs neither to oracles, with the looks that begin their work, nor to descriptors:
starting, proposing, screening, fitting, selecting and reporting. Memory is the proportional set size of the driver and
all its workers together, so that pages they share count once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer

from loop.report.folder import open_view

app = typer.Typer(add_completion=False, rich_markup_mode=None)
NOT_OVERHEAD = ("evaluate", "describe", "look")
SAMPLE_SECONDS = 2.0


@app.command()
def run(
    file: Annotated[str, typer.Argument()] = "battery.yaml",
    folder: Annotated[Path, typer.Option("--dir")] = Path("runs/benchmark_battery"),
) -> None:
    """Times one whole campaign in a fresh run folder."""
    if (folder / "campaign.db").exists():
        raise typer.BadParameter(f"{folder} holds a run already; name a fresh folder", param_hint="--dir")
    began = time.monotonic()
    process = psutil.Popen([sys.executable, "-m", "loop.campaign", file, "--dir", str(folder)])
    peak = 0
    while True:
        try:
            code = process.wait(SAMPLE_SECONDS)
            break
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            peak = max(peak, _memory(process))
    seconds = time.monotonic() - began
    view, _ = open_view(folder)
    steps: dict[str, float] = {}
    for row in view.rounds:
        for step, spent in row.timings.items():
            steps[step] = steps.get(step, 0.0) + spent
    useful = sum(steps.get(step, 0.0) for step in NOT_OVERHEAD)
    typer.echo(f"exit code {code}, {seconds:.0f} s, peak memory {peak / 2**30:.2f} GiB")
    typer.echo(f"outside oracles and descriptors: {seconds - useful:.0f} s, {1 - useful / seconds:.1%}")
    for step, spent in sorted(steps.items(), key=lambda item: -item[1]):
        typer.echo(f"  {step:10} {spent:7.1f} s")
    typer.echo(
        f"  {'the rest':10} {seconds - sum(steps.values()):7.1f} s (starting, closing, the last report)"
    )


def _memory(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:  # ended since it was listed
            continue
    return total


if __name__ == "__main__":
    app()
