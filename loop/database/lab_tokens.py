"""Who may use the lab's service: tokens with roles. Only a hash of each is kept; a token is 256 random bits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import select

from loop.database.lab_tables import LabToken
from loop.database.lab_view import Sessions
from loop.database.writing import now


class Role(StrEnum):
    """What a token allows: look; also take and answer orders; also pause, cancel and decide."""

    VIEWER = "viewer"
    ROBOT = "robot"
    ADMIN = "admin"


@dataclass(frozen=True)
class TokenRow:
    """A token, without what only its holder knows."""

    name: str
    role: Role
    created_at: str
    revoked_at: str | None


class TokenBook:
    """The tokens of one campaign."""

    def __init__(self, read: Sessions, write: Sessions, campaign_id: int) -> None:
        self._read, self._write, self._campaign_id = read, write, campaign_id

    def issue(self, name: str, role: Role) -> str:
        """A new token, told this once; an earlier one of that name ends."""
        token = f"matloop_{secrets.token_urlsafe(32)}"
        with self._write() as session:
            session.merge(
                LabToken(
                    campaign_id=self._campaign_id,
                    name=name,
                    role=role,
                    sha256=_hash(token),
                    created_at=now(),
                    revoked_at=None,
                )
            )
        return token

    def revoke(self, name: str) -> bool:
        """Ends a token; False where there is none of that name."""
        with self._write() as session:
            row = session.get(LabToken, (self._campaign_id, name))
            if row is not None:
                row.revoked_at = now()
            return row is not None

    def find(self, token: str) -> TokenRow | None:
        """Whose token it is; None for one that is unknown or has ended."""
        query = select(LabToken).where(
            LabToken.sha256 == _hash(token),
            LabToken.campaign_id == self._campaign_id,
            LabToken.revoked_at.is_(None),
        )
        with self._read() as session:
            row = session.scalars(query).first()
            return None if row is None else _row(row)

    def all(self) -> list[TokenRow]:
        """Every token, by name."""
        query = select(LabToken).where(LabToken.campaign_id == self._campaign_id).order_by(LabToken.name)
        with self._read() as session:
            return [_row(row) for row in session.scalars(query)]


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _row(row: LabToken) -> TokenRow:
    return TokenRow(row.name, Role(row.role), row.created_at, row.revoked_at)
