"""Run by alembic: on a connection handed in, or on `-x url=...` when a developer calls the command."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, create_engine

import loop.database.lab_tables  # noqa: F401  (its tables belong to the metadata)
from loop.database.tables import CanonicalJSON, Table
from loop.migrations import VERSION_TABLE


def render(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Migrations name plain types only, so that they stay what they were when the code moves on."""
    return "sa.Text()" if kind == "type" and isinstance(item, CanonicalJSON) else False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    migrate(handed_in)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).connect() as opened:
        migrate(opened)
