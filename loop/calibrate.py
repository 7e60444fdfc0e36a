"""Fits the law between barrier and conductivity of the `bvse` oracle to conductivities somebody measured.

    python -m loop.calibrate measured.csv --mobile-ion Na --out sodium.json
    python -m loop.calibrate runs/battery measured.csv --out lithium.json

A table holds structures and a column `log_ionic_conductivity`; a run folder gives the materials whose conductivity
was measured at a higher fidelity than the estimate itself. The file goes into the campaign file as
`{kind: bvse, calibration: sodium.json}`: a law is part of what an oracle's answers mean, so it is named, and does not
change while a campaign runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from materials.archive import Record
    from materials.base import Bound, Material, Measurement
    from oracles.conduction.bvse import BondValenceSettings
    from oracles.conduction.calibration import Calibration

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
CONDUCTIVITY = "log_ionic_conductivity"


@dataclass(frozen=True)
class Pair:
    """A material's barrier in eV (infinite above the ceiling) and its measured log10 conductivity in S/cm."""

    formula: str
    barrier: float
    value: float
    bound: Bound


@app.command()
def run(
    sources: Annotated[list[Path], typer.Argument(help="Tables with structures, and run folders.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    mobile_ion: Annotated[str, typer.Option(help="The element that moves.")] = "Li",
    dimensions: Annotated[int, typer.Option(min=1, max=3, help="Directions it must percolate in.")] = 3,
    temperature: Annotated[float, typer.Option(help="Of the measurements, K.")] = 298.0,
) -> None:
    """Computes the barriers, fits the law, prints how good it is and writes it."""
    from loop.errors import CampaignError
    from oracles.conduction.bvse import BondValenceSettings
    from oracles.conduction.calibration import write_calibration

    try:
        settings = BondValenceSettings.model_validate({"mobile_ion": mobile_ion, "dimensions": dimensions})
        pairs = list(pairs_of(sources, settings))
        law = fit(pairs, settings, temperature, ", ".join(source.name for source in sources))
    except (CampaignError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    write_calibration(law, out)
    typer.echo(
        f"{law.rows} materials, {law.limits} of them limits: intercept {law.intercept:.2f}, slope {law.slope:.3f}, "
        f"standard deviation {law.std:.2f} decades"
    )
    typer.echo(f"wrote {out}; use it with  {{kind: bvse, mobile_ion: {mobile_ion}, calibration: {out}}}")


def pairs_of(sources: list[Path], settings: BondValenceSettings) -> Iterator[Pair]:
    """The pairs of all sources; says which materials are left out, and why."""
    from materials.base import Crystal
    from oracles.conduction.bvse import framework_barriers
    from oracles.conduction.framework import majority_framework
    from oracles.one_by_one import RejectedError

    for source in sources:
        for material, measured in _measured(source):
            if not isinstance(material, Crystal):
                typer.echo(f"{material.formula}: left out: only its formula is known", err=True)
                continue
            try:
                framework = majority_framework(material.structure, settings.mobile_ion)
                barrier = framework_barriers(framework, settings)[settings.dimensions - 1]
            except RejectedError as error:
                typer.echo(f"{material.formula}: left out: {error}", err=True)
                continue
            yield Pair(material.formula, barrier, measured.value, measured.bound)


def fit(pairs: list[Pair], settings: BondValenceSettings, temperature: float, source: str) -> Calibration:
    """The law through the pairs that percolate below the oracle's ceiling. Raises ValueError for too few."""
    from oracles.conduction.calibration import calibrate

    usable = [pair for pair in pairs if math.isfinite(pair.barrier)]
    return calibrate(
        [pair.barrier for pair in usable],
        [pair.value for pair in usable],
        [pair.bound for pair in usable],
        mobile_ion=settings.mobile_ion,
        dimensions=settings.dimensions,
        temperature=temperature,
        source=source,
    )


def _measured(source: Path) -> Iterator[tuple[Material, Measurement]]:
    """Materials with a conductivity that is no estimate of the oracle's own."""
    from loop.prior import read_prior
    from loop.report.folder import open_view

    if source.is_dir() and (source / "campaign.yaml").exists():
        for record in open_view(source)[0].archive.values():
            yield from _of_record(record)
        return
    prior = read_prior([source])
    for candidate in prior.candidates:
        for measurement in prior.measurements[candidate.id]:
            if measurement.property == CONDUCTIVITY:
                yield candidate.material, measurement


def _of_record(record: Record) -> Iterator[tuple[Material, Measurement]]:
    measured = record.measured(CONDUCTIVITY)
    if measured is not None and measured.fidelity not in ("bond_valence", "learned"):
        yield record.material, measured


if __name__ == "__main__":
    app()
