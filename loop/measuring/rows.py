"""What is to be measured: one row for each material of a file, the broken ones included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from materials.base import Candidate, Origin
from materials.evaluation import Failure, FailureKind
from materials.reading import Entry, Problem, stream_materials

ORIGIN = "measure"


@dataclass(frozen=True)
class Row:
    """A material of the input, or why there is none. `number` counts from 1, `source` is its file and place."""

    number: int
    name: str
    source: str
    candidate: Candidate | None = None
    failure: Failure | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """One row for each material of a file or folder, in its order; see `stream_materials` for the formats.

    Raises ReadingError for a file that cannot be read at all.
    """
    problems: list[Problem] = []
    number = 0
    for entry in stream_materials(path, problems):
        for problem in problems:
            number += 1
            yield _broken(number, problem, path)
        problems.clear()
        number += 1
        yield _row(number, entry)
    for problem in problems:
        number += 1
        yield _broken(number, problem, path)


def _row(number: int, entry: Entry) -> Row:
    origin = Origin(ORIGIN, note=f"{entry.name} of {entry.source}")
    return Row(number, entry.name, entry.source, Candidate(entry.material, origin))


def _broken(number: int, problem: Problem, root: Path) -> Row:
    file = problem.file.relative_to(root) if problem.file != root else Path(problem.file.name)
    source = f"{file}, {problem.place}" if problem.place else str(file)
    name = f"{file.stem}, {problem.place}" if problem.place else file.with_suffix("").as_posix()
    return Row(number, name, source, failure=Failure(FailureKind.BAD_INPUT, problem.reason))
