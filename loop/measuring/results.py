"""results.csv: one row for each row of the input, with what was measured or why it was not."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from loop.line import Stage
from loop.measuring.course import Course, Ending
from loop.measuring.rows import Row
from materials.base import Measurement
from materials.files import whole
from materials.properties import CONDITIONS, property_named

NOT_YET = {
    Ending.NOT_MEASURED: "not measured yet; run the same command again",
    Ending.WAITING: "waits for an answer from outside; run the same command again later",
}
Cells = dict[str, str]
Conditions = Mapping[str, Sequence[str]]


def ending_of(row: Row, courses: Mapping[str, Course]) -> Ending:
    """How a row ended; one that could not be read is rejected."""
    return Ending.REJECTED if row.candidate is None else courses[row.candidate.id].ending


def write_results(
    out: Path, rows: Sequence[Row], courses: Mapping[str, Course], line: Sequence[Stage]
) -> None:
    """Writes the table whole or not at all. Raises OSError."""
    conditions = _conditions(courses.values())
    columns = _property_columns(line, None, conditions)
    header = [*_cells(Row(0, "", ""), None, line), *columns, "seconds", "evaluation"]
    with whole(out) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, header, restval="")
        writer.writeheader()
        for row in rows:
            course = None if row.candidate is None else courses[row.candidate.id]
            cells = _cells(row, course, line)
            if course is not None:
                cells |= _property_columns(line, course, conditions) | _evaluation(course)
            writer.writerow(cells)


def _cells(row: Row, course: Course | None, line: Sequence[Stage]) -> Cells:
    cells = {"row": str(row.number), "id": row.name, "source": row.source, "formula": "", "same_as_row": ""}
    failure = row.failure
    ending, stage, reason = Ending.REJECTED, "", ""
    if course is not None:
        cells["formula"] = course.walk.material.formula
        first = course.rows[0].number
        cells["same_as_row"] = str(first) if first != row.number else ""
        ending, failure, reason = (
            course.ending,
            course.failure,
            course.reason or NOT_YET.get(course.ending, ""),
        )
        stage = "" if course.walk.asked is None else course.walk.asked.name
    return cells | {
        "status": str(ending),
        "stage": stage,
        "failure": "" if failure is None else str(failure.kind),
        "message": reason if failure is None else failure.message,
        "doubt": "" if course is None else course.walk.doubt,
    }


def _evaluation(course: Course) -> Cells:
    stage = course.walk.asked
    key = "" if stage is None else stage.key(course.walk.candidate.id)
    return {"seconds": f"{course.seconds:.3f}", "evaluation": f"evaluations/{key}" if key else ""}


def _conditions(courses: Iterable[Course]) -> Conditions:
    """By property, the conditions that any of its measurements carries."""
    found: dict[str, set[str]] = defaultdict(set)
    for course in courses:
        for measurement in course.walk.measurements:
            found[measurement.property].update(measurement.conditions)
    return {name: tuple(sorted(conditions)) for name, conditions in found.items()}


def _property_columns(line: Sequence[Stage], course: Course | None, conditions: Conditions) -> Cells:
    """Cells of every property of the line, in the line's order.

    A property that several stages measure has columns for each of them, and the best of them in the plain ones.
    """
    measurements = [] if course is None else course.walk.measurements
    best = {} if course is None else {m.property: m for m in course.best}
    makers = Counter(name for stage in line for name in stage.settings.measures)
    cells: Cells = {}
    for name in makers:
        under = conditions.get(name, ())
        cells |= _columns(name, "", best.get(name), under)
        for stage in line if makers[name] > 1 else ():
            if name in stage.settings.measures:
                mine = {m.oracle: m for m in measurements if m.property == name}
                cells |= _columns(name, f" by {stage.name}", mine.get(stage.name), under)
    return cells


def _columns(name: str, by: str, found: Measurement | None, conditions: Sequence[str]) -> Cells:
    unit = property_named(name).unit
    headers = (
        f"{name}{by} ({unit})",
        f"{name}_std{by} ({unit})",
        f"{name}_bound{by}",
        f"{name}_fidelity{by}",
    )
    under = [(c, f"{name}_{c}{by}" + (f" ({CONDITIONS[c]})" if c in CONDITIONS else "")) for c in conditions]
    if found is None:
        return dict.fromkeys((*headers, *(header for _, header in under)), "")
    std = "" if found.std is None else number(found.std)
    cells = dict(zip(headers, (number(found.value), std, str(found.bound), found.fidelity), strict=True))
    at = found.conditions
    return cells | {header: number(at[condition]) if condition in at else "" for condition, header in under}


def number(value: float) -> str:
    """Nine significant digits: more than any oracle knows, and no noise of binary fractions."""
    return f"{value:.9g}"
