"""What the columns of a model's inputs mean."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = -1.0
"""Stands in a prior's column of standard deviations where the prior has no answer."""


@dataclass(frozen=True)
class Columns:
    """One property's view of inputs [n, k]: descriptors first, then the priors' columns, the level last.

    descriptors: how many columns the kernel compares. prior: the column of the prior's mean in the property's unit, its
    standard deviation in the next one, UNKNOWN where it has no answer; None without a prior. levels: how many
    fidelities there are; the last column of the inputs says which, 0 for the one that counts.
    """

    descriptors: int
    prior: int | None = None
    levels: int = 1
