"""Serves a campaign's lab queue over HTTP: `python -m loop.serve runs/battery`.

Robots need a token: `python -m loop.serve runs/battery --new-token arm1 --role robot` prints it once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.doors import errors_told

if TYPE_CHECKING:
    from loop.database.store import Store

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as runs/battery.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8321,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS: certificate chain, PEM.", exists=True)
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="TLS: its private key, PEM.", exists=True)] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="Something before the service speaks TLS; listen without it."),
    ] = False,
    rate: Annotated[float, typer.Option(help="Requests per second of one token.", min=1)] = 100.0,
    new_token: Annotated[
        str, typer.Option(help="Instead of serving: a new token for this robot or person, printed once.")
    ] = "",
    role: Annotated[str, typer.Option(help="Of the new token: viewer, robot or admin.")] = "robot",
    revoke: Annotated[str, typer.Option(help="Instead of serving: ends the token of this name.")] = "",
) -> None:
    """Lets robots take and answer a campaign's orders, and people look, pause, cancel and decide."""
    from loop.report.folder import config_of, store_of

    tls = certificate is not None and private_key is not None
    if (certificate is None) != (private_key is None):
        raise typer.BadParameter("TLS needs both --certificate and --private-key")
    with errors_told():
        store = store_of(folder, config_of(folder))
        if new_token or revoke:
            _tokens(store, new_token, role, revoke)
            return
        if host not in LOOPBACK and not (tls or behind_proxy):
            raise typer.BadParameter(
                "tokens would cross the network in the clear; name --certificate and --private-key, "
                "or --behind-proxy where something before it speaks TLS"
            )
        _run(store, folder, host, port, rate, certificate, private_key)


def _tokens(store: Store, new: str, role: str, revoke: str) -> None:
    from loop.database.lab_tokens import Role

    if revoke and not store.lab_tokens().revoke(revoke):
        raise typer.BadParameter(f"there is no token {revoke!r}", param_hint="--revoke")
    if new:
        if role not in tuple(Role):
            raise typer.BadParameter(f"{role!r} is none of {', '.join(Role)}", param_hint="--role")
        typer.echo(store.lab_tokens().issue(new, Role(role)))


def _run(
    store: Store,
    folder: Path,
    host: str,
    port: int,
    rate: float,
    certificate: Path | None,
    private_key: Path | None,
) -> None:
    try:
        import uvicorn

        from loop.service.app import create_app
    except ModuleNotFoundError as error:
        typer.echo(
            f"error: the service needs {error.name}; install it with: pip install 'matloop[lab]'", err=True
        )
        raise typer.Exit(2) from None
    from loop.service.guard import Bounds

    _log_to(folder / "lab.log")
    if not store.lab_tokens().all():
        typer.echo(f"nobody has a token yet: python -m loop.serve {folder} --new-token NAME --role robot")
    config = uvicorn.Config(
        create_app(store, folder / "lab", Bounds(rate=rate)),
        host=host,
        port=port,
        log_level="warning",
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if private_key is None else str(private_key),
        limit_concurrency=1000,
        timeout_keep_alive=30,
    )
    listening = config.bind_socket()  # before it is told: port 0 is another one by then
    listening.listen(config.backlog)
    scheme, named = "http" if certificate is None else "https", f"[{host}]" if ":" in host else host
    typer.echo(
        f"{store.name}: serving on {scheme}://{named}:{listening.getsockname()[1]}, its pages at /docs"
    )
    uvicorn.Server(config).run([listening])


def _log_to(file: Path) -> None:
    import logging

    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("matloop.lab").addHandler(handler)


if __name__ == "__main__":
    app()
