"""The campaign file: every block, its meaning and its default. Strict: whatever is not named here is refused.

docs/campaign-file.md lists the same keys for readers; the blocks of the rooms (generators, oracles ...) are
described where they live.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from acquisition.base import AcquisitionSettings
from generators.base import GeneratorSettings
from loop.checks import misfits
from loop.earlier import is_campaign, known_content, open_earlier
from loop.errors import CampaignError
from loop.executors.base import ExecutorSettings
from loop.plugins import ACQUISITIONS, EXECUTORS, GENERATORS, ORACLES, SURROGATES, OneOf
from materials.base import Goal
from materials.goals import Constraint, Objective
from materials.settings import InputPath, Settings, is_looking
from materials.space import Space
from oracles.base import Gate, OracleSettings
from surrogates.base import SurrogateSettings

DEFAULT_GENERATORS: tuple[dict[str, Any], ...] = (
    {"kind": "substitution", "share": 0.6},
    {"kind": "random", "share": 0.15},
    {"kind": "genetic", "share": 0.25},
)

WITHOUT_MEANING = ("audit", "limits", "executor", "database", "tracking", "cache")
"""Blocks that may change between runs of one campaign: they decide where and how, not what comes out."""


class ObjectiveSettings(Settings):
    """A property to improve."""

    property: str = Field(description="A registered property, such as migration_barrier.")
    goal: Goal = Field(description="maximize, minimize, or target (then `target` says which value).")
    target: float | None = Field(
        default=None, description="The value wanted, in the property's unit; goal target only."
    )
    tolerance: float | None = Field(
        default=None, ge=0, description="How far from `target` is just as good, in the property's unit."
    )
    fidelity: str | None = Field(
        default=None, description="The fidelity meant, such as PBE or HSE; by default the best one measured."
    )

    @model_validator(mode="after")
    def _target_with_its_goal(self) -> ObjectiveSettings:
        if self.goal == "target" and self.target is None:
            raise ValueError("goal: target needs the wanted value; add  target: VALUE")
        if self.goal != "target" and (self.target is not None or self.tolerance is not None):
            raise ValueError(f"target and tolerance belong to goal: target, but the goal is {self.goal}")
        return self

    def objective(self) -> Objective:
        """The same as a frozen value."""
        return Objective(self.property, self.goal, self.target, self.tolerance, self.fidelity)


class ConstraintSettings(Gate):
    """Limits a property has to keep, in its unit; either side may be left open."""

    property: str = Field(description="A registered property, such as band_gap.")

    def constraint(self, name: str | None = None) -> Constraint:
        """The same as a frozen value."""
        return super().constraint(name or self.property)


class BudgetSettings(Settings):
    """How much the campaign may do."""

    rounds: int = Field(default=3, ge=1, description="Rounds of propose, pick, measure and learn.")
    batch: int = Field(default=8, ge=1, description="Candidates measured in each round.")
    pool: int = Field(
        default=300, ge=1, description="Candidates proposed in each round to pick the batch from."
    )


class LimitSettings(Settings):
    """When to give up."""

    failure_share: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="The campaign stops when more than this share of its candidates fails: judged between rounds, from "
        "6 candidates on, and only when that is certain to 95 % (so few failures stop nothing).",
    )
    seconds_per_evaluation: float = Field(
        default=600, gt=0, description="Seconds after which one evaluation counts as failed (timeout)."
    )
    seconds_of_waiting: float = Field(
        default=0,
        ge=0,
        description="How long a run waits for a lab once nothing else is left to do; then it ends with exit code 75, "
        "and the same command goes on.",
    )


class EnergyModelSettings(Settings):
    """A first look (ten steps) at what acquisition picks, before it costs a whole relaxation."""

    least_chance: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="What has a smaller chance to end below the limit to energy_above_hull (that of the gate, else "
        "of the constraint) makes place for the next candidate.",
    )


class AuditSettings(Settings):
    """Measures some results of each round again, with an independent oracle; nothing is learned from it."""

    each: int = Field(
        default=1,
        ge=1,
        description="So many of the most surprising results of a round (furthest from what was predicted, in standard "
        "deviations), and as many others at random.",
    )
    oracle: Annotated[OracleSettings, OneOf(ORACLES)] = Field(
        description="What measures again: a relaxation with another potential, DFT."
    )


class TrackingSettings(Settings):
    """MLflow runs, and energy models in its registry: at MLFLOW_TRACKING_URI if set, else in sqlite:///mlflow.db in the
    working folder. docs/database.md says how to fetch the champion."""

    experiment: str = Field(default="matloop", min_length=1, description="The MLflow experiment to log to.")


def _readable_campaign(path: Path, info: ValidationInfo) -> Path:
    if not is_looking(info) and is_campaign(path):
        try:
            open_earlier(path).close()
        except CampaignError as error:
            raise ValueError(str(error)) from None
    return path


KnownPath = Annotated[InputPath, AfterValidator(_readable_campaign)]
"""A table of measurements, or an earlier campaign that can be read."""


def _none_disables(value: object) -> object:
    return None if value == "none" else value


class CampaignConfig(Settings):
    """One campaign: what is searched for, where, how it is measured, and how much it may cost."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Names the run folder: letters, digits, dot, dash, underscore.",
    )
    seed: int = Field(default=0, ge=0, description="Equal seeds give equal campaigns.")
    space: Space = Field(description="The materials that may be proposed.")
    data: tuple[KnownPath, ...] = Field(
        default=(),
        description="What was measured before: CSV tables, and run folders (or campaign.db files) of earlier "
        "campaigns, relative to this file.",
    )
    objectives: tuple[ObjectiveSettings, ...] = Field(min_length=1, description="What to improve.")
    constraints: tuple[ConstraintSettings, ...] = Field(default=(), description="What must hold.")
    generators: tuple[Annotated[GeneratorSettings, OneOf(GENERATORS)], ...] = Field(
        default=DEFAULT_GENERATORS,
        min_length=1,
        validate_default=True,
        description="Where candidates come from.",
    )
    surrogate: Annotated[SurrogateSettings, OneOf(SURROGATES)] = Field(
        default={"kind": SURROGATES.default},
        validate_default=True,
        description="The cheap model of what the oracles measure.",
    )
    energy_model: Annotated[
        EnergyModelSettings | None,
        BeforeValidator(_none_disables, json_schema_input_type=EnergyModelSettings | Literal["none"] | None),
    ] = Field(
        default=None,
        description="Screens what is picked by a first look at its relaxation; `none`, as without this block, takes "
        "everything.",
    )
    acquisition: Annotated[AcquisitionSettings, OneOf(ACQUISITIONS)] = Field(
        default={"kind": ACQUISITIONS.default},
        validate_default=True,
        description="How the batch is picked from the pool.",
    )
    oracles: tuple[Annotated[OracleSettings, OneOf(ORACLES)], ...] = Field(
        min_length=1, description="What measures, in order; a gate may end a candidate's line early."
    )
    audit: AuditSettings | None = Field(
        default=None,
        description="Checks the oracles on results of each round; without this block nothing does.",
    )
    budget: BudgetSettings = Field(default=BudgetSettings(), description="How much the campaign may do.")
    limits: LimitSettings = Field(default=LimitSettings(), description="When to give up.")
    executor: Annotated[ExecutorSettings, OneOf(EXECUTORS)] = Field(
        default={"kind": EXECUTORS.default}, validate_default=True, description="Where evaluations run."
    )
    database: str | None = Field(
        default=None, description="An SQLAlchemy URL; by default campaign.db in the run folder."
    )
    tracking: Annotated[
        TrackingSettings | None,
        BeforeValidator(_none_disables, json_schema_input_type=TrackingSettings | Literal["none"] | None),
    ] = Field(default=TrackingSettings(), description="MLflow; `none` switches it off.")
    cache: Path | None = Field(
        default=None, description="A file of evaluations shared by campaigns, relative to this file."
    )

    @field_validator("cache")
    @classmethod
    def _beside_the_file(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        folder = (info.context or {}).get("folder")
        return path if path is None or folder is None else (Path(folder) / path.expanduser()).resolve()

    @model_validator(mode="after")
    def _blocks_fit_together(self, info: ValidationInfo) -> CampaignConfig:
        problems = [] if is_looking(info) else misfits(self)
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    def meaning(self) -> dict[str, Any]:
        """What decides results: not where they are kept, who computes them, or the budget, which may grow."""
        without = self.model_copy(update=dict.fromkeys((*WITHOUT_MEANING, "budget")) | {"data": ()})
        return super(CampaignConfig, without).meaning() | {
            "data": [known_content(path) for path in self.data]
        }

    def as_objectives(self) -> tuple[Objective, ...]:
        """The objectives as frozen values, in the file's order."""
        return tuple(block.objective() for block in self.objectives)

    def as_constraints(self) -> tuple[Constraint, ...]:
        """The constraints as frozen values, in the file's order."""
        return tuple(block.constraint() for block in self.constraints)
