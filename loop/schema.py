"""The JSON Schema of campaign files, for editors: `python -m loop.schema --out campaign.schema.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Without rich's help pages, which cost a third of the time `--help` may take.
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def campaign_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of the whole file, with every kind that is installed."""
    from loop.config import CampaignConfig

    return {"$schema": DIALECT, **CampaignConfig.model_json_schema()}


@app.command()
def write(
    out: Annotated[Path | None, typer.Option(help="A file to write, instead of printing.")] = None,
) -> None:
    """Prints the JSON Schema of campaign files; an editor checks and completes a YAML file with it."""
    from loop.plugins import ACQUISITIONS, EXECUTORS, GENERATORS, ORACLES, SURROGATES

    for kinds in (GENERATORS, SURROGATES, ACQUISITIONS, ORACLES, EXECUTORS):
        for problem in kinds.problems():
            typer.echo(f"warning: {problem}; it is not in the schema", err=True)
    text = json.dumps(campaign_schema(), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
