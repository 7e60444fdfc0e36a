"""A campaign whose law stops being smooth after two rounds: a surrogate that learned before is far too sure."""

from __future__ import annotations

import random
from math import gcd
from pathlib import Path

from campaigns import write_campaign

KNOWN, BATCH, SMOOTH_ROUNDS, ROUNDS = 60, 8, 2, 8
CATIONS, ANIONS = ("Li", "Na", "K", "Mg", "Ca", "Al"), ("O", "S", "F", "Cl")


def formulas() -> list[str]:
    """Binaries of every proportion up to 4 : 4, in an order of their own."""
    proportions = [(a, b) for a in range(1, 5) for b in range(1, 5) if gcd(a, b) == 1]
    found = [f"{c}{a}{x}{b}" for c in CATIONS for x in ANIONS for a, b in proportions]
    random.Random(0).shuffle(found)
    return found


def law(formula: str, smooth: bool) -> float:
    """A band gap (eV) that rises with the difference of electronegativities; later it also scatters by 1 eV."""
    from pymatgen.core import Composition

    composition = Composition(formula)
    gap = 1.0 + 2.0 * (max(e.X for e in composition) - min(e.X for e in composition))
    return gap if smooth else gap + random.Random(formula).gauss(0.0, 1.0)


def write_jumping_campaign(folder: Path, **changes: object) -> Path:
    """The campaign file; each round measures the next BATCH formulas of the pool in the order of its file."""
    chosen = formulas()[: KNOWN + ROUNDS * BATCH]
    jump = KNOWN + SMOOTH_ROUNDS * BATCH
    rows = [f"{f},{law(f, i < jump):.4f}" for i, f in enumerate(chosen)]
    file = write_campaign(
        folder,
        space={
            "kind": "composition",
            "elements": [*CATIONS, *ANIONS],
            "number_of_elements": [2, 2],
            "number_of_atoms": [2, 40],
        },
        objectives=[{"property": "band_gap", "goal": "maximize"}],
        generators=[{"kind": "files", "path": "pool.csv", "order": "given"}],
        acquisition={"kind": "greedy"},
        oracles=[
            {"kind": "table", "file": "answers.csv", "measures": ["band_gap"], "fidelity": "experiment"}
        ],
        budget={"rounds": ROUNDS, "batch": BATCH, "pool": BATCH},
        **changes,
    )
    (folder / "answers.csv").write_text("\n".join(["formula,band_gap", *rows]) + "\n")
    (folder / "known.csv").write_text("\n".join(["formula,band_gap", *rows[:KNOWN]]) + "\n")
    (folder / "pool.csv").write_text("\n".join(["formula", *chosen[KNOWN:]]) + "\n")
    return file
