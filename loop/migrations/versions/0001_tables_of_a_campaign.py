"""Tables of a campaign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("mlflow_run_id", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("name", name=op.f("uq_campaigns_name")),
    )
    op.create_table(
        "candidates",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("formula", sa.Text(), nullable=False),
        sa.Column("generator", sa.Text(), nullable=False),
        sa.Column("material", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=True),
        sa.Column("first_round", sa.Integer(), nullable=True),
        sa.Column("known_before", sa.Boolean(), nullable=False),
        sa.Column("duplicate_of", sa.Text(), nullable=True),
        sa.Column("duplicate_found", sa.Text(), nullable=True),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.Column("material_after", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_candidates_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "id", name=op.f("pk_candidates")),
    )
    op.create_index(
        op.f("ix_candidates_campaign_id_formula"), "candidates", ["campaign_id", "formula"], unique=False
    )
    op.create_index(
        op.f("ix_candidates_campaign_id_position"), "candidates", ["campaign_id", "position"], unique=True
    )
    op.create_index(
        op.f("ix_candidates_campaign_id_revision"), "candidates", ["campaign_id", "revision"], unique=False
    )

    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("champion", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_models_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_index(
        op.f("ix_models_campaign_id_role_version"), "models", ["campaign_id", "role", "version"], unique=True
    )

    op.create_table(
        "rounds",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.Column("timings", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("mlflow_run_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_rounds_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "number", name=op.f("pk_rounds")),
    )
    op.create_table(
        "evaluations",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.String(length=32), nullable=False),
        sa.Column("oracle", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("arrived_in_round", sa.Integer(), nullable=True),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("material", sa.Text(), nullable=True),
        sa.Column("provenance", sa.Text(), nullable=True),
        sa.Column("artifacts", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id", "candidate_id"],
            ["candidates.campaign_id", "candidates.id"],
            name=op.f("fk_evaluations_campaign_id_candidate_id"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "round"],
            ["rounds.campaign_id", "rounds.number"],
            name=op.f("fk_evaluations_campaign_id_round"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_evaluations_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "key", name=op.f("pk_evaluations")),
    )
    op.create_index(
        op.f("ix_evaluations_campaign_id_candidate_id"),
        "evaluations",
        ["campaign_id", "candidate_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_evaluations_campaign_id_number"), "evaluations", ["campaign_id", "number"], unique=True
    )
    op.create_index(
        op.f("ix_evaluations_campaign_id_round"), "evaluations", ["campaign_id", "round"], unique=False
    )
    op.create_index(
        op.f("ix_evaluations_campaign_id_status"), "evaluations", ["campaign_id", "status"], unique=False
    )

    op.create_table(
        "pool",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("candidate_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "candidate_id"],
            ["candidates.campaign_id", "candidates.id"],
            name=op.f("fk_pool_campaign_id_candidate_id"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "round"],
            ["rounds.campaign_id", "rounds.number"],
            name=op.f("fk_pool_campaign_id_round"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_pool_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "round", "position", name=op.f("pk_pool")),
    )
    op.create_index(
        op.f("ix_pool_campaign_id_candidate_id"), "pool", ["campaign_id", "candidate_id"], unique=False
    )

    op.create_table(
        "predictions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.String(length=32), nullable=False),
        sa.Column("property", sa.Text(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("std", sa.Double(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "candidate_id"],
            ["candidates.campaign_id", "candidates.id"],
            name=op.f("fk_predictions_campaign_id_candidate_id"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "round"],
            ["rounds.campaign_id", "rounds.number"],
            name=op.f("fk_predictions_campaign_id_round"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_predictions_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index(
        op.f("ix_predictions_campaign_id_candidate_id"),
        "predictions",
        ["campaign_id", "candidate_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_predictions_campaign_id_round_candidate_id_property"),
        "predictions",
        ["campaign_id", "round", "candidate_id", "property"],
        unique=True,
    )

    op.create_table(
        "refusals",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generator", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "round"],
            ["rounds.campaign_id", "rounds.number"],
            name=op.f("fk_refusals_campaign_id_round"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_refusals_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "round", "generator", "reason", name=op.f("pk_refusals")),
    )
    op.create_table(
        "selections",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("candidate_id", sa.String(length=32), nullable=False),
        sa.Column("oracle", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("acquisition_value", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "candidate_id"],
            ["candidates.campaign_id", "candidates.id"],
            name=op.f("fk_selections_campaign_id_candidate_id"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "round"],
            ["rounds.campaign_id", "rounds.number"],
            name=op.f("fk_selections_campaign_id_round"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_selections_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("campaign_id", "round", "position", name=op.f("pk_selections")),
    )
    op.create_index(
        op.f("ix_selections_campaign_id_candidate_id"),
        "selections",
        ["campaign_id", "candidate_id"],
        unique=False,
    )

    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("evaluation_key", sa.String(length=32), nullable=True),
        sa.Column("candidate_id", sa.String(length=32), nullable=False),
        sa.Column("property", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("std", sa.Double(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("fidelity", sa.Text(), nullable=False),
        sa.Column("oracle", sa.Text(), nullable=False),
        sa.Column("bound", sa.Text(), nullable=False),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "candidate_id"],
            ["candidates.campaign_id", "candidates.id"],
            name=op.f("fk_measurements_campaign_id_candidate_id"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id", "evaluation_key"],
            ["evaluations.campaign_id", "evaluations.key"],
            name=op.f("fk_measurements_campaign_id_evaluation_key"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_measurements_campaign_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
    )
    op.create_index(
        op.f("ix_measurements_campaign_id_candidate_id"),
        "measurements",
        ["campaign_id", "candidate_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_measurements_campaign_id_evaluation_key"),
        "measurements",
        ["campaign_id", "evaluation_key"],
        unique=False,
    )
    op.create_index(
        op.f("ix_measurements_campaign_id_property"),
        "measurements",
        ["campaign_id", "property"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_measurements_campaign_id_property"), table_name="measurements")
    op.drop_index(op.f("ix_measurements_campaign_id_evaluation_key"), table_name="measurements")
    op.drop_index(op.f("ix_measurements_campaign_id_candidate_id"), table_name="measurements")
    op.drop_table("measurements")
    op.drop_index(op.f("ix_selections_campaign_id_candidate_id"), table_name="selections")
    op.drop_table("selections")
    op.drop_table("refusals")
    op.drop_index(op.f("ix_predictions_campaign_id_round_candidate_id_property"), table_name="predictions")
    op.drop_index(op.f("ix_predictions_campaign_id_candidate_id"), table_name="predictions")
    op.drop_table("predictions")
    op.drop_index(op.f("ix_pool_campaign_id_candidate_id"), table_name="pool")
    op.drop_table("pool")
    op.drop_index(op.f("ix_evaluations_campaign_id_status"), table_name="evaluations")
    op.drop_index(op.f("ix_evaluations_campaign_id_round"), table_name="evaluations")
    op.drop_index(op.f("ix_evaluations_campaign_id_number"), table_name="evaluations")
    op.drop_index(op.f("ix_evaluations_campaign_id_candidate_id"), table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_table("rounds")
    op.drop_index(op.f("ix_models_campaign_id_role_version"), table_name="models")
    op.drop_table("models")
    op.drop_index(op.f("ix_candidates_campaign_id_revision"), table_name="candidates")
    op.drop_index(op.f("ix_candidates_campaign_id_position"), table_name="candidates")
    op.drop_index(op.f("ix_candidates_campaign_id_formula"), table_name="candidates")
    op.drop_table("candidates")
    op.drop_table("campaigns")
