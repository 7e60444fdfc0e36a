"""The tables. docs/database.md says what each column means; loop/migrations builds them.

Every table carries the campaign, so one PostgreSQL database can hold several. JSON columns hold canonical
text (sorted keys, exact floats), and times are UTC in ISO 8601: both read the same in every database.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from materials.base import canonical_json


class CanonicalJSON(TypeDecorator[Any]):
    """A JSON value kept as canonical text; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Table(DeclarativeBase):
    """The common base; constraint names are fixed so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it off the class)
        dict[str, Any]: CanonicalJSON,
        float: Double,
        str: Text,
    }


def _campaign_key() -> Mapped[int]:
    return mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)


def _campaign_column() -> Mapped[int]:
    return mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))


def _to_round() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["campaign_id", "round"], ["rounds.campaign_id", "rounds.number"])


def _to_candidate() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["campaign_id", "candidate_id"], ["candidates.campaign_id", "candidates.id"])


class Campaign(Table):
    """A campaign: its configuration, and a counter of the changes to its candidates."""

    __tablename__ = "campaigns"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[str]
    config: Mapped[dict[str, Any] | None]
    fingerprint: Mapped[str | None]
    mlflow_run_id: Mapped[str | None]
    revision: Mapped[int]


class Round(Table):
    """One decision: what was proposed, what was picked, and when."""

    __tablename__ = "rounds"
    campaign_id: Mapped[int] = _campaign_key()
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seed: Mapped[str]
    decided_at: Mapped[str]
    closed_at: Mapped[str | None]
    timings: Mapped[dict[str, Any]]
    notes: Mapped[dict[str, Any]]
    mlflow_run_id: Mapped[str | None]


class CandidateRow(Table):
    """A candidate that was known before, entered a pool, or was refused as a duplicate."""

    __tablename__ = "candidates"
    campaign_id: Mapped[int] = _campaign_key()
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[int]
    kind: Mapped[str]
    formula: Mapped[str]
    generator: Mapped[str]
    material: Mapped[dict[str, Any]]
    origin: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any] | None]
    first_round: Mapped[int | None]
    known_before: Mapped[bool]
    duplicate_of: Mapped[str | None]
    duplicate_found: Mapped[str | None]
    stopped_by: Mapped[str | None]
    material_after: Mapped[dict[str, Any] | None]
    revision: Mapped[int]
    __table_args__ = (
        Index(None, "campaign_id", "position", unique=True),
        Index(None, "campaign_id", "revision"),
        Index(None, "campaign_id", "formula"),
    )


class PoolEntry(Table):
    """Membership of a candidate in the pool of a round, in the order in which it was offered."""

    __tablename__ = "pool"
    campaign_id: Mapped[int] = _campaign_key()
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    candidate_id: Mapped[str] = mapped_column(String(32))
    __table_args__ = (_to_round(), _to_candidate(), Index(None, "campaign_id", "candidate_id"))


class SelectionRow(Table):
    """A candidate picked in a round, in the order of preference."""

    __tablename__ = "selections"
    campaign_id: Mapped[int] = _campaign_key()
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    candidate_id: Mapped[str] = mapped_column(String(32))
    oracle: Mapped[str]
    reason: Mapped[str]
    acquisition_value: Mapped[float | None]
    cost: Mapped[float | None]
    conditions: Mapped[dict[str, Any]]
    __table_args__ = (_to_round(), _to_candidate(), Index(None, "campaign_id", "candidate_id"))


class PredictionRow(Table):
    """What a model expected of a candidate of the pool before anything was measured."""

    __tablename__ = "predictions"
    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = _campaign_column()
    round: Mapped[int]
    candidate_id: Mapped[str] = mapped_column(String(32))
    property: Mapped[str]
    mean: Mapped[float]
    std: Mapped[float]
    distance: Mapped[float | None]
    widening: Mapped[float] = mapped_column(server_default="1")
    model_version: Mapped[str]
    __table_args__ = (
        _to_round(),
        _to_candidate(),
        Index(None, "campaign_id", "round", "candidate_id", "property", unique=True),
        Index(None, "campaign_id", "candidate_id"),
    )


class RefusalRow(Table):
    """How many proposals of a generator were refused in a round, by reason."""

    __tablename__ = "refusals"
    campaign_id: Mapped[int] = _campaign_key()
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generator: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    __table_args__ = (_to_round(),)


class Evaluation(Table):
    """One question to one oracle; its row is there before the question is asked."""

    __tablename__ = "evaluations"
    campaign_id: Mapped[int] = _campaign_key()
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int]
    candidate_id: Mapped[str] = mapped_column(String(32))
    oracle: Mapped[str]
    stage: Mapped[int]
    round: Mapped[int]
    arrived_in_round: Mapped[int | None]
    conditions: Mapped[dict[str, Any]]
    replicate: Mapped[int]
    status: Mapped[str]
    attempts: Mapped[int]
    ticket: Mapped[dict[str, Any] | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    seconds: Mapped[float | None]
    started_at: Mapped[str | None]
    finished_at: Mapped[str | None]
    material: Mapped[dict[str, Any] | None]
    provenance: Mapped[dict[str, Any] | None]
    artifacts: Mapped[dict[str, Any] | None]
    doubt: Mapped[str | None]
    __table_args__ = (
        _to_round(),
        _to_candidate(),
        Index(None, "campaign_id", "number", unique=True),
        Index(None, "campaign_id", "status"),
        Index(None, "campaign_id", "candidate_id"),
        Index(None, "campaign_id", "round"),
    )


class MeasurementRow(Table):
    """A measured number; without an evaluation where it was known before the campaign."""

    __tablename__ = "measurements"
    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = _campaign_column()
    evaluation_key: Mapped[str | None] = mapped_column(String(32))
    candidate_id: Mapped[str] = mapped_column(String(32))
    property: Mapped[str]
    value: Mapped[float]
    std: Mapped[float | None]
    unit: Mapped[str]
    fidelity: Mapped[str]
    oracle: Mapped[str]
    bound: Mapped[str]
    conditions: Mapped[dict[str, Any]]
    __table_args__ = (
        _to_candidate(),
        ForeignKeyConstraint(
            ["campaign_id", "evaluation_key"], ["evaluations.campaign_id", "evaluations.key"]
        ),
        Index(None, "campaign_id", "candidate_id"),
        Index(None, "campaign_id", "evaluation_key"),
        Index(None, "campaign_id", "property"),
    )


class ModelRow(Table):
    """A model that learned during the campaign; its file lies in the run folder."""

    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = _campaign_column()
    round: Mapped[int | None]
    role: Mapped[str]
    version: Mapped[str]
    path: Mapped[str]
    sha256: Mapped[str]
    champion: Mapped[bool]
    created_at: Mapped[str]
    __table_args__ = (Index(None, "campaign_id", "role", "version", unique=True),)
