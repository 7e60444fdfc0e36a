"""What an answer said of doubts about what was measured before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("doubt", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("evaluations", "doubt")
