"""What Parsl costs: seconds for each task against the local executor, and until a killed worker's task goes on.

    python -m experiments.benchmarks.parsl_overhead

Evaluations that take no time are looked up in a table, and write their outcome.json like all others.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import psutil
import typer

from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.local import LocalExecutorSettings
from loop.executors.parsl import ParslExecutorSettings
from materials.base import Candidate, Composition, Origin
from materials.evaluation import Request, Status, request_key
from oracles.table import TableSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)
FORMULA = "MgO"
FOREVER = 3600.0
ROUND_TRIPS = 20
DELAY = 3.0
"""Seconds that an evaluation takes whose worker is killed."""

Victim = Callable[[int], int]
"""The process to kill, given the one that evaluates."""
VICTIMS: dict[str, Victim] = {
    "the evaluating process": lambda pid: pid,
    "Parsl's worker": lambda pid: psutil.Process(pid).ppid(),
    "the job": lambda pid: psutil.Process(psutil.Process(pid).ppid()).ppid(),
}


@app.command()
def run(
    number: Annotated[int, typer.Option(help="How many tasks are timed together.")] = 400,
    workers: Annotated[int, typer.Option(help="Workers of each executor.")] = 2,
    repeats: Annotated[int, typer.Option(help="How often all is timed; medians are shown.")] = 3,
    heartbeat: Annotated[int, typer.Option(help="heartbeat_seconds of the executor parsl.")] = 2,
    lost_after: Annotated[int, typer.Option(help="lost_after_seconds of the executor parsl.")] = 5,
) -> None:
    """Times both executors and prints seconds."""
    parsl = ParslExecutorSettings.model_validate(
        {
            "cpu": {"workers": workers, "cores_per_worker": 0.1},
            "heartbeat_seconds": heartbeat,
            "lost_after_seconds": lost_after,
            "status_seconds": heartbeat,
        }
    )
    executors: dict[str, ExecutorSettings] = {"local": LocalExecutorSettings(workers=workers), "parsl": parsl}
    for name, settings in executors.items():
        times = [time_tasks(settings, number, workers) for _ in range(repeats)]
        start, each, alone = (statistics.median(column) for column in zip(*times, strict=True))
        typer.echo(
            f"{name:6} {start:6.1f} s until all workers have answered, {1000 * each:6.2f} ms for each of {number} "
            f"tasks, {1000 * alone:6.2f} ms for one alone"
        )
    for name, settings in executors.items():
        for victim, of in list(VICTIMS.items())[: 1 if name == "local" else None]:
            seconds = [time_recovery(settings, of) for _ in range(repeats)]
            typer.echo(
                f"{name:6} {victim} killed: its task went on after {statistics.median(seconds):5.1f} s "
                f"({min(seconds):.1f} to {max(seconds):.1f})"
            )


def time_tasks(settings: ExecutorSettings, number: int, workers: int) -> tuple[float, float, float]:
    """Seconds until the workers are ready, for each of many tasks, and for one that is waited for."""
    with tempfile.TemporaryDirectory() as folder:
        quick, slow = table_in(Path(folder)), table_in(Path(folder), delay=0.5)
        began = time.perf_counter()
        with settings.build(Path(folder) / "evaluations", FOREVER) as dispatcher:
            dispatcher.warm([quick, slow])
            # Long enough for every worker to get some.
            ask(dispatcher, slow, range(2 * workers))
            start = time.perf_counter() - began
            began = time.perf_counter()
            ask(dispatcher, quick, range(number))
            each = (time.perf_counter() - began) / number
            began = time.perf_counter()
            for place in range(ROUND_TRIPS):
                ask(dispatcher, quick, range(number + place, number + place + 1))
            return start, each, (time.perf_counter() - began) / ROUND_TRIPS


def time_recovery(settings: ExecutorSettings, victim: Victim) -> float:
    """Seconds from the death of a process until the evaluation it did has begun again."""
    with tempfile.TemporaryDirectory() as folder:
        table = table_in(Path(folder), delay=DELAY)
        with settings.build(Path(folder) / "evaluations", FOREVER) as dispatcher:
            ask(dispatcher, table, range(1))
            dispatcher.submit(table, request_for(table, 1), attempt=1)
            while (process := dispatcher.running()[0].worker) is None:
                if dispatcher.wait(0.05):
                    raise RuntimeError("the evaluation ended before it was seen")
            psutil.Process(victim(process)).kill()
            killed = time.perf_counter()
            [outcome] = dispatcher.wait()
            if outcome.status is not Status.DONE:
                raise RuntimeError(f"{outcome.failure}")
            return time.perf_counter() - killed - DELAY


def ask(dispatcher: Dispatcher, settings: TableSettings, numbers: range) -> None:
    """Submits so many questions and waits for all answers. Raises RuntimeError where one is missing."""
    for number in numbers:
        dispatcher.submit(settings, request_for(settings, number), attempt=1)
    answered = 0
    while dispatcher.running():
        answered += sum(outcome.status is Status.DONE for outcome in dispatcher.wait())
    if answered != len(numbers):
        raise RuntimeError(f"{answered} of {len(numbers)} answered")


def table_in(folder: Path, delay: float = 0.0) -> TableSettings:
    """An oracle that knows the band gap of one formula."""
    file = folder / "answers.csv"
    file.write_text(f"formula,band_gap\n{FORMULA},7.8\n")
    return TableSettings.model_validate(
        {"file": file, "measures": ["band_gap"], "fidelity": "experiment", "delay": delay}
    )


def request_for(settings: TableSettings, number: int) -> Request:
    """The same question again, under a key of its own."""
    candidate = Candidate(Composition(FORMULA), Origin("benchmark"))
    key = request_key(candidate.id, settings.kind, settings.fingerprint(), replicate=number)
    return Request(key, candidate, candidate.material, settings.kind, replicate=number)


if __name__ == "__main__":
    app()
