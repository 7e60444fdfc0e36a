"""Trains the correction from PBE to HSE gaps, and measures it on formulas it never saw.

    python -m experiments.train_hse_correction TABLE --labels LABELS --leave-out leave_out.csv --features features

TABLE holds structures and PBE gaps (column band_gap), LABELS the HSE gaps by material_id (column gap_hse). Split as in
`experiments.train_heads`: the band-gap head that is corrected never saw the formulas reported on either. Intervals are
calibrated on the training rows, each judged by a correction and a head that learned without its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from experiments.heads_without import even, formulas_of, head_without
from experiments.train_heads import Part, kept, labelled, split
from experiments.training_tables import named_errors
from materials.base import Composition
from materials.leave_out import left_out
from surrogates.heads.band_gap import METAL, BandGapHead
from surrogates.heads.base import HeadPrediction
from surrogates.heads.hse import CALCULATED, HseCorrection, HseGapHead, correction_rows
from surrogates.heads.laplace import LaplaceMixture, widening
from surrogates.heads.shipped import DESCRIPTORS, HSE_CORRECTION, WEIGHTS, Basis, shipped_head

Floats = npt.NDArray[np.float64]


def main(
    table: Annotated[Path, typer.Argument(help="Structures and PBE gaps.")],
    labels: Annotated[Path, typer.Option(help="HSE gaps, by material_id.")],
    leave_out: Annotated[Path, typer.Option(help="CSV with a column reduced_formula.")],
    features: Annotated[Path, typer.Option(help="Folder of the descriptors.")] = Path("features"),
    out: Annotated[Path, typer.Option(help="Folder of the weights.")] = WEIGHTS,
    heads: Annotated[Path, typer.Option(help="Folder for the heads trained to calibrate.")] = Path(
        "runs/heads"
    ),
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Train nothing, only measure the weights that are there.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
) -> None:
    """Trains the correction, writes its weights and prints its errors."""
    with named_errors():
        hse, pbe = both_levels(table, labels, left_out(leave_out), features)
    typer.echo(", ".join(f"{name}: {len(part.values)} rows" for name, part in hse.items()))
    rows = {
        name: Part(part.crystals, correction_rows(pbe[name].values, part.descriptors), part.values)
        for name, part in hse.items()
    }
    path = out / HSE_CORRECTION
    if not evaluate:
        unseeing = heads_to_calibrate(table, left_out(leave_out), features, heads, hse, seed)
        train(hse["train"], rows["train"], unseeing, seed).save(path)
        typer.echo(f"{path.stat().st_size / 1e3:.0f} kB")
    correction = HseCorrection.load(path)  # what is reported is what ships
    guesses = baselines(pbe["train"].values, hse["train"].values)
    for name in ("validation", "test"):
        measured, exact = hse[name], pbe[name].values
        typer.echo(f"{name}: HSE gap from the calculated PBE gap")
        compare(correction.predict(rows[name].descriptors), guesses, exact, measured.values, exact)
        for basis in DESCRIPTORS:
            typer.echo(f"{name}: HSE gap from the PBE gap that the head predicts, {basis}")
            described = descriptors_for(basis, measured)
            head = shipped_head("band_gap", basis)
            assert isinstance(head, BandGapHead)
            gaps = head.predict(measured.crystals, described).value
            predicted = HseGapHead(head, correction, basis).predict(measured.crystals, described)
            compare(predicted, guesses, gaps, measured.values, exact)


def heads_to_calibrate(
    table: Path, hidden: frozenset[str], features: Path, folder: Path, hse: Mapping[str, Part], seed: int
) -> Mapping[Basis, BandGapHead]:
    """Heads that never saw the formulas with HSE gaps and an even tenth."""
    found = kept(table, hidden, "")
    gaps = labelled(found, "band_gap", None, 0.0)
    formulas = {formula for part in hse.values() for formula in formulas_of(part)}
    return {
        basis: head_without(formulas, split(found, gaps, features, settings), basis, folder, seed)
        for basis, settings in DESCRIPTORS.items()
    }


def train(hse: Part, rows: Part, heads: Mapping[Basis, BandGapHead], seed: int) -> HseCorrection:
    """The correction, its intervals calibrated on rows whose formula neither correction nor head learned from.

    hse: with the crystals' descriptors; rows: the same with those of the correction.
    """
    formulas = formulas_of(rows)
    correction = HseCorrection.fit(rows.descriptors, rows.values, formulas, seed)
    without = HseCorrection.fit_without(rows.descriptors, rows.values, formulas, seed)
    # Metals are nearly always inside their interval, so they do not count here.
    gap = rows.descriptors[:, 0] >= METAL
    unseen = gap & even(rows)
    found = [one.distribution(rows.descriptors[held_out[gap[held_out]]]) for held_out, one in without]
    values = np.concatenate([rows.values[held_out[gap[held_out]]] for held_out, _ in without])
    correction.widenings[CALCULATED] = widening(LaplaceMixture.joined(found), values)
    for basis, head in heads.items():
        parts, found = [], []
        for held_out, one in without:
            one.widenings[CALCULATED] = correction.widenings[CALCULATED]
            part = hse.where(np.isin(np.arange(len(gap)), held_out) & unseen)
            parts.append(part.values)
            combined = HseGapHead(head, one, basis)
            found.append(combined.distribution(part.crystals, descriptors_for(basis, part)))
        correction.widenings[basis] = widening(LaplaceMixture.joined(found), np.concatenate(parts))
    typer.echo(f"calibrated on {gap.sum()} and {unseen.sum()} rows: {correction.widenings}")
    return correction


def descriptors_for(basis: Basis, part: Part) -> Floats:
    """The part's descriptors [n, d], or those of its formulas alone."""
    if basis == "structure":
        return part.descriptors
    formulas = [Composition(crystal.formula) for crystal in part.crystals]
    return DESCRIPTORS[basis].build().describe(formulas).astype(np.float64)


