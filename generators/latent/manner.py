"""How crystals are drawn: the values that the command and the campaign share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """guidance: how strictly wished properties are obeyed (1: as learned). The rest: how freely choices are made.

    temperature: of groups, positions and elements, 0 takes the likeliest; nucleus: of these only the likeliest choices
    that together hold this share (Holtzman et al., arXiv:1904.09751); coordinate_temperature: of coordinates. A high
    temperature under a small nucleus brings what is unusual without what is absurd: of (1.2, 0.8), (1.2, 0.9),
    (1.0, 0.9), (1.0, 1.0), (0.8, 1.0), the first had the most new, stable and possible crystals.
    """

    guidance: float = 1.0
    temperature: float = 1.2
    nucleus: float = 0.8
    coordinate_temperature: float = 0.3


AIMED = Manner(temperature=0.8, nucleus=0.9)
"""Where a property is asked for: closer to what is usual, since what is unusual is seldom what was asked for."""
