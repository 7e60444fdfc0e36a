"""What a file of weights says of itself, read without its tensors."""

from __future__ import annotations

from pathlib import Path

VERSION = "3"
"""Weights of another version are refused: tokens or layers differ."""


class WeightsError(ValueError):
    """A file that holds no weights of this version."""


def checked_header(file: Path) -> dict[str, str]:
    """The header of weights of this version. Raises WeightsError naming the file."""
    from safetensors import SafetensorError, safe_open

    if file.is_dir():
        raise WeightsError(f"{file}: a folder; name the file in it, {file / 'latent.safetensors'}")
    try:
        with safe_open(file, framework="numpy") as handle:
            about = dict(handle.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file}: no weights of the latent generator ({error})") from error
    if "scales" not in about:
        raise WeightsError(f"{file}: weights of something else; name what generators.latent.train wrote")
    if about.get("version") != VERSION:
        raise WeightsError(
            f"{file}: weights of version {about.get('version', 'unknown')}, but this is version {VERSION}; "
            "train them again with python -m generators.latent.train"
        )
    return about
