"""How well the latent generator keeps to a band gap that is asked for, judged by a head that saw none of its formulas.

    python -m experiments.benchmarks.conditioning unseen mp20_like_36k.csv.xz --out unseen.csv.xz
    python -m experiments.training_tables unseen.csv.xz --out features
    python -m experiments.train_heads band_gap unseen.csv.xz --leave-out leave_out.csv --features features --out judge
    python -m generators.latent.sample -n 200 --band-gap 3 --weights latent.safetensors --out gap_3.extxyz
    python -m experiments.benchmarks.sun run gap_3.extxyz --out runs/sun/gap_3 --reference mp2023_11.csv.xz
    python -m experiments.benchmarks.conditioning judge runs/sun/gap_3 --asked 3 --head $HEAD
    python -m experiments.benchmarks.conditioning audit runs/sun/gap_3 --head $HEAD --out audit_3.jsonl

HEAD is judge/band_gap_structure.safetensors. The judge tells the gap of each relaxed crystal; one that has none
(invalid, not converged) counts as missed.
"""

from __future__ import annotations

import csv
import json
import lzma
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.benchmarks.sun import RELAXED, read_samples
from experiments.benchmarks.sun_report import JUDGED
from generators.latent.reading import read_rows
from materials.base import Candidate, Crystal, Origin
from materials.evaluation import Request
from oracles.dft.oracle import DftSettings
from surrogates.heads.band_gap import BandGapHead
from surrogates.heads.shipped import DESCRIPTORS

app = typer.Typer(add_completion=False, rich_markup_mode=None)
WITHIN = 0.5
"""eV"""
GAP = "band_gap"


@app.command()
def unseen(
    table: Annotated[Path, typer.Argument(help="What the generator learned from.", exists=True)],
    out: Annotated[Path, typer.Option(help="Table for the judge, compressed with xz.")],
    splits: Annotated[str, typer.Option(help="From which splits, comma between.")] = "train,train_bt",
) -> None:
    """Writes the rows that have a gap and a formula that the generator has not seen."""
    rows = list(read_rows(table))
    seen = {row.formula for row in rows if row.split in splits.split(",")}
    kept = [row for row in rows if row.formula not in seen and row.columns[GAP]]
    with lzma.open(out, "wt", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["material_id", "cell", "sites", GAP])
        writer.writerows([row.material_id, row.cell, row.sites, row.columns[GAP]] for row in kept)
    typer.echo(f"{out}: {len(kept)} of {len(rows)} rows; {len(seen)} formulas were seen")


@app.command()
def judge(
    run: Annotated[Path, typer.Argument(help="Folder of a S.U.N. run.", exists=True)],
    asked: Annotated[float, typer.Option(help="The gap that was asked for, eV.")],
    head: Annotated[Path, typer.Option(help="What train_heads wrote.", exists=True)],
) -> None:
    """Prints the share of all structures of the run whose gap, as judged, is within 0.5 eV of what was asked."""
    drawn = len((run / JUDGED).read_text().splitlines())
    crystals, gaps = judged(run, head)
    near = int((np.abs(gaps - asked) <= WITHIN).sum())
    told = {"asked": asked, "drawn": drawn, "relaxed": len(crystals), "near": near}
    share, median = round(near / drawn, 4), round(float(np.median(gaps)), 3) if len(gaps) else None
    typer.echo(json.dumps(told | {"share": share, "median gap": median}))


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a S.U.N. run.", exists=True)],
    head: Annotated[Path, typer.Option(help="What train_heads wrote.", exists=True)],
    out: Annotated[Path, typer.Option(help="Results, one JSON line each; goes on where it stopped.")],
    number: Annotated[int, typer.Option("--number", "-n", help="Crystals.", min=1)] = 10,
    most_atoms: Annotated[int, typer.Option(help="Larger cells are passed over.", min=1)] = 8,
) -> None:
    """Calculates the PBE gap of the run's first crystals with GPAW (protocol fast, nothing relaxed again).

    Passed over: lanthanides and actinides, whose open f shells PBE does not describe, and larger cells.
    """
    crystals, gaps = judged(run, head)
    fit = [
        (crystal, float(gap))
        for crystal, gap in zip(crystals, gaps, strict=True)
        if len(crystal.structure) <= most_atoms
        and not any(e.is_lanthanoid or e.is_actinoid for e in crystal.structure.composition.elements)
    ]
    done = (
        {line["id"]: line for line in map(json.loads, out.read_text().splitlines())} if out.exists() else {}
    )
    oracle = DftSettings.model_validate({"protocol": "fast"}).build()
    for crystal, gap in fit[:number]:
        candidate = Candidate(crystal, Origin("files"))
        if candidate.id not in done:
            request = Request(
                candidate.id, candidate, crystal, "dft", folder=out.with_suffix("") / candidate.id
            )
            outcome = next(iter(oracle.evaluate([request])))
            found = {m.property: m.value for m in outcome.measurements}
            failure = None if outcome.failure is None else outcome.failure.message
            line = {"id": candidate.id, "formula": crystal.formula, "judged": round(gap, 3)}
            line |= {"failure": failure, "dft": found.get(GAP), "seconds": round(outcome.seconds, 1)}
            done[candidate.id] = line
            with out.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
        typer.echo(json.dumps(done[candidate.id]))


def judged(run: Path, head: Path) -> tuple[list[Crystal], npt.NDArray[np.float64]]:
    """The relaxed crystals of a run, and their gaps (eV) as the head tells them."""
    crystals = [one.crystal for one in read_samples(run / RELAXED) if one.crystal is not None]
    described = DESCRIPTORS["structure"].build().describe(crystals).astype(np.float64)
    return crystals, BandGapHead.load(head).predict(crystals, described).value


if __name__ == "__main__":
    app()
