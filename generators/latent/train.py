"""Trains the latent generator on a table of crystals in the mp_20 layout.

python -m generators.latent.train TABLE.csv.xz --train train --validation val --out latent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from generators.latent.corpus import Corpus
    from generators.latent.weights import Model

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    table: Annotated[
        Path,
        typer.Argument(
            help="Its columns: material_id, cif or cell and sites, split, properties; or a folder of splits.",
            exists=True,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints and of latent.safetensors.")],
    train: Annotated[
        str, typer.Option(help="Splits to learn from, comma between; rows without a split count too.")
    ] = "train",
    validation: Annotated[str, typer.Option(help="Split that is only looked at.")] = "val",
    leave_out: Annotated[
        Path | None,
        typer.Option(help="CSV whose reduced_formula column names what is never seen.", exists=True),
    ] = None,
    properties: Annotated[
        str, typer.Option(help="Scalar columns that can be asked for, comma between.")
    ] = "band_gap,e_above_hull",
    most_atoms: Annotated[int, typer.Option(help="Larger cells are left out.", min=1)] = 20,
    steps: Annotated[int, typer.Option(help="Batches of 128 crystals.", min=1)] = 20_000,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin with, such as those that ship.", exists=True)
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="Of the decoder; less where crystals are many.", min=0, max=0.9)
    ] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Trains, or goes on where an earlier run stopped; figures go to MLflow."""
    from generators.latent.corpus import read_corpus
    from generators.latent.reading import TableError
    from generators.latent.training import CheckpointError
    from generators.latent.weights import WeightsError, begun
    from materials.leave_out import LeaveOutError

    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in properties.split(",") if name]
    told = {"table": table.name, "splits": train, "seed": str(seed)}
    try:
        corpus = read_corpus(table, train.split(","), validation, leave_out, most_atoms, names, out)
        model = begun(corpus.scales, start, seed, dropout)
        told["crystals"] = str(len(corpus.train))
        params: dict[str, int | float | str] = {"steps": steps, "start": str(start), "dropout": dropout}
        _train(replace(model, told=told), corpus, steps, out, seed, params)
    except (TableError, LeaveOutError, WeightsError, CheckpointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _train(
    model: Model, corpus: Corpus, steps: int, out: Path, seed: int, params: Mapping[str, int | float | str]
) -> None:
    """Trains and writes the weights; every look is told and logged."""
    import mlflow

    from generators.latent.foretelling import train_foreteller
    from generators.latent.training import Course, train
    from generators.latent.weights import save

    number = sum(p.numel() for p in model.autoencoder.parameters())
    typer.echo(
        f"{len(corpus.train)} crystals to learn from, {len(corpus.validation)} to look at; {number:,} parameters"
    )

    def tell(step: int, figures: dict[str, float]) -> None:
        mlflow.log_metrics(figures, step=step)
        typer.echo(f"{step}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))

    def tell_of_foreteller(step: int, figures: dict[str, float]) -> None:
        tell(step, {f"foreteller {name}": value for name, value in figures.items()})

    mlflow.set_experiment("latent generator")
    with mlflow.start_run(run_name=out.name):
        mlflow.log_params({**model.told, **params})
        train(model.autoencoder, corpus, Course(steps), out, seed, tell)
        if corpus.scales:
            train_foreteller(model.foreteller, corpus, out, seed, tell_of_foreteller)
        save(model, out / "latent.safetensors")
    typer.echo(f"{out / 'latent.safetensors'}")


if __name__ == "__main__":
    app()
