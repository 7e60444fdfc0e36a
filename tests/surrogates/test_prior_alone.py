"""A property with a prior before two different values of it are measured, through the surrogate's door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from line_of_points import Line, measurement

from materials.archive import Archive
from materials.base import Material
from surrogates.gaussian_process import GaussianProcessSettings, GaussianProcessSurrogate
from surrogates.prior import Floats, Prior
from surrogates.stored_gp import load

X = np.linspace(0.0, 6.0, 25)
SETTINGS = GaussianProcessSettings(descriptor="composition", prior="none")


class Told(Prior):
    """Knows the gap and the energy above the hull up to x = 5."""

    @property
    def properties(self) -> tuple[str, ...]:
        return ("energy_above_hull", "band_gap")

    def predict(self, name: str, materials: Sequence[Material], descriptors: Floats) -> tuple[Floats, Floats]:
        x = descriptors[:, 0]
        mean = np.where(x > 5, np.nan, x**2 if name == "band_gap" else -x)
        return mean, np.where(x > 5, np.nan, 0.1 + x)


def fitted(points: Line, archive: Archive, *names: str) -> GaussianProcessSurrogate:
    surrogate = SETTINGS.build(names, points.source(), [Told()])
    surrogate.fit(archive, seed=0)
    return surrogate


@pytest.mark.parametrize("measured", [[], [2.0], [2.0, 2.0]])
def test_it_says_what_the_prior_says_until_two_different_values_are_measured(measured: list[float]) -> None:
    points = Line(X)
    surrogate = fitted(points, points.archive("band_gap", measured), "band_gap", "average_voltage")
    known = [c for c, x in zip(points.candidates, X, strict=True) if x <= 5]
    predicted = [row[0] for row in surrogate.predict(known)]
    assert surrogate.properties == ("band_gap",)
    np.testing.assert_allclose([p.mean for p in predicted], X[X <= 5] ** 2)
    np.testing.assert_allclose([p.std for p in predicted], 0.1 + X[X <= 5])
    assert {p.distance for p in predicted} == {None}
    (report,) = surrogate.reports
    assert (report.property, report.rows) == ("band_gap", 0)
    assert "prior alone" in report.model


def test_two_different_values_make_it_a_gaussian_process() -> None:
    points = Line(X)
    surrogate = fitted(points, points.archive("band_gap", [2.0, 2.1]), "band_gap")
    assert surrogate.properties == ("band_gap",)
    assert surrogate.reports[0].rows == 2


def test_where_the_prior_has_no_answer_it_says_what_is_usual() -> None:
    points = Line([*X[:5], 5.5, np.nan])
    surrogate = fitted(points, Archive([]), "band_gap")
    predicted = [row[0] for row in surrogate.predict(points.candidates)]
    mean, std = X[:5] ** 2, 0.1 + X[:5]
    for p in predicted[5:]:
        assert p.mean == pytest.approx(mean.mean())
        assert p.std == pytest.approx(np.sqrt(mean.var() + (std**2).mean()))


def test_a_prior_that_knows_none_of_the_candidates_makes_no_model() -> None:
    points = Line([5.5, 5.7])
    surrogate = fitted(points, Archive([]), "band_gap")
    assert surrogate.predict(points.candidates) == [(), ()]
    assert surrogate.properties == ()


def test_beside_a_fitted_property_everything_works_on_both() -> None:
    points = Line(X)
    archive = Archive(
        points.measured(i, measurement("band_gap", float(X[i] ** 2 + 0.3))) for i in range(0, 20, 2)
    )
    surrogate = fitted(points, archive, "energy_above_hull", "band_gap")
    assert surrogate.properties == ("energy_above_hull", "band_gap")
    assert [r.rows for r in surrogate.reports] == [0, 10]
    posterior = surrogate.posterior(points.candidates[:8])
    np.testing.assert_allclose(posterior.mean[:, 0].detach(), -X[:8])
    np.testing.assert_allclose(posterior.variance[:, 0].detach(), (0.1 + X[:8]) ** 2)
    assert posterior.rsample(torch.Size([4])).shape == (4, 8, 2)
    assert [p.property for p in surrogate.predict(points.candidates)[0]] == list(surrogate.properties)


def test_botorch_can_use_it() -> None:
    points = Line(X)
    surrogate = fitted(points, Archive([]), "band_gap")
    inputs = surrogate.inputs(points.candidates[:10])
    value = qLogNoisyExpectedImprovement(surrogate.model, inputs[::2])(inputs[1:2])
    assert value.isfinite().all()
    drawn = surrogate.model.posterior(inputs).rsample(torch.Size([4000]))[..., 0]
    np.testing.assert_allclose(drawn.std(dim=0), 0.1 + X[:10], rtol=0.1)
    # Candidates are independent.
    assert abs(np.corrcoef(drawn.T)[3, 4]) < 0.1


def test_its_intervals_are_widened_like_those_of_others() -> None:
    points = Line(X)
    surrogate = fitted(points, Archive([]), "band_gap")
    surrogate.widening = {"band_gap": 2.0}
    first = surrogate.predict(points.candidates)[1][0]
    assert (first.std, first.widening) == (pytest.approx(2 * (0.1 + X[1])), 2.0)


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    points = Line(X)
    surrogate = fitted(points, points.archive("band_gap", X[:8]), "energy_above_hull", "band_gap")
    surrogate.save(tmp_path)
    again = load(tmp_path, points.source(), [Told()])
    assert again.reports == surrogate.reports
    before, after = ([r[0] for r in s.predict(points.candidates)] for s in (surrogate, again))
    assert before == after
