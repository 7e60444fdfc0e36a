"""A SiLA 2 server with a simulated robot behind it: the feature Synthesis And Measurement, to try everything with.

    python -m oracles.lab.simulator_sila2 --insecure --journal robot.jsonl --crash 0.2

It lives in the same world as `oracles.lab.simulator`. The journal is its only memory: after a crash it knows what it
had measured, and says of what it had only begun that it is lost. What was ordered and not begun is begun then.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oracles.lab.simulator import (
    CrashedError,
    Faults,
    Journal,
    JournalFile,
    Noise,
    Seconds,
    Seed,
    Share,
    measured,
    nonsense,
)

if TYPE_CHECKING:
    from sila2.server import SilaServer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
STAGES = ("weighing", "firing", "measuring")
ENDS = {"measured": "Done", "refused": "Refused", "cancelled": "Cancelled", "failed": "Failed"}
Tell = Callable[[str, float], None]
"""Told the stage in words and the share of the work that is done."""


class Bench:
    """One robot: carries out one order after the other, and remembers in its journal."""

    def __init__(self, journal: Journal, faults: Faults, seconds: float, noise: float, seed: int) -> None:
        self._journal, self._faults, self._seconds, self._noise = journal, faults, seconds, noise
        self._chance = random.Random(seed)
        self._memory, self._hands = threading.RLock(), threading.Lock()
        self._working: set[str] = set()

    def state(self, key: str) -> tuple[str, str, str]:
        """State, result and message of an order, as the feature defines them."""
        with self._memory:
            lines = {e["what"]: e for e in self._journal.entries() if e["key"] == key}
        for what, state in ENDS.items():
            if what in lines:
                return state, lines[what].get("result", ""), lines[what].get("message", "")
        if "begun" in lines:
            return (
                ("Working", "", "")
                if key in self._working
                else ("Lost", "", "the power went while it was at work")
            )
        return ("Waiting" if "ordered" in lines else "Unknown"), "", ""

    def unfinished(self) -> list[tuple[str, str]]:
        """Keys and orders that were given and not begun."""
        given = {e["key"]: e["order"] for e in self._journal.entries() if e["what"] == "ordered"}
        return [(key, order) for key, order in given.items() if self.state(key)[0] == "Waiting"]

    def carry_out(self, key: str, order: str, tell: Tell) -> str:
        """The result of an order; of a known one what it comes to, without doing anything again."""
        with self._memory:
            if self.state(key)[0] == "Unknown":
                self._write("ordered", key, order=order)
        with self._hands:
            with self._memory:
                if self.state(key)[0] != "Waiting":
                    return self.state(key)[1]
                self._write("begun", key)
                self._working.add(key)
            try:
                return self._work(key, order, tell)
            finally:
                self._working.discard(key)

    def cancel(self, key: str) -> bool:
        """Takes back what was not begun."""
        with self._memory:
            if self.state(key)[0] == "Waiting":
                self._write("cancelled", key)
            return self.state(key)[0] == "Cancelled"

    def _work(self, key: str, order: str, tell: Tell) -> str:
        try:
            asked = json.loads(order)
            formula, targets = str(asked["formula"]), list(asked["targets"])
        except (ValueError, KeyError, TypeError) as error:
            self._write("refused", key, message=f"the order cannot be read: {error!r}")
            return ""
        crash = self._chance.random() < self._faults.crash
        for number, stage in enumerate(STAGES):
            tell(stage, number / len(STAGES))
            time.sleep(self._seconds / len(STAGES))
            if crash and number == 1:
                raise CrashedError
        values = [measured(formula, target, self._noise, self._chance) for target in targets]
        if self._chance.random() < self._faults.garbage:
            values[0] = nonsense(values[0], self._chance)
        if self._chance.random() < self._faults.late:
            time.sleep(3 * self._seconds)
        result = json.dumps({"measurements": values, "seconds": self._seconds})
        self._write("measured", key, result=result)
        return result

    def _write(self, what: str, key: str, **more: Any) -> None:
        with self._memory:
            self._journal.write(what=what, key=key, lease=key, **more)


def server_of(bench: Bench, name: str = "matloop simulator") -> SilaServer:
    """A SiLA 2 server, not started yet, whose feature is carried out by the bench."""
    from sila2.framework import Feature
    from sila2.server import FeatureImplementationBase, SilaServer

    from oracles.lab.sila2_client import FEATURE

    class Implementation(FeatureImplementationBase):  # type: ignore[misc]
        def start(self) -> None:
            super().start()
            for key, order in bench.unfinished():
                self.parent_server.child_task_executor.submit(bench.carry_out, key, order, _to_nobody)

        def MakeAndMeasure(self, key: str, order: str, *, metadata: Any, instance: Any) -> str:  # noqa: N802
            def tell(stage: str, share: float) -> None:
                instance.progress = share
                instance.send_intermediate_response(stage)

            instance.begin_execution()
            return bench.carry_out(key, order, tell)

        def ResultOf(self, key: str, *, metadata: Any) -> tuple[str, str, str]:  # noqa: N802
            return bench.state(key)

        def Cancel(self, key: str, *, metadata: Any) -> bool:  # noqa: N802
            return bench.cancel(key)

    about = "Makes nothing and measures a simulated world"
    server = SilaServer(name, "SimulatedLab", about, "1.0", "https://sila-standard.org")
    server.set_feature_implementation(Feature(str(FEATURE)), Implementation(server))
    return server


def _to_nobody(stage: str, share: float) -> None:
    """An order that was given before a crash has nobody listening any more."""


@app.command()
def run(
    address: Annotated[str, typer.Option(help="To listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="To listen at.")] = 50052,
    insecure: Annotated[
        bool, typer.Option(help="Without encryption and discovery, on this machine.")
    ] = False,
    certificate: Annotated[Path, typer.Option(help="Where to put the certificate made for it.")] = Path(
        "robot.pem"
    ),
    name: Annotated[str, typer.Option(help="The SiLA Server Name.")] = "matloop simulator",
    journal: JournalFile = Path("robot.jsonl"),
    seconds: Seconds = 1.0,
    noise: Noise = 0.02,
    crash: Share = 0.0,
    garbage: Share = 0.0,
    late: Share = 0.0,
    seed: Seed = 0,
) -> None:
    """Serves until it is interrupted."""
    bench = Bench(Journal(journal), Faults(crash, 0.0, garbage, late), seconds, noise, seed)
    server = server_of(bench, name)
    if insecure:
        server.start_insecure(address, port, enable_discovery=False)
    else:
        server.start(address, port)
        certificate.write_bytes(server.generated_ca)
    typer.echo(f"listening at {address}:{port}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    app()
