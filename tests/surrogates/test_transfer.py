"""Gaussian processes that start from a prior and learn from several fidelities, through the surrogate's door."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from hypothesis import given, settings
from hypothesis import strategies as st
from line_of_points import Line, measurement

from materials.archive import Archive
from materials.base import Composition, Material
from materials.goals import Objective
from surrogates import fitted_property
from surrogates.descriptors import DescriptorSettings
from surrogates.gaussian_process import GaussianProcessSettings, GaussianProcessSurrogate
from surrogates.heads.shipped import shipped_descriptor, shipped_head
from surrogates.prior import Floats, HeadPrior, Prior
from surrogates.stored_gp import load

X = np.linspace(0.0, 20.0, 60)
TRUTH = 3 + np.sin(1.7 * X) + 0.1 * X


class Formula(Prior):
    """Says a function of the first descriptor."""

    def __init__(self, function, std: float = 0.3) -> None:
        self.function, self.std = function, std

    @property
    def properties(self) -> tuple[str, ...]:
        return ("band_gap",)

    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        mean = self.function(descriptors[:, 0])
        return mean, np.full(len(mean), self.std)


GOOD = Formula(lambda x: 3 + np.sin(1.7 * x) + 0.1 * x + 0.2 * np.sin(x))
BIASED = Formula(lambda x: 0.7 * (3 + np.sin(1.7 * x) + 0.1 * x) - 1)
USELESS = Formula(lambda x: 3 + np.sin(911 * x))


def fitted(points: Line, archive: Archive, *priors: Prior) -> GaussianProcessSurrogate:
    plain = GaussianProcessSettings(descriptor="composition", prior="none")
    surrogate = plain.build(("band_gap",), points.source(), priors)
    surrogate.fit(archive, seed=0)
    return surrogate


def rows(points: Line, chosen: Sequence[int], values: np.ndarray, fidelity: str = "HSE"):
    return {i: measurement("band_gap", float(values[i]), fidelity=fidelity) for i in chosen}


def archive_of(points: Line, *parts) -> Archive:
    indices = sorted({i for part in parts for i in part})
    records = [points.measured(i, *(part[i] for part in parts if i in part)) for i in indices]
    return Archive(records, [Objective("band_gap", "maximize", fidelity="HSE")])


def error(surrogate: GaussianProcessSurrogate, points: Line) -> float:
    means = np.array([row[0].mean for row in surrogate.predict(points.candidates)])
    return float(np.abs(means - TRUTH).mean())


@settings(max_examples=5, deadline=None)
@given(st.sets(st.integers(0, 59), min_size=5, max_size=9))
def test_a_good_prior_helps_and_a_biased_one_is_corrected(chosen):
    points = Line(X)
    archive = archive_of(points, rows(points, sorted(chosen), TRUTH))
    without = error(fitted(points, archive), points)
    assert error(fitted(points, archive, GOOD), points) < 0.25
    assert error(fitted(points, archive, GOOD), points) < without
    assert error(fitted(points, archive, BIASED), points) < 0.8  # the prior alone is off by 2.2


def test_a_useless_prior_is_overruled_by_data():
    points = Line(X)
    archive = archive_of(points, rows(points, range(0, 60, 2), TRUTH))
    assert error(fitted(points, archive, USELESS), points) < error(fitted(points, archive), points) + 0.3


def test_a_few_rows_do_not_overrule_a_prior_by_chance():
    points = Line(X)
    rough = Formula(lambda x: 3 + np.sin(1.7 * x) + 0.1 * x + np.sin(911 * x), std=0.8)
    for seed in range(6):
        chosen = sorted(np.random.default_rng(seed).permutation(60)[:6].tolist())
        (report,) = fitted(points, archive_of(points, rows(points, chosen, TRUTH)), rough).reports
        assert "left out" not in " ".join(report.fallbacks)


@settings(max_examples=4, deadline=None)
@given(st.sets(st.integers(0, 59), min_size=5, max_size=7))
def test_cheap_rows_help_where_they_follow_the_dear_ones(chosen):
    points = Line(X)
    dear = rows(points, sorted(chosen), TRUTH)
    related = rows(points, range(60), 0.7 * TRUTH - 1, "PBE")
    alone = error(fitted(points, archive_of(points, dear)), points)
    assert error(fitted(points, archive_of(points, dear, related)), points) < min(alone, 0.5)


def test_cheap_rows_that_tell_nothing_do_little_harm_on_average():
    # Any five values agree with noise by chance now and then, so one draw proves nothing.
    points = Line(X)
    harm = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        dear = rows(points, sorted(rng.permutation(60)[:10].tolist()), TRUTH)
        unrelated = rows(points, range(60), rng.normal(size=60), "PBE")
        alone = error(fitted(points, archive_of(points, dear)), points)
        harm.append(error(fitted(points, archive_of(points, dear, unrelated)), points) - alone)
    assert np.mean(harm) < 0.1


def test_the_report_tells_of_prior_and_fidelities():
    points = Line(X)
    parts = rows(points, range(0, 60, 6), TRUTH), rows(points, range(60), TRUTH - 1, "PBE")
    report = fitted(points, archive_of(points, *parts), GOOD).reports[0]
    assert report.rows == 70
    assert "on a prior" in report.model
    assert "slope" in report.model
    assert "HSE informed by PBE" in report.model


@pytest.mark.parametrize("exact", [4000, 40])
def test_saved_sampled_and_acquired_exact_or_sparse(monkeypatch, tmp_path, exact):
    monkeypatch.setattr(fitted_property, "HYPERPARAMETER_ROWS", 30)
    monkeypatch.setattr(fitted_property, "INDUCING_ROWS", 25)
    monkeypatch.setattr(fitted_property, "EXACT_ROWS", exact)
    points = Line(X)
    parts = rows(points, range(0, 60, 3), TRUTH), rows(points, range(0, 60, 2), TRUTH - 1, "PBE")
    surrogate = fitted(points, archive_of(points, *parts), GOOD)
    assert ("sparse" in surrogate.reports[0].model) == (exact == 40)
    assert error(surrogate, points) < 0.2
    inputs = surrogate.inputs(points.candidates)
    assert surrogate.posterior(points.candidates).rsample(torch.Size([4])).isfinite().all()
    assert qLogNoisyExpectedImprovement(surrogate.model, inputs[::4])(inputs[1:2]).isfinite().all()
    surrogate.save(tmp_path)
    again = load(tmp_path, points.source(), [GOOD])
    assert again.reports == surrogate.reports
    before, after = ([r[0].mean for r in s.predict(points.candidates)] for s in (surrogate, again))
    np.testing.assert_allclose(after, before, rtol=1e-7)
    with pytest.raises(ValueError, match="give it the priors it was fitted with"):
        load(tmp_path, points.source())


def test_what_no_prior_knows_and_what_cannot_be_described_is_predicted_all_the_same():
    x = X.copy()
    x[3] = np.nan
    points = Line(x)
    prior = Formula(lambda x: np.where(x > 10, np.nan, 3 + np.sin(1.7 * x) + 0.1 * x))
    surrogate = fitted(points, archive_of(points, rows(points, range(0, 60, 2), TRUTH)), prior)
    predicted = [row[0] for row in surrogate.predict(points.candidates)]
    assert np.isfinite([(p.mean, p.std) for p in predicted]).all()
    assert predicted[45].std > 2 * predicted[5].std
    assert surrogate.inputs(points.candidates).isfinite().all(dim=1).tolist() == [i != 3 for i in range(60)]


def test_heads_judge_formulas_where_the_descriptor_is_not_theirs():
    formulas = [Composition("LiF"), Composition("Cu3Au")]
    mean, std = HeadPrior(DescriptorSettings(kind="composition")).predict(
        "band_gap", formulas, np.zeros((2, 1))
    )
    head = shipped_head("band_gap", "composition")
    described = shipped_descriptor("composition").describe(formulas).astype(float)
    np.testing.assert_allclose(mean, head.predict(formulas, described).value)
    assert mean[0] > 5 > 1 > mean[1]
    assert (std > 0).all()
