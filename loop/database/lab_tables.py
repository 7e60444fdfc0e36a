"""The tables of the lab's queue: orders, files that came with answers, tokens, and everything that happened."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from loop.database.tables import Table


class LabOrder(Table):
    """One thing the lab is asked to make and measure, under the key of its evaluation."""

    __tablename__ = "lab_orders"
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int]
    priority: Mapped[int]
    status: Mapped[str]
    order: Mapped[dict[str, Any]] = mapped_column("order_json")
    deadline: Mapped[str | None]
    worker: Mapped[str | None]
    lease: Mapped[str | None]
    lease_until: Mapped[str | None]
    stop_asked: Mapped[bool]
    times_leased: Mapped[int]
    outcome: Mapped[dict[str, Any] | None]
    ordered_at: Mapped[str]
    changed_at: Mapped[str]
    __table_args__ = (
        Index(None, "campaign_id", "number", unique=True),
        Index(None, "campaign_id", "status", "priority", "number"),
    )


class LabEvent(Table):
    """Something that happened to an order or to the queue; nothing is ever taken out."""

    __tablename__ = "lab_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    key: Mapped[str | None] = mapped_column(String(32))
    at: Mapped[str]
    who: Mapped[str]
    what: Mapped[str]
    detail: Mapped[dict[str, Any]]
    __table_args__ = (Index(None, "campaign_id", "key"), Index(None, "campaign_id", "at"))


class LabFile(Table):
    """A file that came with an answer; its bytes lie in the run folder, named by their hash."""

    __tablename__ = "lab_files"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    size: Mapped[int]
    who: Mapped[str]
    at: Mapped[str]
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "key"], ["lab_orders.campaign_id", "lab_orders.key"], ondelete="CASCADE"
        ),
    )


class LabToken(Table):
    """Who may use the service; only a hash of the token is kept."""

    __tablename__ = "lab_tokens"
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[str]
    revoked_at: Mapped[str | None]
    __table_args__ = (Index(None, "sha256", unique=True),)


class LabState(Table):
    """Whether orders are handed out."""

    __tablename__ = "lab_states"
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    paused: Mapped[bool]
