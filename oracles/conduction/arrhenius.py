"""Arrhenius' law through diffusivities at several temperatures, and the conductivity that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from materials.base import Measurement
from materials.properties import property_named
from oracles.conduction.diffusion import Diffusion
from oracles.conduction.simulation_cell import SimulationCell
from oracles.conduction.trajectory import Floats

BOLTZMANN = 8.617333262e-5  # eV/K
COULOMBS_PER_CHARGE = 1.602176634e-19
CUBIC_CENTIMETRE = 1e-24  # in one cubic angstrom
DRAWS = 4000


@dataclass(frozen=True)
class Arrhenius:
    """ln D = intercept - activation_energy / kT. draws: [DRAWS, 2] of (intercept, activation energy in eV) about it.

    misfit: reduced chi-squared. Where it is above 1 the points do not lie on a line as they should, and the draws are
    spread by its root (Birge).
    """

    intercept: float
    activation_energy: float
    draws: Floats
    misfit: float

    @property
    def activation_energy_std(self) -> float:
        """eV."""
        return float(self.draws[:, 1].std(ddof=1))

    def log_diffusivity(self, temperature: float) -> tuple[float, float]:
        """Value and standard deviation of ln(D / (cm^2/s)) at a temperature in K."""
        row = np.array([1.0, -1 / (BOLTZMANN * temperature)])
        value = float(row @ (self.intercept, self.activation_energy))
        return value, float((self.draws @ row).std(ddof=1))


def arrhenius(points: Sequence[Diffusion], seed: int) -> Arrhenius:
    """The weighted fit to at least three temperatures; its error by drawing each diffusivity from its posterior."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([point.log_samples(rng, DRAWS) for point in points], axis=1)
    values = np.log([point.diffusivity for point in points])
    weights = 1 / drawn.var(axis=0, ddof=1)
    rows = np.array([[1.0, -1 / (BOLTZMANN * point.temperature)] for point in points])
    solve = np.linalg.solve(rows.T @ (weights[:, None] * rows), rows.T * weights)
    best = solve @ values
    misfit = float((weights * (values - rows @ best) ** 2).sum() / (len(points) - 2))
    around = (drawn - drawn.mean(axis=0)) @ solve.T * math.sqrt(max(1.0, misfit))
    return Arrhenius(float(best[0]), float(best[1]), best + around, misfit)


def log_conductivity(
    log_diffusivity: float, ions_per_volume: float, charge: float, temperature: float
) -> float:
    """log10 of the conductivity in S/cm by the Nernst-Einstein relation, at a Haven ratio of 1.

    log_diffusivity: ln(D / (cm^2/s)); ions_per_volume: 1/angstrom^3; charge: elementary charges; temperature: K.
    """
    carriers = ions_per_volume / CUBIC_CENTIMETRE
    # One elementary charge cancels against that of the electronvolt in kT.
    factor = carriers * charge**2 * COULOMBS_PER_CHARGE / (BOLTZMANN * temperature)
    return (log_diffusivity + math.log(factor)) / math.log(10)


def conduction(
    law: Arrhenius, cell: SimulationCell, temperature: float, fidelity: str, oracle: str
) -> Iterator[Measurement]:
    """Diffusivity and conductivity of the cell's mobile ions at a temperature (K), and their activation energy."""
    value, std = law.log_diffusivity(temperature)
    ions_per_volume = len(cell.mobile) / float(cell.structure.volume)
    conductivity = log_conductivity(value, ions_per_volume, cell.charge, temperature)
    at = {"temperature": temperature}
    for name, number, error, conditions in (
        ("diffusivity", math.exp(value), math.exp(value) * std, at),
        ("activation_energy", law.activation_energy, law.activation_energy_std, {}),
        ("log_ionic_conductivity", conductivity, std / math.log(10), at),
    ):
        yield Measurement(
            property=name,
            value=number,
            unit=property_named(name).unit,
            fidelity=fidelity,
            oracle=oracle,
            std=error,
            conditions=conditions,
        )
