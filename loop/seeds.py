"""Seeds that follow from (campaign seed, round, step), so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derived_seed(seed: int, round_number: int, step: str) -> int:
    """A 63-bit seed for one step of one round, independent of every other step's."""
    digest = hashlib.sha256(f"{seed}/{round_number}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derived_rng(seed: int, round_number: int, step: str) -> np.random.Generator:
    """A numpy generator started from `derived_seed`."""
    import numpy as np

    return np.random.default_rng(derived_seed(seed, round_number, step))
