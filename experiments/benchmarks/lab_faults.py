"""A campaign with simulated robots that crash, repeat themselves and talk nonsense, while its programs are killed.

    python -m experiments.benchmarks.lab_faults runs/lab_faults --crash 0.2 --duplicate 0.1 --garbage 0.1
    python -m experiments.benchmarks.lab_faults runs/lab_kills --kills 50 --rounds 60

The campaign screens compositions with a quick oracle in a worker process, then two robots measure them over the REST
service. Driver, service, workers and robots are killed with SIGKILL at random moments and started again; a person,
played by this program, looks into the robots' journals and decides about orders whose robot vanished. Afterwards the
journals, which are what happened to real material, are held against the database.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from loop.database.lab_rows import OrderStatus
from loop.database.lab_tokens import Role
from loop.database.store import Store
from oracles.lab.simulator import Journal

app = typer.Typer(add_completion=False, rich_markup_mode=None)
PORT = 8347
ROLES = ("driver", "service", "worker", "robot")
FILE = """
name: faults
seed: {seed}
space:
  kind: composition
  elements: [Li, Na, K, P, S, Cl, Br]
  required: [Li]
  number_of_elements: [2, 4]
  number_of_atoms: [2, 20]
objectives: [{{property: log_ionic_conductivity, goal: maximize}}]
generators: [{{kind: files, path: formulas.csv}}]
oracles:
  - {{kind: table, file: formulas.csv, measures: [band_gap], fidelity: learned, delay: 0.2}}
  - {{kind: lab, measures: [log_ionic_conductivity], conditions: {{temperature: 300}}, most_waiting: 8}}
surrogate: {{kind: gp, descriptor: composition, prior: none}}
executor: {{kind: local, workers: 1}}
budget: {{rounds: {rounds}, batch: 4, pool: 60}}
limits: {{seconds_of_waiting: 3, failure_share: 1.0}}
tracking: none
"""


@dataclass
class Process:
    """A program that is started again whenever it has ended."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    codes: Counter[int] = field(default_factory=Counter)

    def keep_running(self) -> None:
        """Starts it where it does not run."""
        if self.process is not None and self.process.poll() is not None:
            self.codes[self.process.returncode] += 1
            self.process = None
        if self.process is None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self) -> bool:
        """SIGKILL; False where it does not run."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return True


class Lab:
    """The campaign's programs, and the person who looks after them."""

    def __init__(self, folder: Path, faults: dict[str, float], seed: int, rounds: int) -> None:
        self.folder, self.run = folder, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        _write_formulas(folder / "formulas.csv", seed)
        (folder / "campaign.yaml").write_text(FILE.format(seed=seed, rounds=rounds))
        python = [sys.executable, "-W", "ignore", "-m"]
        drive = [*python, "loop.campaign", str(folder / "campaign.yaml"), "--dir", str(self.run)]
        first = subprocess.run(
            [*drive, "--set", "limits.seconds_of_waiting=0"], check=False, capture_output=True
        )
        if first.returncode != 75:
            raise RuntimeError(first.stderr.decode())
        self.store = Store.open(self.run / "campaign.db", "faults", create=False)
        tokens = {name: self.store.lab_tokens().issue(name, Role.ROBOT) for name in ("arm1", "arm2")}
        options = [str(part) for name, share in faults.items() for part in (f"--{name}", share)]
        self.driver = Process(drive, folder / "driver.log")
        self.service = Process(
            [*python, "loop.serve", str(self.run), "--port", str(PORT)], folder / "service.log"
        )
        self.journals = {name: Journal(folder / f"{name}.jsonl") for name in tokens}
        self.robots = {
            name: Process(
                [
                    *(*python, "oracles.lab.simulator", f"http://127.0.0.1:{PORT}", "--token", token),
                    *("--journal", str(folder / f"{name}.jsonl"), "--seconds", "0.3", "--idle", "100000"),
                    *("--seed", str(seed + number), *options),
                ],
                folder / f"{name}.log",
            )
            for number, (name, token) in enumerate(tokens.items())
        }
        self.decisions: Counter[str] = Counter()

    def keep_running(self) -> bool:
        """Starts what has ended; False when the campaign is done."""
        for process in (self.service, *self.robots.values()):
            process.keep_running()
        self.driver.keep_running()
        return 0 not in self.driver.codes

    def kill(self, role: str, chance: random.Random) -> bool:
        """Kills one process of a role."""
        if role == "worker":
            return self._kill_worker()
        if role == "robot":
            return chance.choice(list(self.robots.values())).kill()
        return {"driver": self.driver, "service": self.service}[role].kill()

    def _kill_worker(self) -> bool:
        process = self.driver.process
        if process is None or process.poll() is not None:
            return False
        try:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
            for worker in workers[:1]:
                worker.kill()
            return bool(workers)
        except psutil.NoSuchProcess:
            return False

    def look_after(self) -> None:
        """Decides about unknown orders as a person does who goes and looks at the robot."""
        desk = self.store.lab()
        desk.sweep()
        for row in desk.orders(OrderStatus.UNKNOWN):
            assert row.worker is not None
            assert row.lease is not None
            entries = self.journals[row.worker].entries()
            if self.journals[row.worker].measured(row.lease) is not None:
                self.decisions["left to the robot's journal"] += 1
            elif entries and _is_at_something_else(entries, row.lease, row.changed_at):
                desk.decide(row.order.key, "person", "repeat")
                self.decisions["repeat"] += 1

    def end(self) -> None:
        """Stops everything."""
        for process in (self.driver, *self.robots.values(), self.service):
            process.kill()


