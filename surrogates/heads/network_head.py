"""What all heads made of an ensemble share: predicting, calibrating, and files without pickle."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from materials.base import Material
from surrogates.heads.base import Head, HeadPrediction
from surrogates.heads.ensemble import Ensemble, Training, train
from surrogates.heads.files import part_of, read_weights
from surrogates.heads.laplace import LaplaceMixture, widening
from surrogates.heads.neighbourhood import Neighbourhood

Floats = npt.NDArray[np.float64]
FORMAT = "matloop-head-1"
SMALLEST_SCALE = 1e-3
"""Of a Laplace distribution, in the property's unit."""
CHUNK = 4096


class NetworkHead(Head):
    """An ensemble whose members give a median, a scale and, for some properties, more.

    widening: the factor that gives the 90 % intervals their coverage on formulas held out from training.
    """

    outputs: ClassVar[int] = 2

    def __init__(
        self,
        ensemble: Ensemble,
        neighbourhood: Neighbourhood,
        descriptor: str,
        widening: float = 1.0,
        own: Mapping[str, Floats] | None = None,
    ) -> None:
        self.ensemble = ensemble
        self.neighbourhood = neighbourhood
        self.descriptor = descriptor
        self.widening = widening
        self.own = dict(own or {})

    @staticmethod
    @abstractmethod
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        """What training makes small: outputs [n, o], labels [n, 1]."""

    def mixture(self, outputs: Floats) -> LaplaceMixture:
        """The members' outputs [members, n, o] as one distribution of the residual."""
        return LaplaceMixture(outputs[..., 0], scales(outputs[..., 1]), np.zeros(outputs.shape[1]))

    def base(self, materials: Sequence[Material], descriptors: Floats) -> Floats:
        """[n], what is known without the ensemble, to which it gives the residual."""
        return np.zeros(len(materials))

    @classmethod
    def own_arrays(
        cls, materials: Sequence[Material], descriptors: Floats, values: Floats
    ) -> Mapping[str, Floats]:
        """What `base` needs, from the training data."""
        return {}

    @classmethod
    def fit(
        cls,
        materials: Sequence[Material],
        descriptors: Floats,
        values: Floats,
        descriptor: str,
        how: Training,
        seed: int,
        device: str = "cpu",
    ) -> Self:
        """Trained on n materials, their descriptors [n, d] and values [n]; not calibrated yet."""
        own = cls.own_arrays(materials, descriptors, values)
        neighbourhood = Neighbourhood.of(descriptors, seed)
        head = cls(Ensemble(1, 1, (1,), 1), neighbourhood, descriptor, own=own)
        residual = torch.tensor(values - head.base(materials, descriptors), dtype=torch.float32)[:, None]
        rows = torch.tensor(descriptors, dtype=torch.float32)
        head.ensemble = train(rows, residual, cls.outputs, cls.loss, how, seed, device)
        return head

    def calibrate(self, materials: Sequence[Material], descriptors: Floats, values: Floats) -> None:
        """Sets `widening` by materials that were not trained on."""
        self.widening = 1.0
        mixture, base = self.distribution(materials, descriptors)
        self.widening = widening(mixture, values - base)

    def distribution(
        self, materials: Sequence[Material], descriptors: Floats
    ) -> tuple[LaplaceMixture, Floats]:
        """The distribution of the residual, and the base [n] to add to it."""
        rows = torch.tensor(descriptors, dtype=torch.float32)
        with torch.no_grad():
            parts = [self.ensemble(part) for part in torch.split(rows, CHUNK)]
        outputs = torch.cat(parts, dim=1).double().numpy()
        return self.mixture(outputs).widened(self.widening), self.base(materials, descriptors)

    def predict(self, materials: Sequence[Material], descriptors: Floats) -> HeadPrediction:
        known = np.asarray(np.isfinite(descriptors).all(axis=1), dtype=bool)
        value, std, low, high, distance = np.full((5, len(materials)), np.nan)
        extras: dict[str, Floats] = {}
        if known.any():
            described = [material for material, row in zip(materials, known, strict=True) if row]
            mixture, base = self.distribution(described, descriptors[known])
            value[known], std[known] = base + mixture.quantile(0.5), mixture.std
            low[known], high[known] = base + mixture.quantile(0.05), base + mixture.quantile(0.95)
            distance[known] = self.neighbourhood.distance(descriptors[known])
            for name, values in self.further(mixture).items():
                extras[name] = np.full(len(materials), np.nan)
                extras[name][known] = values
        return HeadPrediction(value, std, low, high, distance, extras)

    def further(self, mixture: LaplaceMixture) -> Mapping[str, Floats]:
        """Columns beside the usual ones."""
        return {}

    def save(self, path: Path) -> None:
        """Writes one safetensors file; weights in half precision."""
        from safetensors.torch import save_file

        tensors = {f"ensemble.{k}": v.half().contiguous() for k, v in self.ensemble.state_dict().items()}
        # The spreads of some descriptors are beyond half precision.
        tensors |= {f"ensemble.{k}": getattr(self.ensemble, k).float() for k in ("center", "scale")}
        arrays = {f"neighbourhood.{k}": v for k, v in self.neighbourhood.arrays().items()}
        arrays |= {f"own.{k}": v for k, v in self.own.items()}
        tensors |= {k: torch.tensor(np.ascontiguousarray(v), dtype=torch.float32) for k, v in arrays.items()}
        about = {
            "format": FORMAT,
            "property": self.property,
            "descriptor": self.descriptor,
            "widening": repr(self.widening),
            "shape": json.dumps(self.ensemble.shape),
        }
        save_file(tensors, str(path), metadata=about)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of `save`. Raises HeadError for a file that does not hold this head."""
        about, arrays = read_weights(path, FORMAT, cls.property)
        ensemble = Ensemble(**json.loads(about["shape"]))
        weights = {k: torch.tensor(np.asarray(v, np.float32)) for k, v in part_of(arrays, "ensemble").items()}
        ensemble.load_state_dict(weights)
        near, own = (
            {k: np.asarray(v, float) for k, v in part_of(arrays, name).items()}
            for name in ("neighbourhood", "own")
        )
        neighbourhood = Neighbourhood.from_arrays(near)
        return cls(ensemble.eval(), neighbourhood, about["descriptor"], float(about["widening"]), own)


def scales(outputs: Floats) -> Floats:
    """Positive scales from any outputs."""
    return np.asarray(np.logaddexp(0.0, outputs) + SMALLEST_SCALE)


def laplace_loss(medians: Tensor, raw_scales: Tensor, labels: Tensor) -> Tensor:
    """[n], the negative log likelihood of labels under Laplace distributions, in nats, without its constant."""
    scale = torch.nn.functional.softplus(raw_scales) + SMALLEST_SCALE
    return (labels - medians).abs() / scale + scale.log()
