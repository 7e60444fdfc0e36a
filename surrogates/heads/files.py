"""Weights in safetensors: arrays and a few words about them, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surrogates.heads.base import HeadError

Arrays = Mapping[str, npt.NDArray[np.generic]]


def read_weights(path: Path, wanted_format: str, wanted_property: str) -> tuple[Mapping[str, str], Arrays]:
    """(metadata, arrays) of a file. Raises HeadError where it cannot be read or holds something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as opened:
            about = opened.metadata() or {}
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise HeadError(
            f"{path}: not a readable safetensors file ({error}); install matloop again"
        ) from error
    if about.get("format") != wanted_format or about.get("property") != wanted_property:
        found = f"{about.get('format')}, {about.get('property')}"
        raise HeadError(
            f"{path}: holds {found}, where {wanted_format}, {wanted_property} is needed; it was made by another "
            "version of matloop, so train it anew or install that version"
        )
    return about, arrays


def part_of(arrays: Arrays, name: str) -> Arrays:
    """The arrays whose keys begin with `name` and a dot, without that beginning."""
    return {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}
