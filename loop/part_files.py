"""Part files: results appended one JSON line at a time by a run on many processes, which can be taken up again."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def done_ids(path: Path) -> set[str]:
    """Ids of the phases a part file already holds; a line cut off by a kill is removed from the file."""
    if not path.is_file():
        return set()
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines = lines[:-1]
    return {json.loads(line)["id"] for line in lines}


def records(path: Path) -> Iterator[Record]:
    """The results of one part file."""
    if path.is_file():
        with path.open() as handle:
            yield from (json.loads(line) for line in handle if line.endswith("\n"))


def start_worker() -> None:
    """One torch thread per process: twice as fast as one process with two threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def compute(
    task: Callable[[Sequence[Any]], list[Record]],
    groups: Iterable[Sequence[Any]],
    path: Path,
    workers: int,
    total: int,
) -> None:
    """Runs task on each group in `workers` processes and appends what comes back to path as it arrives."""
    started, finished = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    waiting: set[Future[list[Record]]] = set()
    remaining = iter(groups)
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool,
        path.open("a") as out,
    ):
        while True:
            # Few in flight, so that stopping the run loses little.
            while len(waiting) < workers + 2 and (group := next(remaining, None)) is not None:
                waiting.add(pool.submit(task, group))
            if not waiting:
                return
            arrived, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in arrived:
                results = future.result()
                out.writelines(json.dumps(record) + "\n" for record in results)
                finished += len(results)
            out.flush()
            print(f"{path.stem}: {finished} of {total} in {time.monotonic() - started:.0f} s", flush=True)


def grouped(phases: Sequence[Any], atoms_per_task: int) -> Iterator[list[Any]]:
    """Consecutive phases, about atoms_per_task atoms together."""
    group: list[Any] = []
    atoms = 0
    for phase in phases:
        group.append(phase)
        atoms += phase.atoms
        if atoms >= atoms_per_task:
            yield group
            group, atoms = [], 0
    if group:
        yield group
