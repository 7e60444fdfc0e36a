"""Who asks, and whether that person or robot may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from loop.database.lab_tokens import Role, TokenBook, TokenRow

RANKS = (Role.VIEWER, Role.ROBOT, Role.ADMIN)
bearer = HTTPBearer(auto_error=False, description="As `python -m loop.serve DIR --new-token` printed it.")


def at_least(role: Role) -> Callable[..., TokenRow]:
    """A dependency: the token's row; 401 without a valid token, 403 where it allows less."""

    def holder(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
    ) -> TokenRow:
        book: TokenBook = request.app.state.tokens
        found = None if given is None else book.find(given.credentials)
        if found is None:
            raise HTTPException(
                401, "name a valid token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        if RANKS.index(found.role) < RANKS.index(role):
            raise HTTPException(403, f"this needs a token of role {role}; {found.name} is a {found.role}")
        return found

    return holder


Viewer = Annotated[TokenRow, Depends(at_least(Role.VIEWER))]
Robot = Annotated[TokenRow, Depends(at_least(Role.ROBOT))]
Admin = Annotated[TokenRow, Depends(at_least(Role.ADMIN))]
