"""The queue of the lab."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lab_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_lab_events_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lab_events")),
    )
    with op.batch_alter_table("lab_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lab_events_campaign_id_at"), ["campaign_id", "at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_lab_events_campaign_id_key"), ["campaign_id", "key"], unique=False
        )

    op.create_table(
        "lab_orders",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("order_json", sa.Text(), nullable=False),
        sa.Column("deadline", sa.Text(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Text(), nullable=True),
        sa.Column("stop_asked", sa.Boolean(), nullable=False),
        sa.Column("times_leased", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("ordered_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_lab_orders_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "key", name=op.f("pk_lab_orders")),
    )
    with op.batch_alter_table("lab_orders", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_lab_orders_campaign_id_number"), ["campaign_id", "number"], unique=True
        )
        batch_op.create_index(
            batch_op.f("ix_lab_orders_campaign_id_status_priority_number"),
            ["campaign_id", "status", "priority", "number"],
            unique=False,
        )

    op.create_table(
        "lab_states",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_lab_states_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_lab_states")),
    )
    op.create_table(
        "lab_tokens",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_lab_tokens_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "name", name=op.f("pk_lab_tokens")),
    )
    with op.batch_alter_table("lab_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lab_tokens_sha256"), ["sha256"], unique=True)

    op.create_table(
        "lab_files",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "key"],
            ["lab_orders.campaign_id", "lab_orders.key"],
            name=op.f("fk_lab_files_campaign_id_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", "key", "name", name=op.f("pk_lab_files")),
    )


def downgrade() -> None:
    op.drop_table("lab_files")
    with op.batch_alter_table("lab_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lab_tokens_sha256"))

    op.drop_table("lab_tokens")
    op.drop_table("lab_states")
    with op.batch_alter_table("lab_orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lab_orders_campaign_id_status_priority_number"))
        batch_op.drop_index(batch_op.f("ix_lab_orders_campaign_id_number"))

    op.drop_table("lab_orders")
    with op.batch_alter_table("lab_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lab_events_campaign_id_key"))
        batch_op.drop_index(batch_op.f("ix_lab_events_campaign_id_at"))

    op.drop_table("lab_events")
