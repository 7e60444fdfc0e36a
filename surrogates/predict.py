"""Scores any structures or formulas with the heads that ship, without a campaign.

    python -m surrogates.predict candidates.csv --properties band_gap,formation_energy --out predictions.csv

FILE: a folder of CIF files, a .cif, an .extxyz, or a .csv with a column `cif` or `formula`. One row per input row: the
predicted median, its standard deviation, the 90 % interval and the distance to the training data. An ordered crystal is
judged by its structure; a formula, and a crystal with partial occupancies, by its composition, as the basis of each
property says. Gaps are those of PBE, and beside them those of HSE, which lie nearer to experiment. Conductivities are
told of materials with lithium only; for them crystals with partial occupancies count as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from materials.files import whole

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from materials.base import Material
    from materials.reading import Entry, Problem
    from surrogates.descriptors import Descriptor
    from surrogates.heads.base import HeadPrediction
    from surrogates.heads.shipped import Basis

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
CHUNK = 64
Row = dict[str, str]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Structures or formulas.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("predictions.csv"),
    properties: Annotated[
        str, typer.Option(help="Names, with commas between.")
    ] = "band_gap,formation_energy",
) -> None:
    """Writes one row of predictions for each row of the input; what cannot be judged says why."""
    from materials.reading import ReadingError
    from surrogates.heads.base import HeadError
    from surrogates.heads.shipped import PROPERTIES

    names = [name.strip() for name in properties.split(",") if name.strip()]
    unknown = [name for name in names if name not in PROPERTIES]
    if unknown or not names:
        typer.echo(
            f"error: no head for {', '.join(unknown) or 'nothing'}; known: {', '.join(PROPERTIES)}", err=True
        )
        raise typer.Exit(2)
    try:
        rows = list(predictions(file, names))
        write(out, rows)
    except (ReadingError, HeadError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    refused = sum(bool(row["problem"]) for row in rows)
    typer.echo(f"{len(rows) - refused} predicted, {refused} not or not in all; wrote {out}")


def predictions(file: Path, names: Sequence[str]) -> Iterator[Row]:
    """One row for each material of a file, in its order."""
    from materials.reading import stream_materials

    problems: list[Problem] = []
    waiting: list[Entry | Problem] = []
    for entry in stream_materials(file, problems):
        waiting += [*problems, entry]
        problems.clear()
        if len(waiting) >= CHUNK:
            yield from _rows(waiting, names)
            waiting.clear()
    yield from _rows([*waiting, *problems], names)


def write(out: Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV, whole or not at all."""
    header = [*dict.fromkeys(key for row in rows for key in row if key != "problem"), "problem"]
    with whole(out) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, header, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _rows(chunk: Sequence[Entry | Problem], names: Sequence[str]) -> Iterator[Row]:
    from materials.reading import Entry

    materials = [found.material for found in chunk if isinstance(found, Entry)]
    judged = iter(_judged(materials, names))
    for found in chunk:
        if isinstance(found, Entry):
            yield {"name": found.name, "formula": found.material.formula} | next(judged)
        else:
            yield {"name": found.place or found.file.name, "formula": "", "problem": found.reason}


def _judged(materials: Sequence[Material], names: Sequence[str]) -> list[Row]:
    """The predictions of each material, and why there is none of a property."""
    import numpy as np

    from surrogates.heads.shipped import basis_told, descriptor_of, judged_by

    rows: list[Row] = [{} for _ in materials]
    reasons: list[dict[str, None]] = [{} for _ in materials]
    known: dict[Descriptor, npt.NDArray[np.float64]] = {}
    for name in names:
        judged = [judged_by(material, name) for material in materials]
        for basis in dict.fromkeys(basis for _, basis in judged):
            chosen = [i for i, (_, its_basis) in enumerate(judged) if its_basis == basis]
            described = [judged[i][0] for i in chosen]
            descriptor = descriptor_of(name, basis)
            if (
                descriptor not in known
            ):  # then the other properties that it serves judge the same materials by it
                known[descriptor] = descriptor.describe(described).astype(np.float64)
            columns = _predicted(name, basis, described, known[descriptor])
            for place, (i, material) in enumerate(zip(chosen, described, strict=True)):
                rows[i][f"{name} basis"] = basis_told(material, basis)
                for header, values in columns.items():
                    rows[i][header] = f"{values[place]:.4f}" if np.isfinite(values[place]) else ""
                reason = descriptor.why_not(material)
                reasons[i] |= {reason: None} if reason else {}
    return [row | {"problem": "; ".join(why)} for row, why in zip(rows, reasons, strict=True)]


def _predicted(
    name: str, basis: Basis, materials: Sequence[Material], described: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """The columns of a property, each [n]."""
    from materials.properties import property_named
    from surrogates.heads.shipped import CORRECTED, shipped_head

    unit = property_named(name).unit
    predicted = shipped_head(name, basis).predict(materials, described)
    columns = _columns(name, unit, predicted)
    columns |= {key.replace("_", " "): values for key, values in predicted.extras.items()}
    if name in CORRECTED:
        at_hse = shipped_head(name, basis, "HSE").predict(materials, described)
        columns |= _columns(f"{name} at HSE level", unit, at_hse)
    return columns


def _columns(name: str, unit: str, predicted: HeadPrediction) -> dict[str, npt.NDArray[np.float64]]:
    return {
        f"predicted {name} ({unit})": predicted.value,
        f"predicted {name} std ({unit})": predicted.std,
        f"predicted {name} 5 % ({unit})": predicted.low,
        f"predicted {name} 95 % ({unit})": predicted.high,
        f"{name} distance to training data": predicted.distance,
    }


if __name__ == "__main__":
    app()
