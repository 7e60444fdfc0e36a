"""Electrochemical windows of known lithium compounds from the reference hull that ships, against published ones.

    python -m experiments.benchmarks.electrochemistry

Each compound has its energy in the reference, and is lowered to the hull where it lies above, or is missing there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import typer

from materials.electrochemistry import Electrochemistry
from materials.hull import ReferenceHull


@dataclass(frozen=True)
class Published:
    """A window calculated with PBE and the Materials Project's energies, V against Li/Li+."""

    formula: str
    reduction: float
    oxidation: float


# Zhu, He, Mo, ACS Appl. Mater. Interfaces 2015, 7, 23685 (doi:10.1021/acsami.5b07517), solid electrolytes and the
# binaries that form at their interfaces; corrections of the Materials Project before 2020.
WINDOWS = (
    Published("LiF", 0.0, 6.36),
    Published("LiCl", 0.0, 4.21),
    Published("Li2O", 0.0, 2.90),
    Published("Li2S", 0.0, 2.01),
    Published("Li3N", 0.0, 0.44),
    Published("Li3PS4", 1.71, 2.31),
    Published("Li10GeP2S12", 1.71, 2.14),
    Published("Li4GeS4", 1.62, 2.14),
    Published("Li6PS5Cl", 1.71, 2.01),
    Published("Li3PO4", 0.69, 4.21),
    Published("Li2PO2N", 0.68, 2.63),
    Published("Li7La3Zr2O12", 0.05, 2.91),
)
ELECTRODES = ("Li", "LiCoO2")


def main() -> None:
    """Prints a table of windows and interface energies, their errors and the seconds a material takes."""
    hull = ReferenceHull.shipped()
    errors = []
    began = time.perf_counter()
    for known in WINDOWS:
        phases = hull.known_phases(known.formula)
        height = hull.energy_above_hull(known.formula, hull.energy_of(phases[0])).value if phases else None
        on_hull = -hull.energy_above_hull(known.formula, 0.0).value
        material = Electrochemistry(hull, known.formula, hull.energy_of(phases[0]) if phases else on_hull)
        window = material.window("Li")
        found = (window.reduction.potential, window.oxidation.potential)
        errors += [found[0] - known.reduction, found[1] - known.oxidation]
        interfaces = [material.interface(electrode) for electrode in ELECTRODES]
        told = "not there" if height is None else f"{height:.3f}"
        typer.echo(
            f"| {known.formula} | {told} | {found[0]:.2f} to {found[1]:.2f} "
            f"| {known.reduction:.2f} to {known.oxidation:.2f} | "
            + " | ".join(f"{interface.energy:.3f}" for interface in interfaces)
            + " |"
        )
    size = np.abs(errors)
    typer.echo(
        f"{len(size)} potentials: mean absolute difference {size.mean():.3f} V, largest {size.max():.2f} V, mean "
        f"difference {np.mean(errors):+.3f} V; {(time.perf_counter() - began) / len(WINDOWS):.3f} s per material"
    )


if __name__ == "__main__":
    typer.run(main)
