"""What `python -m loop.measure` is asked to do: its oracles, from the command line or a campaign file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from loop.checks import line_misfits, told
from loop.config import LimitSettings
from loop.executors.base import ExecutorSettings
from loop.explain import explain, printable, show_place, suspicious_scalars
from loop.loading import ConfigError, load_campaign
from loop.overrides import OverrideError, parse_override
from loop.plugins import EXECUTORS, ORACLES, OneOf
from loop.yaml_text import Place, YamlError, read_yaml
from materials.settings import Settings
from oracles.base import OracleSettings

HINT = "write it as  relax  or  'relax: {fmax: 0.05}'"


class MeasurePlan(Settings):
    """A line of oracles, and where and how long they run: blocks of a campaign file, checked like there."""

    oracles: tuple[Annotated[OracleSettings, OneOf(ORACLES)], ...] = Field(min_length=1)
    limits: LimitSettings = LimitSettings()
    executor: Annotated[ExecutorSettings, OneOf(EXECUTORS)] = Field(
        default={"kind": EXECUTORS.default}, validate_default=True
    )

    @model_validator(mode="after")
    def _line_fits_together(self) -> MeasurePlan:
        problems = [told(misfit) for misfit in line_misfits(self.oracles)]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self


def plan_of_campaign(name: str, changes: Sequence[str]) -> MeasurePlan:
    """The oracles, limits and executor of a campaign file with `--set` overrides. Raises ConfigError."""
    config = load_campaign(name, changes).config
    return MeasurePlan(oracles=config.oracles, limits=config.limits, executor=config.executor)


def plan_of(oracles: Sequence[str], changes: Sequence[str]) -> MeasurePlan:
    """The plan of `--oracle` texts with `--set` overrides; relative paths start from the working folder.

    Raises ConfigError naming the option, the key, what is wrong and what to do.
    """
    data: dict[str, Any] = {"oracles": [_block(text) for text in oracles]}
    try:
        for change in changes:
            parse_override(change).apply(data)
    except OverrideError as error:
        raise ConfigError(str(error)) from error
    try:
        plan = MeasurePlan.model_validate(data, context={"folder": Path.cwd()})
    except ValidationError as error:
        wrong = explain(error, MeasurePlan, data)
    else:
        wrong = list(suspicious_scalars(data, plan.model_dump(mode="json")))
        if not wrong:
            return plan
    raise ConfigError("\n".join(_located(place, sentence, oracles) for place, sentence in wrong))


def _block(text: str) -> dict[str, Any]:
    """'relax', 'relax: {fmax: 0.05}' and '{kind: relax, fmax: 0.05}' as a block of a campaign file."""
    try:
        value = read_yaml(text).value
    except YamlError as error:
        raise ConfigError(f"--oracle {text!r}: no valid YAML ({error.message}); {HINT}") from error
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and "kind" in value:
        return value
    if isinstance(value, dict) and len(value) == 1:
        kind, settings = next(iter(value.items()))
        if settings is None:
            settings = {}
        if isinstance(settings, dict) and "kind" not in settings:
            return {"kind": kind, **settings}
    raise ConfigError(f"--oracle {text!r}: not a kind with its settings; {HINT}")


def _located(place: Place, sentence: str, oracles: Sequence[str]) -> str:
    if len(place) > 1 and place[0] == "oracles" and isinstance(place[1], int) and place[1] < len(oracles):
        where = f"--oracle {oracles[place[1]]!r}"
        place = place[2:]
    else:
        where = ""
    parts = [where, printable(show_place(place)), printable(sentence)]
    return ": ".join(part for part in parts if part)
