"""What the generator learns from: crystals of a table as tensors, with properties, split as the table says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pymatgen.core import Composition
from safetensors.torch import load_file, save_file

from generators.latent.asking import Facts, Scale
from generators.latent.reading import Row, TableError, read_rows, symmetric_crystals
from generators.latent.tokens import Tokens, tokens_of
from generators.latent.wyckoff import WyckoffCrystal
from materials.base import content_hash
from materials.chemistry import is_charge_balanced
from materials.leave_out import left_out

TOKENS = ("group", "lattice", "letter", "element", "parameters", "filled")
PROPERTY_OF = {"e_above_hull": "energy_above_hull", "formation_energy_per_atom": "formation_energy"}
"""What columns of the mp_20 layout are called here."""
VERSION = 1
"""Of the description of crystals (standard.py, tokens.py): what was kept under another is read anew."""
DEAL = 16
"""Batches that are dealt together by their crystals' number of positions, so that little is padded."""


class EmptyTableError(TableError):
    """A table of which nothing can be learned."""


@dataclass(frozen=True)
class Corpus:
    """Training crystals with what is known of them, and validation crystals."""

    train: Tokens
    facts: Facts
    validation: Tokens
    validation_facts: Facts
    scales: tuple[Scale, ...]
    digest: str
    """Of the crystals' text, the properties' names and the way in which crystals are described."""

    def batches(self, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Indices of training crystals, for ever; each crystal once in a round."""
        count = self.train.filled.sum(dim=1)
        while True:
            order = torch.randperm(len(self.train), generator=generator)
            for dealt in torch.split(order, size * DEAL):
                alike = torch.split(dealt[count[dealt].argsort()], size)
                for k in torch.randperm(len(alike), generator=generator):
                    yield alike[int(k)]


def read_corpus(
    table: Path,
    train: Sequence[str],
    validation: str,
    leave_out: Path | None,
    most_atoms: int,
    properties: Sequence[str],
    kept: Path,
) -> Corpus:
    """Reads a table in the mp_20 layout; symmetry is found once and kept in the folder `kept`.

    Raises TableError for a table that cannot be read, EmptyTableError where a split holds no crystal.
    """
    hidden = left_out(leave_out) if leave_out else frozenset()
    rows = [
        row
        for row in read_rows(table)
        if (row.split in (*train, validation) or not row.split)
        and row.number_of_atoms <= most_atoms
        and row.formula not in hidden
    ]
    digest = content_hash([VERSION, *((row.material_id, row.cell, row.sites) for row in rows)])
    if not rows:
        raise _empty(table, most_atoms, train, validation, "learning")
    tokens, rows = _tokens(rows, kept / f"crystals-{digest}.safetensors")
    chosen = torch.tensor([row.split != validation for row in rows])
    for name, part in (("train", chosen), ("validation", ~chosen)):
        if not bool(part.any()):
            raise _empty(table, most_atoms, train, validation, name)
    scales = tuple(_scale(name, [row for row in rows if row.split != validation]) for name in properties)
    named = list(zip(properties, scales, strict=True))
    values = torch.tensor([[_scaled(row, name, scale) for name, scale in named] for row in rows]).reshape(
        len(rows), len(scales)
    )
    balanced = torch.tensor([is_charge_balanced(Composition(row.formula)) for row in rows])
    facts = Facts(values, balanced)
    digest = content_hash([digest, *properties])
    return Corpus(tokens[chosen], facts[chosen], tokens[~chosen], facts[~chosen], scales, digest)


def _empty(
    table: Path, most_atoms: int, train: Sequence[str], validation: str, purpose: str
) -> EmptyTableError:
    return EmptyTableError(
        f"{table}: no crystal of at most {most_atoms} atoms is left for {purpose} (splits {', '.join(train)} and "
        f"{validation}); name the splits the table has, or raise the number of atoms"
    )


def _tokens(rows: Sequence[Row], file: Path) -> tuple[Tokens, list[Row]]:
    """The rows' crystals, of those whose symmetry was found; kept in `file`. Raises TableError."""
    if not file.exists():
        found = symmetric_crystals(rows)
        crystals: list[WyckoffCrystal] = [c for c in found if c is not None]
        if not crystals:
            raise EmptyTableError(
                f"no symmetry was found of any of {len(rows)} crystals; are cells and sites whole?"
            )
        tokens = tokens_of(crystals)
        there = torch.tensor([c is not None for c in found])
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"there": there} | {name: getattr(tokens, name).contiguous() for name in TOKENS}, file)
    held = load_file(file)
    return Tokens(*(held[name] for name in TOKENS)), [
        r for r, t in zip(rows, held["there"].tolist(), strict=True) if t
    ]


def _value(row: Row, name: str) -> float:
    text = row.columns.get(name, "")
    try:
        value = float(text or math.nan)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise TableError(
            f"{row.material_id}: {name} is {text!r}, which is no number; mend it, or leave it empty"
        )
    return value


def _scale(name: str, rows: Sequence[Row]) -> Scale:
    known = torch.tensor([v for row in rows if not math.isnan(v := _value(row, name))])
    if len(known) < 2:
        raise EmptyTableError(f"the table has no column {name} with values; leave the property out")
    lowest, highest = (float(known.quantile(q)) for q in (0.01, 0.99))
    return Scale(PROPERTY_OF.get(name, name), float(known.mean()), float(known.std()) or 1.0, lowest, highest)


def _scaled(row: Row, name: str, scale: Scale) -> float:
    return (_value(row, name) - scale.center) / scale.spread
