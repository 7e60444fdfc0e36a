"""A synthesis robot to try everything with: it takes time, is noisy, crashes, answers late, twice and with garbage.

    python -m oracles.lab.simulator http://127.0.0.1:8321 --token TOKEN --journal robot.jsonl --crash 0.2

The journal is the robot's own memory of what it did to real material: a line before an order is begun and one when it
is measured, on disk before anything else happens. After a crash it answers what it had measured, and says of what it
had only begun that it does not know.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import httpx

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
USUAL = {"log_ionic_conductivity": (-9.0, -2.0), "band_gap": (0.0, 7.0), "migration_barrier": (0.05, 1.5)}
"""Ranges in which values lie; of other properties from 0 to 1."""
Share = Annotated[float, typer.Option(min=0, max=1)]
JournalFile = Annotated[Path, typer.Option(help="The robot's own memory.")]
Seconds = Annotated[float, typer.Option(help="Per order.", min=0)]
Noise = Annotated[float, typer.Option(help="Of the usual range of a property.", min=0)]
Seed = Annotated[int, typer.Option(help="Of its faults and its noise.")]


class CrashedError(Exception):
    """The robot lost power."""


@dataclass(frozen=True)
class Faults:
    """Shares of orders at which something goes wrong."""

    crash: float = 0.0
    duplicate: float = 0.0
    garbage: float = 0.0
    late: float = 0.0


def true_value(formula: str, name: str) -> float:
    """What the simulated world says: the same for a formula whenever it is made, and near for near formulas."""
    from pymatgen.core import Composition

    low, high = USUAL.get(name, (0.0, 1.0))
    fractions = Composition(formula).fractional_composition
    total = sum(float(x) * _trait(str(element), name) for element, x in fractions.items())
    return low + (high - low) * total


def _trait(element: str, name: str) -> float:
    return int.from_bytes(sha256(f"{element}/{name}".encode()).digest()[:4], "big") / 2**32


def measured(formula: str, target: Mapping[str, Any], noise: float, chance: random.Random) -> dict[str, Any]:
    """A measurement of a target, with an error of `noise` times the usual range of the property."""
    low, high = USUAL.get(target["property"], (0.0, 1.0))
    error = noise * (high - low)
    value = true_value(formula, target["property"]) + chance.gauss(0, error)
    found = {"property": target["property"], "unit": target["unit"], "value": max(value, low)}
    return {**found, "std": error} if error else found


def nonsense(value: Mapping[str, Any], chance: random.Random) -> dict[str, Any]:
    """A measurement as instruments give it when they talk nonsense, in one of their ways."""
    ways: list[dict[str, Any]] = [
        {"value": "overload"},
        {"value": 1e9},
        {"unit": "S/m"},
        {"property": "hardness"},
        {"value": None},
    ]
    return {**value, **chance.choice(ways)}


class Journal:
    """Lines on disk that survive the robot."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, **entry: object) -> None:
        """Adds a line, and returns when it is on disk."""
        torn = self._file.exists() and not self._file.read_bytes().endswith(b"\n")
        with self._file.open("a", encoding="utf-8") as lines:
            if torn:  # the power went while the last line was written
                lines.write("\n")
            lines.write(json.dumps({**entry, "time": time.time()}) + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """All whole lines."""
        if not self._file.exists():
            return []
        found = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the power went while it was written, so nothing was done yet
        return found

    def measured(self, lease: str) -> dict[str, Any] | None:
        """What was measured under a lease, if anything."""
        found = (e for e in self.entries() if e["lease"] == lease and e["what"] == "measured")
        return next(found, None)


class Robot:
    """Takes one order after the other."""

    def __init__(
        self, client: httpx.Client, journal: Journal, faults: Faults, seconds: float, noise: float, seed: int
    ) -> None:
        self._client, self._journal, self._faults = client, journal, faults
        self._seconds, self._noise, self._chance = seconds, noise, random.Random(seed)
        self._lease_seconds = max(2.0, 3 * seconds)

    def start(self) -> None:
        """Looks at what it had in hand when the power went."""
        self._journal.write(what="started", key="", lease="")
        for held in self._ask("GET", "/v1/orders", params={"mine": True, "status": ["leased", "unknown"]}):
            before = self._journal.measured(held["lease"])
            if before is not None:
                self._post(held, before["values"])
            elif held["status"] == "leased":
                body = {"lease": held["lease"], "message": "lost power at work", "unknown": True}
                self._ask("POST", f"/v1/orders/{held['key']}/failure", json=body)

    def work(self) -> bool:
        """Does one order; False when there is none."""
        taken = self._ask("POST", "/v1/leases", json={"number": 1, "seconds": self._lease_seconds})
        for order in taken:
            self._do(order)
        return bool(taken)

    def _do(self, taken: Mapping[str, Any]) -> None:
        key, lease, order = taken["key"], taken["lease"], taken["order"]
        self._journal.write(what="begun", key=key, lease=lease)
        crash = self._chance.random() < self._faults.crash
        early = self._chance.random() < 0.5
        time.sleep(self._seconds)
        if crash and early:
            raise CrashedError
        values = [
            measured(order["formula"], target, self._noise, self._chance) for target in order["targets"]
        ]
        self._journal.write(what="measured", key=key, lease=lease, values=values)
        if crash:
            raise CrashedError
        if self._chance.random() < self._faults.late:
            time.sleep(self._lease_seconds + 1)
        if self._chance.random() < self._faults.garbage:
            self._post_garbage(taken, values)
        self._post(taken, values)
        if self._chance.random() < self._faults.duplicate:
            self._post(taken, values)

    def _post(self, taken: Mapping[str, Any], values: list[dict[str, Any]]) -> None:
        body = {"lease": taken["lease"], "measurements": values, "seconds": self._seconds}
        self._ask("POST", f"/v1/orders/{taken['key']}/result", json=body)

    def _post_garbage(self, taken: Mapping[str, Any], values: list[dict[str, Any]]) -> None:
        """Nonsense is to be refused."""
        lease, bad = taken["lease"], nonsense(values[0], self._chance)
        path = f"/v1/orders/{taken['key']}/result"
        answer = self._client.post(path, json={"lease": lease, "measurements": [bad, *values[1:]]})
        if answer.status_code != 422:
            raise RuntimeError(f"garbage was not refused: {answer.status_code} {answer.text}")

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        """The answer's JSON; waits while the service is away. A conflict (409) is told and passed over."""
        import httpx

        while True:
            try:
                answer = self._client.request(method, path, **what)
            except httpx.TransportError:
                time.sleep(0.5)
                continue
            if answer.status_code in (429, 503):
                time.sleep(0.5)
                continue
            if answer.status_code == 409:
                typer.echo(f"the service says: {answer.json()['detail']}", err=True)
                return []
            answer.raise_for_status()
            return answer.json()


@contextmanager
def client(url: str, token: str) -> Iterator[httpx.Client]:
    """A connection to the service."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as opened:
        yield opened


@app.command()
def run(
    url: Annotated[str, typer.Argument(help="Of the service, such as http://127.0.0.1:8321.")],
    token: Annotated[str, typer.Option(help="Of role robot.", envvar="MATLOOP_TOKEN")],
    journal: JournalFile = Path("robot.jsonl"),
    seconds: Seconds = 1.0,
    noise: Noise = 0.02,
    crash: Share = 0.0,
    duplicate: Share = 0.0,
    garbage: Share = 0.0,
    late: Share = 0.0,
    idle: Annotated[float, typer.Option(help="Seconds without an order after which it ends.")] = 60.0,
    seed: Seed = 0,
) -> None:
    """Works until there has been nothing to do for a while."""
    faults = Faults(crash, duplicate, garbage, late)
    last = time.monotonic()
    with client(url, token) as opened:
        # A crash forgets everything but the journal; the chances go on, so that it is not repeated for ever.
        robot = Robot(opened, Journal(journal), faults, seconds, noise, seed)
        robot.start()
        while time.monotonic() - last < idle:
            try:
                if robot.work():
                    last = time.monotonic()
                else:
                    time.sleep(min(1.0, idle / 10))
            except CrashedError:
                typer.echo("lost power; starting again", err=True)
                robot.start()


if __name__ == "__main__":
    app()
