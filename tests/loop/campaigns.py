"""Small campaigns that answer from a table: what the campaign tests run."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CATIONS = {"Li": 1, "Na": 1, "K": 1, "Mg": 2, "Ca": 2, "Al": 3, "Ga": 3, "Y": 3}
ANIONS = {"O": 2, "S": 2, "Se": 2, "F": 1, "Cl": 1, "Br": 1, "I": 1, "N": 3}


def formulas() -> list[str]:
    """64 charge-balanced binaries."""
    found = []
    for (cation, plus), (anion, minus) in product(CATIONS.items(), ANIONS.items()):
        found.append(f"{cation}{minus}{anion}{plus}")
    return found


def answer(formula: str) -> tuple[float, float]:
    """Two smooth made-up properties that pull apart: "formation energy" (eV/atom) and "band gap" (eV)."""
    from pymatgen.core import Composition

    composition = Composition(formula)
    spread = max(e.X for e in composition) - min(e.X for e in composition)
    return -0.9 * spread + 0.3, 0.5 + 0.1 * sum(
        e.Z * x for e, x in composition.fractional_composition.items()
    )


def write_campaign(folder: Path, **changes: object) -> Path:
    """A campaign file with its pool and its answers beside it; `changes` replace top-level keys."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["formula,formation_energy,band_gap"]
    rows += [f"{f},{answer(f)[0]:.4f},{answer(f)[1]:.4f}" for f in formulas()]
    (folder / "answers.csv").write_text("\n".join(rows) + "\n")
    (folder / "pool.csv").write_text("\n".join(["formula", *formulas()]) + "\n")
    (folder / "known.csv").write_text("\n".join(rows[:1] + rows[1:7]) + "\n")
    document: dict[str, object] = {
        "name": "table",
        "seed": 1,
        "space": {
            "kind": "composition",
            "elements": [*CATIONS, *ANIONS],
            "number_of_elements": [2, 2],
            "number_of_atoms": [2, 40],
        },
        "data": ["known.csv"],
        "objectives": [
            {"property": "formation_energy", "goal": "minimize"},
            {"property": "band_gap", "goal": "maximize"},
        ],
        "generators": [{"kind": "files", "path": "pool.csv"}],
        "surrogate": {"kind": "gp", "descriptor": "composition"},
        "acquisition": {"kind": "random"},
        "oracles": [
            {
                "kind": "table",
                "file": "answers.csv",
                "measures": ["formation_energy"],
                "fidelity": "experiment",
                "failure_rate": 0.15,
                "gate": {"formation_energy": {"at_most": 0.0}},
            },
            {
                "kind": "table",
                "file": "answers.csv",
                "measures": ["band_gap"],
                "fidelity": "experiment",
                "gate": {"band_gap": {"at_least": 1.8}},
            },
        ],
        "budget": {"rounds": 3, "batch": 5, "pool": 40},
        "executor": {"kind": "serial"},
        "tracking": "none",
    }
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(document | changes, sort_keys=False))
    return file


def start(file: Path, run_folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the command a user would, in a process of its own."""
    command = [sys.executable, "-m", "loop.campaign", str(file), "--dir", str(run_folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=file.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(file: Path, run_folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and everything printed."""
    process = start(file, run_folder, *arguments)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output