def both_levels(
    table: Path, labels: Path, hidden: frozenset[str], features: Path
) -> tuple[dict[str, Part], dict[str, Part]]:
    """The parts of `split` with HSE gaps, and the same materials with PBE gaps."""
    found = kept(table, hidden, "")
    gaps = np.stack([labelled(found, "gap_hse", labels, 0.0), labelled(found, "band_gap", None, 0.0)])
    both = np.flatnonzero(np.isfinite(gaps).all(axis=0))
    rows = [found[i] for i in both]
    settings = DESCRIPTORS["structure"]
    hse, pbe = (split(rows, level[both], features, settings) for level in gaps)
    return hse, pbe


def baselines(pbe: Floats, hse: Floats) -> dict[str, Callable[[Floats], Floats]]:
    """What is done without a model: nothing, one shift, one straight line; fitted where PBE has a gap."""
    open_gap = pbe >= METAL
    shift = float(np.median((hse - pbe)[open_gap]))
    slope, start = np.polyfit(pbe[open_gap], hse[open_gap], 1)
    return {
        "as it is": lambda gaps: gaps,
        f"plus {shift:.2f} eV": lambda gaps: np.where(gaps < METAL, 0.0, gaps + shift),
        f"{start:.2f} eV plus {slope:.2f} times it": lambda gaps: np.where(
            gaps < METAL, 0.0, start + slope * gaps
        ),
    }


def compare(
    predicted: HeadPrediction,
    guesses: dict[str, Callable[[Floats], Floats]],
    gaps: Floats,
    values: Floats,
    exact: Floats,
) -> None:
    """Prints errors against HSE gaps `values` [n], of all, of PBE metals and of the others (by their `exact` PBE gaps).

    The baselines start from `gaps` [n].
    """
    inside = (predicted.low <= values) & (values <= predicted.high)
    widths = predicted.high - predicted.low
    metal = exact < METAL
    for told, mask in (("all", metal | ~metal), ("with a PBE gap", ~metal), ("PBE metals", metal)):
        guessed = ", ".join(
            f"{name} {np.abs(guess(gaps) - values)[mask].mean():.3f}" for name, guess in guesses.items()
        )
        typer.echo(
            f"  {told}: {mask.sum()} rows, MAE {np.abs(predicted.value - values)[mask].mean():.3f} eV ({guessed}), "
            f"90 % interval holds {inside[mask].mean():.1%}, mean width {widths[mask].mean():.2f}"
        )
    opened = metal & (values >= METAL)
    typer.echo(f"  HSE opens a gap in {opened.sum()} of {metal.sum()} PBE metals")


if __name__ == "__main__":
    typer.run(main)
