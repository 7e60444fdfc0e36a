"""The surrogate of kind `gp`: one Gaussian process per property on reduced descriptors, started from priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from materials.archive import Archive
from materials.base import Candidate, Material, Prediction
from materials.properties import property_named
from surrogates.base import FeatureSource, FitReport, Floats, Surrogate, SurrogateSettings
from surrogates.columns import UNKNOWN, Columns
from surrogates.descriptors import DescriptorSettings
from surrogates.prior import HeadPrior, Prior
from surrogates.reduction import Reduction
from surrogates.training_rows import named_fidelity, outcomes_of, rows_of

if TYPE_CHECKING:
    from botorch.models import ModelListGP
    from botorch.posteriors import Posterior
    from torch import Tensor

    from surrogates.fitted_property import FittedProperty
    from surrogates.prior_alone import PriorAlone

OUT_OF_REACH = 1e4
"""An input so far from all data that the model falls back to its prior: for what cannot be described."""


class GaussianProcessSurrogate(Surrogate):
    """See docs/surrogates.md for what is modelled, and for the measurements behind the choices."""

    def __init__(
        self, properties: Sequence[str], features: FeatureSource, priors: Sequence[Prior] = ()
    ) -> None:
        self.wanted = tuple(properties)
        self.priors = {
            name: prior for prior in reversed(priors) for name in prior.properties if name in self.wanted
        }
        self._features = features
        self._forget()

    def _forget(self) -> None:
        from surrogates.feasibility import Feasibility

        self.reduction: Reduction | None = None
        self.fitted: list[FittedProperty] = []
        self.alone: dict[str, PriorAlone] = {}
        self.feasible = Feasibility.without_model([])

    def fit(self, archive: Archive, seed: int) -> None:
        from surrogates.exact_gp import reproducible
        from surrogates.feasibility import Feasibility
        from surrogates.fitted_property import fit_property

        self._forget()
        candidates, succeeded = outcomes_of(archive)
        rows = {name: rows_of(archive, name) for name in self.wanted}
        rows = {name: found for name, found in rows.items() if len(set(found.values)) > 1}
        self.feasible = Feasibility.without_model(succeeded)
        if not rows and len(set(succeeded)) < 2:
            return
        known = [r.candidate for r in archive.values()]
        features = self._describe(known)
        if not _any_described(features):
            return
        self._start_from(known, features)
        with reproducible(seed):
            for name, found in rows.items():
                inputs, named = self.inputs(found.candidates), named_fidelity(archive, name)
                fitted = fit_property(property_named(name), found, inputs, self._columns(name), named, seed)
                if fitted is not None:
                    self.fitted.append(fitted)
            if succeeded:  # prior data alone say nothing about how lines of oracles end
                self.feasible = Feasibility.fit(*_described(self._reduced(candidates), succeeded))

    def _start_from(self, candidates: Sequence[Candidate], features: Floats) -> None:
        """Fixes the reduction, and what each prior alone tells, by candidates and their descriptors."""
        from surrogates.prior_alone import PriorAlone

        self.reduction = Reduction.fit(features)
        materials = [c.material for c in candidates]
        for name in self.priors:
            found = PriorAlone.of(name, self._columns(name), self._ask(name, materials, features))
            if found is not None:
                self.alone[name] = found

    @property
    def modelled(self) -> list[FittedProperty | PriorAlone]:
        """The model of each property that has one: what is fitted, else its prior alone."""
        found: dict[str, FittedProperty | PriorAlone] = {**self.alone}
        found |= {one.name: one for one in self.fitted}
        return [found[name] for name in self.wanted if name in found]

    @property
    def properties(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.modelled)

    @property
    def reports(self) -> tuple[FitReport, ...]:
        return tuple(one.report for one in self.modelled)

    def inputs(self, candidates: Sequence[Candidate]) -> Tensor:
        """[n, k], float64; a row of NaN where the candidate cannot be described. See `Columns` for their meaning.

        Before `fit` has anything to go by, the reduction is fitted on the first candidates asked about.
        """
        import torch

        features = self._describe(candidates)
        if self.reduction is None and _any_described(features):
            self._start_from(candidates, features)
        reduced = self._reduce(features)
        known = reduced.isfinite().all(dim=1)
        materials = [c.material for c in candidates]
        columns = [torch.from_numpy(self._ask(name, materials, features)) for name in self.priors]
        level = torch.zeros(len(candidates), 1, dtype=torch.float64)
        return torch.cat([reduced, *columns, level], dim=1).where(known[:, None], torch.nan)

    def _ask(self, name: str, materials: Sequence[Material], features: Floats) -> Floats:
        """A prior's mean and standard deviation, [n, 2]; 0 and UNKNOWN where it has no answer."""
        if not materials:
            return np.zeros((0, 2))
        answer = np.stack(self.priors[name].predict(name, materials, features), axis=1)
        return np.where(np.isfinite(answer).all(axis=1, keepdims=True), answer, [0.0, UNKNOWN])

    def _columns(self, name: str) -> Columns:
        assert self.reduction is not None
        dimension = self.reduction.dimension
        place = list(self.priors).index(name) if name in self.priors else None
        return Columns(dimension, None if place is None else dimension + 2 * place)

    def _reduced(self, candidates: Sequence[Candidate]) -> Tensor:
        return self._reduce(self._describe(candidates))

    def _reduce(self, features: Floats) -> Tensor:
        import torch

        if self.reduction is None:
            return torch.full((len(features), 1), torch.nan, dtype=torch.float64)
        if not len(features):
            return torch.zeros(0, self.reduction.dimension, dtype=torch.float64)
        return torch.from_numpy(self.reduction.apply(features))

    @property
    def model(self) -> ModelListGP:
        from botorch.models import ModelListGP

        if not self.modelled:
            raise ValueError(
                "no property has two different measured values yet, or a prior, so there is no model"
            )
        return ModelListGP(*(one.model for one in self.modelled))

    def posterior(self, candidates: Sequence[Candidate]) -> Posterior:
        inputs = self._within_reach(candidates)
        return self.model.posterior(inputs)

    def feasibility(self, candidates: Sequence[Candidate]) -> Floats:
        if self.feasible.model is None:
            return np.full(len(candidates), self.feasible.usual)
        return self.feasible.probability(self._reduced(candidates).nan_to_num(nan=OUT_OF_REACH))

    def predict(self, candidates: Sequence[Candidate]) -> list[tuple[Prediction, ...]]:
        described = self._within_reach(candidates)
        if not self.modelled or not candidates:
            return [() for _ in candidates]
        reduced = self._reduced(candidates)
        columns = []
        for one in self.modelled:
            name, factor = one.name, self.widening.get(one.name, 1.0)
            rows = zip(*one.moments(described), one.distances(reduced), strict=True)
            columns.append([Prediction(name, m, s * factor, d, factor) for m, s, d in rows])
        return list(zip(*columns, strict=True))

    def _within_reach(self, candidates: Sequence[Candidate]) -> Tensor:
        """The inputs, with what cannot be described far from everything and unknown to every prior."""
        import torch

        inputs = self.inputs(candidates)
        far = torch.full_like(inputs[:1], OUT_OF_REACH)
        far[:, -1 - 2 * len(self.priors) :] = torch.tensor([0.0, UNKNOWN] * len(self.priors) + [0.0])
        return inputs.where(inputs.isfinite(), far)

    def _describe(self, candidates: Sequence[Candidate]) -> Floats:
        if not candidates:
            return np.zeros((0, 0))
        return np.asarray(self._features([c.material for c in candidates]), dtype=float)

    def save(self, folder: Path) -> Mapping[str, Path]:
        from surrogates.stored_gp import save

        return save(self, folder)


