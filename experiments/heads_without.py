"""Band-gap heads that never saw some of the formulas they trained on, to calibrate what is built upon the heads.

As `experiments.train_heads` trains the one that ships, without the listed formulas of one half. Minutes each, so they
are kept in a folder and read from there when they are needed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import typer

from experiments.train_heads import Part, train_one
from experiments.training_tables import tenth
from surrogates.heads.band_gap import BandGapHead
from surrogates.heads.ensemble import Training
from surrogates.heads.shipped import DESCRIPTORS, Basis, file_name

HALVES = (0, 1)
"""Formulas whose tenth is even, and those whose tenth is odd."""


def formulas_of(part: Part) -> npt.NDArray[np.str_]:
    """Reduced formulas [n]."""
    return np.array([crystal.structure.composition.reduced_formula for crystal in part.crystals], dtype=str)


def half_of(part: Part) -> npt.NDArray[np.int64]:
    """The half [n] to which each row's formula belongs."""
    return np.array([tenth(formula) % 2 for formula in formulas_of(part)], dtype=np.int64)


def heads_without(
    formulas: Set[str], parts: Mapping[str, Part], basis: Basis, folder: Path, seed: int
) -> Iterator[BandGapHead]:
    """For each of HALVES the head that learned from all training rows but those of `formulas` in this half.

    parts: PBE gaps, split as by `experiments.train_heads.split` for this basis.
    """
    torch.set_num_threads(1)
    train = parts["train"]
    listed = np.isin(formulas_of(train), sorted(formulas))
    for half in HALVES:
        path = folder / f"without_half_{half}_{file_name(BandGapHead.property, basis)}"
        if not path.exists():
            seen = parts | {"train": train.where(~(listed & (half_of(train) == half)))}
            typer.echo(f"{path.name}: {len(seen['train'].values)} of {len(train.values)} rows")
            train_one(BandGapHead, seen, DESCRIPTORS[basis].version, Training(), seed, path)
        yield BandGapHead.load(path)
