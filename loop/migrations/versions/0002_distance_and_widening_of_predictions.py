"""Distance and widening of predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("distance", sa.Double(), nullable=True))
    op.add_column("predictions", sa.Column("widening", sa.Double(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("predictions", "widening")
    op.drop_column("predictions", "distance")