def _any_described(features: Floats) -> bool:
    return bool(np.isfinite(features).all(axis=1).any())


def _described(inputs: Tensor, succeeded: Sequence[bool]) -> tuple[Tensor, list[bool]]:
    known = inputs.isfinite().all(dim=1)
    return inputs[known], [s for s, k in zip(succeeded, known.tolist(), strict=True) if k]


class GaussianProcessSettings(SurrogateSettings):
    """Gaussian processes on the descriptors of a potential, or on statistics of the chemical formula."""

    kind: Literal["gp"] = "gp"
    descriptor: Literal["sevennet", "composition", "union"] = "union"
    """Learn from features of a SevenNet potential, from the formula alone, or from both."""
    prior: Literal["heads", "none"] = "heads"
    """Start from the pretrained heads where one knows the property (before relax and hull with 7net-0, also from single
    points of the union descriptor), or from nothing."""
    potential: str = Field(default="7net-0", min_length=1)
    """The potential that gives the features: a shipped name or a checkpoint file."""
    sha256: str | None = None
    """The checksum of the checkpoint file; needed for files, because loading one runs its code."""

    @model_validator(mode="after")
    def _descriptor_is_possible(self) -> GaussianProcessSettings:
        # Judged by value, so that a file that spells out every default can be read again.
        defaults = type(self).model_fields
        named = any(getattr(self, key) != defaults[key].default for key in ("potential", "sha256"))
        if self.descriptor == "composition" and named:
            raise ValueError("descriptor: composition uses no potential; leave out potential and sha256")
        return self

    def descriptor_settings(self) -> DescriptorSettings:
        return DescriptorSettings(kind=self.descriptor, potential=self.potential, sha256=self.sha256)

    def build(
        self, properties: Sequence[str], features: FeatureSource, priors: Sequence[Prior] = ()
    ) -> GaussianProcessSurrogate:
        heads = [HeadPrior(self.descriptor_settings())] if self.prior == "heads" else []
        return GaussianProcessSurrogate(properties, features, [*priors, *heads])
