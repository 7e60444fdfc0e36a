"""What a lab may answer: every value is checked against what was asked before anything is believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from materials.base import Bound, Measurement
from materials.evaluation import Failure, FailureKind, Outcome, Status
from materials.properties import property_named, wrong_conditions
from oracles.lab.base import Order, Target


class BadResultError(ValueError):
    """A result that cannot be true or was not asked for; `problems` holds a sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class MeasuredValue(BaseModel):
    """One measured number, as a robot, a table or a person gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    property: str = Field(max_length=100, description="A property that was asked for.")
    value: float = Field(description="In `unit`.")
    unit: str = Field(max_length=40, description="The unit asked for; another one is refused, not converted.")
    std: float | None = Field(
        default=None, gt=0, description="Standard deviation of the measurement, in `unit`."
    )
    bound: Literal["exact", "upper", "lower"] = Field(
        default="exact",
        description="upper: the true value is at most this one, such as below the detection limit.",
    )
    conditions: dict[str, float] = Field(
        default_factory=dict,
        max_length=20,
        description="Where they differ from those asked for: temperature (K), pressure (GPa).",
    )


class Entry(BaseModel):
    """What is said about one order: values, or why there are none. `key` may be left out in a file named after it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    key: str | None = None
    measurements: tuple[MeasuredValue, ...] = ()
    failure: str = Field(default="", max_length=2000)
    seconds: float = Field(default=0.0, ge=0)
    notes: str = Field(default="", max_length=2000)


def measurements_of(order: Order, values: Sequence[MeasuredValue]) -> tuple[Measurement, ...]:
    """The values as measurements of the order. Raises BadResultError, naming everything that is wrong."""
    targets = {target.property: target for target in order.targets}
    problems = [problem for value in values for problem in _problems(value, targets)]
    names = [value.property for value in values]
    problems += [
        f"{name} is given twice; give one value" for name in sorted(set(names)) if names.count(name) > 1
    ]
    problems += [f"{name} was asked for and is missing" for name in targets if name not in names]
    if problems:
        raise BadResultError(problems)
    return tuple(
        Measurement(
            property=value.property,
            value=value.value,
            unit=value.unit,
            fidelity=targets[value.property].fidelity,
            oracle=order.oracle,
            std=value.std,
            bound=Bound(value.bound),
            conditions={**targets[value.property].conditions, **value.conditions},
        )
        for value in values
    )


def _problems(value: MeasuredValue, targets: dict[str, Target]) -> list[str]:
    target = targets.get(value.property)
    if target is None:
        return [f"{value.property} was not asked for; asked for: {', '.join(targets)}"]
    problems = []
    if value.unit != target.unit:
        problems.append(f"{value.property} is wanted in {target.unit!r}, not in {value.unit!r}; convert it")
    low, high = property_named(value.property).possible
    if not (math.isfinite(value.value) and low <= value.value <= high):
        problems.append(
            f"{value.property} of {value.value:g} is impossible (from {low:g} to {high:g} {target.unit})"
        )
    if value.std is not None and value.std > high - low:
        problems.append(f"{value.property}: a std of {value.std:g} is wider than all that is possible")
    problems += [f"{value.property}: {problem}" for problem in wrong_conditions(value.conditions)]
    return problems


def told(error: ValidationError) -> list[str]:
    """A sentence for each thing that is wrong, with its place."""
    return [
        f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}"
        for one in error.errors(include_url=False, include_input=False)
    ]


def same_answer(one: Outcome, other: Outcome) -> bool:
    """Whether two answers say the same of the material; how long it took is beside the point."""
    return (one.status, one.measurements, one.failure) == (other.status, other.measurements, other.failure)


def done(
    order: Order, measurements: Sequence[Measurement], seconds: float, provenance: dict[str, object]
) -> Outcome:
    """The outcome of an order that was made and measured."""
    return Outcome(
        order.key,
        order.candidate_id,
        order.oracle,
        Status.DONE,
        tuple(measurements),
        seconds=seconds,
        provenance=provenance,
    )


def failed(order: Order, kind: FailureKind, message: str, seconds: float = 0.0) -> Outcome:
    """The outcome of an order that gave no value."""
    failure = Failure(kind, message)
    return Outcome(
        order.key, order.candidate_id, order.oracle, Status.FAILED, failure=failure, seconds=seconds
    )
