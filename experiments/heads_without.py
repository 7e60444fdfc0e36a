"""Band-gap heads that did not learn from some formulas, to calibrate what is built on the heads that ship.

Trained as `experiments.train_heads` trains those. It takes minutes, so they are kept in a folder and read from there
when they are needed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
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


def formulas_of(part: Part) -> list[str]:
    """Reduced formulas [n]."""
    return [crystal.structure.composition.reduced_formula for crystal in part.crystals]


def even(part: Part) -> npt.NDArray[np.bool_]:
    """Whether the tenth of each row's formula is even."""
    return np.array([tenth(formula) % 2 == 0 for formula in formulas_of(part)], dtype=bool)


def head_without(
    formulas: Set[str], parts: Mapping[str, Part], basis: Basis, folder: Path, seed: int
) -> BandGapHead:
    """The band-gap head that learned from all training rows but those of `formulas` with an even tenth.

    parts: PBE gaps, split as by `experiments.train_heads.split` for this basis.
    """
    torch.set_num_threads(1)
    path = folder / f"without_{file_name(BandGapHead.property, basis)}"
    if not path.exists():
        train = parts["train"]
        listed = np.isin(formulas_of(train), sorted(formulas))
        seen = {**parts, "train": train.where(~(listed & even(train)))}
        typer.echo(f"{path}: learns from {len(seen['train'].values)} of {len(train.values)} rows")
        train_one(BandGapHead, seen, DESCRIPTORS[basis].version, Training(), seed, path)
    return BandGapHead.load(path)
