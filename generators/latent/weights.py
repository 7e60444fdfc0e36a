"""The generator's weights: one file of tensors, with all that is needed to read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from generators.latent.asking import Scale
from generators.latent.autoencoder import Autoencoder
from generators.latent.foreteller import Foreteller
from generators.latent.header import VERSION, WeightsError, checked_header
from generators.latent.model import Shape
from materials.files import whole

__all__ = ["SHIPPED", "Model", "WeightsError", "begun", "load", "new_model", "save", "seeded"]

SHIPPED = Path(__file__).parent / "weights" / "latent.safetensors"
SHARED, SHARED_WITH = "decoder.positions.", "encoder.positions."
"""Encoder and decoder embed positions alike; one of the two is written."""
FORETELLER = "foreteller."


@dataclass(frozen=True)
class Model:
    """The autoencoder, the properties it knows, what foretells them, and what the weights were trained on."""

    autoencoder: Autoencoder
    foreteller: Foreteller
    scales: tuple[Scale, ...]
    told: dict[str, str] = field(default_factory=dict)


def new_model(shape: Shape, scales: Sequence[Scale]) -> Model:
    """Untrained."""
    return Model(Autoencoder(shape, len(scales)), Foreteller(len(scales)), tuple(scales))


def save(model: Model, file: Path) -> None:
    """Writes the weights in half precision, whole or not at all."""
    tensors = model.autoencoder.state_dict()
    tensors |= {FORETELLER + k: v for k, v in model.foreteller.state_dict().items()}
    distinct = {k: v.half().clone().contiguous() for k, v in tensors.items() if not k.startswith(SHARED)}
    about = {
        "version": VERSION,
        "shape": json.dumps(asdict(model.autoencoder.shape)),
        "scales": json.dumps([asdict(scale) for scale in model.scales]),
        "told": json.dumps(model.told),
    }
    with whole(file) as partial:
        save_file(distinct, partial, metadata=about)
        partial.chmod(0o644)  # safetensors writes for the owner alone


def load(file: Path) -> Model:
    """Reads what `save` wrote. Raises WeightsError naming the file."""
    about = checked_header(file)
    with safe_open(file, framework="pt") as handle:
        held = {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118  # no mapping
    scales = tuple(Scale(**scale) for scale in json.loads(about["scales"]))
    model = new_model(Shape(**json.loads(about["shape"])), scales)
    shared = {k.replace("encoder.", "decoder.", 1): v for k, v in held.items() if k.startswith(SHARED_WITH)}
    foretelling = {k.removeprefix(FORETELLER): held.pop(k) for k in list(held) if k.startswith(FORETELLER)}
    model.autoencoder.load_state_dict(held | shared)
    model.foreteller.load_state_dict(foretelling)
    model.autoencoder.eval()
    model.foreteller.eval()
    return replace(model, told=json.loads(about["told"]))


def begun(scales: Sequence[Scale], start: Path | None, seed: int, dropout: float) -> Model:
    """A model to train: untrained, or with the weights of another with as many properties. Raises WeightsError."""
    torch.manual_seed(seed)
    model = new_model(Shape(dropout=dropout), scales)
    if start is None:
        return model
    other = load(start)
    if len(other.scales) != len(scales):
        known = ", ".join(scale.name for scale in other.scales) or "no property"
        raise WeightsError(f"{start}: knows {known}; name as many properties, in the same order")
    model.autoencoder.load_state_dict(other.autoencoder.state_dict())
    return model


def seeded(seed: int) -> torch.Generator:
    """A generator of random numbers of its own."""
    return torch.Generator().manual_seed(seed)