def _is_at_something_else(entries: list[dict[str, Any]], lease: str, since: str) -> bool:
    """Whether the robot has begun or started anything after it had this order in hand."""
    from datetime import datetime

    begun = [e["time"] for e in entries if e["lease"] == lease]
    moment = max(begun, default=datetime.fromisoformat(since).timestamp() - 3600)
    return any(e["time"] > moment and e["lease"] != lease for e in entries)


def _write_formulas(file: Path, seed: int) -> None:
    """Formulas with a made-up band gap each."""
    from pymatgen.core import Composition

    chance = random.Random(seed)
    found: dict[str, float] = {}
    while len(found) < 400:
        others = chance.sample(["Na", "K", "P", "S", "Cl", "Br"], chance.randint(1, 3))
        text = f"Li{chance.randint(1, 6)}" + "".join(f"{e}{chance.randint(1, 4)}" for e in others)
        found[Composition(text).reduced_formula] = round(chance.uniform(0, 6), 3)
    lines = [f"{formula},{gap}" for formula, gap in found.items()]
    file.write_text("\n".join(["formula,band_gap (eV)", *lines]) + "\n")


def audit(lab: Lab) -> dict[str, int]:
    """The journals against the database; all but the first three have to be 0."""
    made: dict[str, list[float]] = {}
    for journal in lab.journals.values():
        for entry in journal.entries():
            if entry["what"] == "measured":
                made.setdefault(entry["key"], []).append(entry["values"][0]["value"])
    orders = lab.store.lab().orders()
    told = {
        row.order.key: row.outcome.measurements[0].value
        for row in orders
        if row.outcome is not None and row.outcome.measurements
    }
    kept = {row.key: lab.store.outcome(row.key) for row in lab.store.evaluations() if row.oracle == "lab"}
    learned = {k: o.measurements[0].value for k, o in kept.items() if o is not None and o.measurements}
    return {
        "orders": len(orders),
        "measured by robots": len(made),
        "in the campaign's database": len(learned),
        "measured twice": sum(len(values) > 1 for values in made.values()),
        "lost": sum(key not in learned for key in made),
        "accepted and never measured": sum(value not in made.get(key, ()) for key, value in told.items()),
        "answered, and other in the database": sum(learned.get(key) != value for key, value in told.items()),
        "orders without an answer": sum(row.outcome is None for row in orders),
        "evaluations without an end": sum(outcome is None for outcome in kept.values()),
    }


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A fresh folder.")],
    kills: Annotated[int, typer.Option(help="SIGKILLs of each of driver, service, worker and robot.")] = 0,
    crash: float = 0.0,
    duplicate: float = 0.0,
    garbage: float = 0.0,
    late: float = 0.0,
    rounds: Annotated[int, typer.Option(help="Of four materials.", min=1)] = 15,
    seed: int = 1,
) -> None:
    """Runs the campaign to its end, and counts what went wrong."""
    lab = Lab(
        folder, {"crash": crash, "duplicate": duplicate, "garbage": garbage, "late": late}, seed, rounds
    )
    chance, left = random.Random(seed), Counter(dict.fromkeys(ROLES, kills))
    began, next_kill = time.monotonic(), time.monotonic() + 5
    try:
        while lab.keep_running():
            lab.look_after()
            if time.monotonic() > next_kill and left.total():
                role = chance.choice([r for r in ROLES if left[r]])
                left[role] -= lab.kill(role, chance)
                next_kill = time.monotonic() + chance.uniform(0.0, 8.0)
            time.sleep(0.1)
        _finish(lab)
        found = audit(lab)
    finally:
        lab.end()
    delivered = {role: kills - left[role] for role in ROLES}
    events = Counter(event.what for event in lab.store.lab().events())
    told: dict[str, Any] = {"seconds": round(time.monotonic() - began), "kills": delivered, **found}
    told |= {
        "events": dict(events),
        "decisions": dict(lab.decisions),
        "driver ended with": dict(lab.driver.codes),
    }
    typer.echo(json.dumps(told, indent=1))


def _finish(lab: Lab, patience: float = 60.0) -> None:
    """Lets robots hand in what they still hold."""
    end = time.monotonic() + patience
    while any(row.outcome is None for row in lab.store.lab().orders()) and time.monotonic() < end:
        lab.look_after()
        time.sleep(0.5)


if __name__ == "__main__":
    app()
