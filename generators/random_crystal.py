"""Symmetric random crystals: a random composition of the space in a random compatible space group."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import combinations_with_replacement, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from generators.base import Generator, GeneratorSettings, Guide
from materials.archive import Archive
from materials.base import Candidate, Crystal, Origin
from materials.space import Space

logger = logging.getLogger(__name__)

KIND: Final = "random"
# Processes that grow crystals side by side; the results do not depend on it.
CHILDREN = 2
# Compositions handed to them ahead of the answers taken, so that they work while other generators do.
AHEAD = 8
# Compositions in a row that grew into nothing new, after which the space counts as exhausted.
MOST_MISSES = 300
# Hangs in one call after which it ends: each costs the time-out and a new process.
MOST_HANGS = 3
# The volume is drawn from this range times the sum of the species' volumes.
VOLUME_FACTORS = (1.0, 1.4)
# The least distance of atoms: of their covalent radii, and of their ionic radii where charges have the same sign.
COVALENT_FACTOR = 0.75
IONIC_FACTOR = 0.75


class RandomSettings(GeneratorSettings):
    """Random crystals with symmetry, from pyxtal."""

    kind: Literal["random"] = KIND
    attempts: int = Field(default=10, gt=0)
    """Space groups tried for one composition."""
    seconds: float = Field(default=120.0, gt=0)
    """Processor seconds after which a composition is given up as a hang of pyxtal; it decides nothing else."""

    def build(self, space: Space) -> RandomCrystals:
        return RandomCrystals(space, self.attempts, self.seconds)


class RandomCrystals(Generator):
    """Grows crystals in child processes that are cut off when they hang."""

    def __init__(self, space: Space, attempts: int, seconds: float) -> None:
        self._space = space
        self._attempts = attempts
        self._threads = ThreadPoolExecutor(CHILDREN)
        self._idle: SimpleQueue[Child] = SimpleQueue()
        for _ in range(CHILDREN):
            self._idle.put(Child(seconds))

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        """Up to n different candidates of the space, none the same as a material of the archive.

        Ends early when the space gives no compositions, after MOST_MISSES compositions in a row in vain, and after
        MOST_HANGS hangs of pyxtal.
        """
        from generators.novelty import known_materials

        known = known_materials(archive)
        misses = hangs = 0
        for seed, answer in self._answers(np.random.default_rng(int(rng.integers(2**63)))):
            hangs += answer is None
            misses += 1
            candidate = self._candidate(answer, seed) if answer else None
            if candidate is not None and known.find(candidate.material) is None:
                known.add(candidate.id, candidate.material)
                misses, n = 0, n - 1
                yield candidate
            if n <= 0 or misses >= MOST_MISSES or hangs >= MOST_HANGS:
                return

    def _answers(self, rng: np.random.Generator) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Seed and answer of one job after the other, in the order of the draws, while the next are worked on."""
        questions = self._questions(rng)
        pending: deque[tuple[int, Future[dict[str, Any] | None]]] = deque()
        try:
            while True:
                for question in islice(questions, AHEAD - len(pending)):
                    pending.append((question["seed"], self._threads.submit(self._ask, question)))
                if not pending:
                    return
                seed, future = pending.popleft()
                yield seed, future.result()
        finally:
            for _, future in pending:
                future.cancel()

    def _questions(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """Jobs for random compositions, until the space gives no more of them."""
        while (composition := next(self._space.random_compositions(rng, 1), None)) is not None:
            amounts = {e.symbol: round(x) for e, x in composition.items()}
            yield job(amounts, int(rng.integers(2**32)), self._attempts)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        child = self._idle.get()
        try:
            return child.ask(question)
        finally:
            self._idle.put(child)

    def _candidate(self, answer: dict[str, Any], seed: int) -> Candidate | None:
        crystal = Crystal.from_dict(answer["crystal"])
        if self._space.why_not(crystal) is not None:
            return None
        return Candidate(crystal, Origin(KIND, seed=seed, note=f"space group {answer['group']}"))


def job(amounts: dict[str, int], seed: int, attempts: int) -> dict[str, Any]:
    """What `generators.pyxtal_worker.grow` needs for one primitive cell of `amounts`."""
    from generators.species import estimated_volume, likely_charges

    charges = likely_charges(amounts)
    factor = np.random.default_rng(seed).uniform(*VOLUME_FACTORS)
    return {
        "species": list(amounts),
        "counts": list(amounts.values()),
        "volume": factor * estimated_volume({(e, charges[e]): n for e, n in amounts.items()}),
        "distances": [
            [a, b, _least_distance((a, charges[a]), (b, charges[b]))]
            for a, b in combinations_with_replacement(amounts, 2)
        ],
        "seed": seed,
        "attempts": attempts,
    }


def _least_distance(a: tuple[str, int], b: tuple[str, int]) -> float:
    from generators.species import ionic_radius
    from materials.chemistry import covalent_radius

    least = COVALENT_FACTOR * (covalent_radius(a[0]) + covalent_radius(b[0]))
    radii = ionic_radius(a), ionic_radius(b)
    if a[1] * b[1] > 0 and radii[0] and radii[1]:
        least = max(least, IONIC_FACTOR * (radii[0] + radii[1]))
    return least


class Child:
    """The pyxtal process: started when first asked, started again after it was cut off."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a job; None when the process used up its time on it."""
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
        except BrokenPipeError:  # it was killed while it waited; that is not the question's fault
            self.close()
            return self.ask(question)
        line = self._process.stdout.readline()
        if not line:
            self.close()
            logger.warning("generator random: pyxtal hung and was cut off on %s", question)
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-m", "generators.pyxtal_worker", str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(
                f"pyxtal did not start (exit code {process.wait()}); see the lines above, or try  "
                "python -c 'import pyxtal'"
            )
        return process

    def close(self) -> None:
        """Ends the process, if one runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __del__(self) -> None:
        self.close()
