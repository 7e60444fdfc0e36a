"""How many requests the lab's service answers on this machine, and how long robots wait.

    python -m experiments.benchmarks.lab_load runs/lab_load --robots 50 --seconds 60

Each robot takes an order, beats twice and answers it, over one connection, as fast as the service lets it. Service and
robots share the machine's cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer

from loop.database.lab_tokens import Role
from loop.database.store import Store
from loop.loading import effective_yaml, parse_campaign
from materials.base import Composition
from oracles.lab.base import Order, Target

app = typer.Typer(add_completion=False, rich_markup_mode=None)
PORT = 8351
FILE = """
name: load
space: {kind: composition, elements: [Li, S], number_of_atoms: [2, 9]}
objectives: [{property: log_ionic_conductivity, goal: maximize}]
generators: [{kind: random}]
oracles: [{kind: lab, measures: [log_ionic_conductivity]}]
"""
VALUE = {"property": "log_ionic_conductivity", "value": -4.0, "unit": "log10(S/cm)", "std": 0.1}


def _order(number: int) -> Order:
    target = Target("log_ionic_conductivity", "log10(S/cm)", "experiment")
    material = Composition("Li2S").to_dict()
    return Order(f"{number:016x}", f"c{number}", "lab", "Li2S", material, (target,))


def _robot(token: str, end: float, waited: list[float], codes: Counter[int]) -> None:
    """Works until the end; notes what every request took."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", headers=headers, timeout=60) as client:

        def ask(path: str, body: object) -> httpx.Response:
            began = time.perf_counter()
            answer = client.post(path, json=body)
            waited.append(time.perf_counter() - began)
            codes[answer.status_code] += 1
            return answer

        while time.monotonic() < end:
            for row in ask("/v1/leases", {"number": 1}).json():
                place, lease = f"/v1/orders/{row['key']}", row["lease"]
                for _ in range(2):
                    ask(f"{place}/heartbeat", {"lease": lease})
                ask(f"{place}/result", {"lease": lease, "measurements": [VALUE]})


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A fresh folder.")],
    robots: Annotated[int, typer.Option(min=1)] = 50,
    seconds: Annotated[float, typer.Option(min=1)] = 60.0,
    database: Annotated[str, typer.Option(help="An SQLAlchemy URL; else SQLite in the folder.")] = "",
) -> None:
    """Prints requests per second, and the median and the 99th percentile of what a request takes."""
    folder.mkdir(parents=True)
    text = FILE + (f"database: {database}\n" if database else "")
    config = parse_campaign(text, folder / "load.yaml", looking=True)
    (folder / "campaign.yaml").write_text(effective_yaml(config))
    with Store.open(database or folder / "campaign.db", "load", create=True) as store:
        for number in range(int(seconds * 100)):
            store.lab().submit(_order(number))
        tokens = [store.lab_tokens().issue(f"robot{n}", Role.ROBOT) for n in range(robots)]
    serve = [sys.executable, "-m", "loop.serve", str(folder), "--port", str(PORT)]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as service:
        try:
            _wait_for_service()
            waited: list[float] = []
            codes: Counter[int] = Counter()
            end = time.monotonic() + seconds
            threads = [threading.Thread(target=_robot, args=(token, end, waited, codes)) for token in tokens]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            service.terminate()
    middle, late = np.percentile(waited, [50, 99])
    told = {"robots": robots, "seconds": seconds, "requests": len(waited), "codes": dict(codes)}
    told |= {"requests per second": round(len(waited) / seconds, 1)}
    typer.echo(
        json.dumps(told | {"median, ms": round(1e3 * middle), "99th percentile, ms": round(1e3 * late)})
    )


def _wait_for_service() -> None:
    for _ in range(300):
        try:
            httpx.get(f"http://127.0.0.1:{PORT}/v1/health", timeout=2)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the service did not start; see its output")


if __name__ == "__main__":
    app()
