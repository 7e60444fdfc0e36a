"""The driver alone at the size of a supercomputer: many evaluations a round on simulated workers that cost nothing.

    python -m experiments.benchmarks.driver_scale runs/scale --batch 10000 --policy random

Everything of the driver is real: proposals, screening, the surrogate, selection, the database (with its guarantee that
what was committed survives a power cut), the line of two oracles, the report. Only the workers are not: each answers at
once with a made-up value. So the seconds are those that the driver itself needs for each evaluation.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

from loop.engine import Campaign
from loop.executors.base import Dispatcher, ExecutorSettings
from loop.executors.tasks import RunningTask
from loop.loading import parse_campaign
from materials.base import Measurement
from materials.evaluation import Outcome, Request, Status, Ticket
from materials.properties import property_named
from oracles.base import OracleSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None)
TOGETHER = 20
"""Outcomes that the driver finds when it looks: 1,000 workers that take a minute each give 17 a second."""


class SimulatedExecutorSettings(ExecutorSettings):
    """Workers that answer at once."""

    kind: Literal["simulated"] = "simulated"
    workers: int = 1000

    def build(self, folder: Path, seconds_per_evaluation: float) -> SimulatedDispatcher:
        return SimulatedDispatcher(folder, seconds_per_evaluation)


class SimulatedDispatcher(Dispatcher):
    """Answers the oldest requests, some at a time."""

    def __init__(self, folder: Path, seconds_per_evaluation: float) -> None:
        super().__init__(folder, seconds_per_evaluation)
        self._waiting: deque[tuple[OracleSettings, Request]] = deque()

    def map(self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*arguments) for arguments in work]

    def close(self) -> None:
        self._waiting.clear()

    def _preload(self, settings: Sequence[OracleSettings]) -> None:
        """Nothing is loaded."""

    def _start(self, settings: OracleSettings, request: Request, attempt: int) -> None:
        self._waiting.append((settings, request))

    def _advance(self, timeout: float | None) -> list[Outcome]:
        number = min(TOGETHER, len(self._waiting))
        return [made_up(*self._waiting.popleft()) for _ in range(number)]

    def _stop(self, ticket: Ticket) -> bool:
        return False

    def _in_process(self) -> list[RunningTask]:
        return [RunningTask.of(request) for _, request in self._waiting]


def made_up(settings: OracleSettings, request: Request) -> Outcome:
    """An answer that follows from the key."""
    chance = random.Random(request.key)
    found = tuple(
        Measurement(name, chance.uniform(0, 5), property_named(name).unit, settings.fidelity, request.oracle)
        for name in settings.measures
    )
    return Outcome(request.key, request.candidate.id, request.oracle, Status.DONE, found, seconds=60.0)


def _campaign(folder: Path, batch: int, rounds: int, policy: str) -> dict[str, Any]:
    from pymatgen.core import Composition

    chance, formulas = random.Random(1), set[str]()
    elements = ["Li", "Na", "K", "Mg", "Ca", "Al", "O", "S", "Se", "F", "Cl", "Br", "I", "N", "P"]
    while len(formulas) < 2 * batch * rounds + 100:
        text = "".join(f"{e}{chance.randint(1, 9)}" for e in chance.sample(elements, 4))
        formulas.add(Composition(text).reduced_formula)
    rows = [f"{formula},{chance.uniform(0, 6):.3f}" for formula in sorted(formulas)]
    (folder / "pool.csv").write_text("\n".join(["formula,band_gap", *rows]) + "\n")
    oracle = {"kind": "table", "file": "pool.csv", "fidelity": "PBE"}
    return {
        "name": "scale",
        "space": {
            "kind": "composition",
            "elements": elements,
            "number_of_elements": [2, 4],
            "number_of_atoms": [2, 40],
        },
        "objectives": [{"property": "band_gap", "goal": "maximize"}],
        "generators": [{"kind": "files", "path": "pool.csv"}],
        "surrogate": {"kind": "gp", "descriptor": "composition", "prior": "none"},
        "acquisition": {"kind": policy},
        "oracles": [{**oracle, "measures": ["band_gap"]}],
        "budget": {"rounds": rounds, "batch": batch, "pool": 2 * batch},
        "tracking": "none",
    }


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A fresh folder.")],
    batch: Annotated[int, typer.Option(help="Evaluations a round.", min=1)] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    policy: Annotated[str, typer.Option(help="The acquisition's kind.")] = "random",
) -> None:
    """Prints seconds of the driver by step, memory, and the size of the database."""
    folder.mkdir(parents=True, exist_ok=True)
    document = _campaign(folder, batch, rounds, policy)
    config = parse_campaign(yaml.safe_dump(document), folder / "campaign.yaml").model_copy(
        update={"executor": SimulatedExecutorSettings()}
    )
    began = time.monotonic()
    with Campaign(config, folder / "run") as campaign:
        campaign.run()
        seconds = time.monotonic() - began
        timings = [row.timings for row in campaign.store.rounds()]
    size = sum(f.stat().st_size for f in (folder / "run").glob("campaign.db*"))
    told = {
        "evaluations": batch * rounds,
        "seconds": round(seconds, 1),
        "driver seconds per evaluation": round(seconds / batch / rounds, 4),
        "by step": [{step: round(spent, 1) for step, spent in one.items()} for one in timings],
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "database, MiB": round(size / 2**20, 1),
    }
    typer.echo(json.dumps(told, indent=1))


if __name__ == "__main__":
    app()
