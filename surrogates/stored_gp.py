"""Writes a fitted surrogate of kind `gp` as safetensors and JSON, and reads it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from surrogates.base import FeatureSource, FitReport
from surrogates.columns import Columns
from surrogates.exact_gp import reproducible
from surrogates.feasibility import Feasibility
from surrogates.fitted_property import FittedProperty, PropertyData
from surrogates.prior import Prior
from surrogates.prior_alone import PriorAlone
from surrogates.reduction import Reduction

if TYPE_CHECKING:
    from surrogates.gaussian_process import GaussianProcessSurrogate

WEIGHTS = "surrogate.safetensors"
DESCRIPTION = "surrogate.json"
FORMAT = 3


def save(surrogate: GaussianProcessSurrogate, folder: Path) -> Mapping[str, Path]:
    """Writes both files into `folder`; training rows are kept, because an exact GP is made of them."""
    tensors: dict[str, Tensor] = {}
    if surrogate.reduction is not None:
        for name, array in surrogate.reduction.arrays().items():
            tensors[f"reduction/{name}"] = torch.from_numpy(np.ascontiguousarray(array))
    for i, one in enumerate(surrogate.fitted):
        data = one.data
        rows = {"inputs": data.inputs, "values": data.values, "variances": data.variances}
        tensors |= {f"property/{i}/rows/{name}": rows[name] for name in rows}
        tensors |= {f"property/{i}/state/{name}": t for name, t in one.model.state_dict().items()}
    feasible = surrogate.feasible
    tensors |= {"feasibility/rows/inputs": feasible.inputs, "feasibility/rows/labels": feasible.labels}
    state = {} if feasible.model is None else feasible.model.state_dict()
    tensors |= {f"feasibility/state/{name}": t for name, t in state.items()}
    description = {
        "format": FORMAT,
        "wanted": surrogate.wanted,
        "priors": list(surrogate.priors),
        "priors_alone": [asdict(one) for one in surrogate.alone.values()],
        "properties": [
            {
                "log_offset": f.data.log_offset,
                "columns": asdict(f.data.columns),
                "report": asdict(f.report),
            }
            for f in surrogate.fitted
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights, text = folder / WEIGHTS, folder / DESCRIPTION
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, weights)
    text.write_text(json.dumps(description, indent=1))
    return {"surrogate": weights, "surrogate_description": text}


def load(folder: Path, features: FeatureSource, priors: Sequence[Prior] = ()) -> GaussianProcessSurrogate:
    """The surrogate that `save` wrote; `features` and `priors` must give the same answers as then."""
    from surrogates.gaussian_process import GaussianProcessSurrogate

    description = json.loads((folder / DESCRIPTION).read_text())
    if description["format"] != FORMAT:
        raise ValueError(
            f"{folder / DESCRIPTION}: format {description['format']} is not {FORMAT}; fit it again"
        )
    tensors = load_file(folder / WEIGHTS)
    surrogate = GaussianProcessSurrogate(description["wanted"], features, priors)
    if list(surrogate.priors) != description["priors"]:
        raise ValueError(
            f"{folder / DESCRIPTION}: made with priors for {', '.join(description['priors']) or 'nothing'}, "
            f"but those given know {', '.join(surrogate.priors) or 'nothing'}; give it the priors it was fitted with"
        )
    reduction = _under(tensors, "reduction/")
    if reduction:
        surrogate.reduction = Reduction.from_arrays({name: t.numpy() for name, t in reduction.items()})
    for entry in description["priors_alone"]:
        columns, usual = Columns(**entry["columns"]), tuple(entry["usual"])
        surrogate.alone[entry["name"]] = PriorAlone(entry["name"], columns, usual)
    with reproducible(seed=0):
        for i, entry in enumerate(description["properties"]):
            surrogate.fitted.append(_fitted(_under(tensors, f"property/{i}/"), entry))
        surrogate.feasible = _feasibility(_under(tensors, "feasibility/"))
    return surrogate


def _fitted(tensors: Mapping[str, Tensor], entry: Mapping[str, Any]) -> FittedProperty:
    written = entry["report"]
    report = FitReport(**{**written, "fallbacks": tuple(written["fallbacks"])})
    columns = Columns(**entry["columns"])
    rows = _under(tensors, "rows/")
    data = PropertyData(report.property, **rows, columns=columns, log_offset=entry["log_offset"])
    model = data.unfitted()
    model.load_state_dict(_under(tensors, "state/"))
    return FittedProperty(data, model.eval(), report)


def _feasibility(tensors: Mapping[str, Tensor]) -> Feasibility:
    rows = _under(tensors, "rows/")
    return Feasibility.restored(rows["inputs"], rows["labels"], _under(tensors, "state/"))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
