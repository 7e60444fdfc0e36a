"""The generator's weights: one file of tensors, with all that is needed to read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from generators.latent.asking import Scale
from generators.latent.autoencoder import Autoencoder
from generators.latent.flow import Flow
from generators.latent.model import Shape

SHIPPED = Path(__file__).parent / "weights" / "latent.safetensors"
VERSION = "1"
"""Weights of another version are refused: tokens or layers differ."""


class WeightsError(ValueError):
    """A file that holds no weights of this version."""


@dataclass(frozen=True)
class Model:
    """Autoencoder and flow, the properties the flow knows, and what the weights were trained on."""

    autoencoder: Autoencoder
    flow: Flow
    scales: tuple[Scale, ...]
    told: dict[str, str] = field(default_factory=dict)


def new_model(shape: Shape, scales: Sequence[Scale]) -> Model:
    """Untrained."""
    return Model(Autoencoder(shape), Flow(shape.latent, len(scales)), tuple(scales))


def save(model: Model, file: Path) -> None:
    """Writes the weights in half precision, whole or not at all."""
    tensors = {f"autoencoder.{k}": v for k, v in model.autoencoder.state_dict().items()}
    tensors |= {f"flow.{k}": v for k, v in model.flow.state_dict().items()}
    distinct = {
        k: v.half().clone().contiguous() for k, v in tensors.items() if ".decoder.positions." not in k
    }
    about = {
        "version": VERSION,
        "shape": json.dumps(asdict(model.autoencoder.shape)),
        "scales": json.dumps([asdict(scale) for scale in model.scales]),
        "told": json.dumps(model.told),
    }
    partial = file.with_name(file.name + ".part")
    save_file(distinct, partial, metadata=about)
    partial.replace(file)


def load(file: Path) -> Model:
    """Reads what `save` wrote. Raises WeightsError naming the file."""
    try:
        with safe_open(file, framework="pt") as handle:
            about = handle.metadata() or {}
            held = {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{file}: no weights of the latent generator ({error})") from error
    if about.get("version") != VERSION:
        raise WeightsError(
            f"{file}: weights of version {about.get('version', 'unknown')}, but this is version {VERSION}; "
            "train them again with python -m generators.latent.train"
        )
    scales = tuple(Scale(**scale) for scale in json.loads(about["scales"]))
    model = new_model(Shape(**json.loads(about["shape"])), scales)
    for name, part in (("autoencoder", model.autoencoder), ("flow", model.flow)):
        mine = {k.removeprefix(f"{name}."): v for k, v in held.items() if k.startswith(f"{name}.")}
        mine |= {
            k.replace("encoder.", "decoder.", 1): v
            for k, v in mine.items()
            if k.startswith("encoder.positions.")
        }
        part.load_state_dict(mine)
        part.eval()
    return Model(model.autoencoder, model.flow, scales, json.loads(about["told"]))


def number_of_parameters(model: Model) -> int:
    """Of both networks, shared ones once."""
    found = {id(p): p.numel() for part in (model.autoencoder, model.flow) for p in part.parameters()}
    return sum(found.values())


def seeded(seed: int) -> torch.Generator:
    """A generator of random numbers of its own."""
    return torch.Generator().manual_seed(seed)
