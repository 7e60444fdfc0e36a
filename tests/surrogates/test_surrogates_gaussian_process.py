"""The surrogate of kind `gp`, through its public door."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from gpytorch.utils.errors import NotPSDError
from hypothesis import given, settings
from hypothesis import strategies as st
from line_of_points import Line, measurement

from materials.archive import Archive, Progress, Record
from materials.base import Bound
from materials.evaluation import FailureKind
from materials.goals import Objective
from surrogates import exact_gp
from surrogates.gaussian_process import GaussianProcessSettings, GaussianProcessSurrogate
from surrogates.stored_gp import load

X = np.linspace(0.0, 6.0, 25)
TRAIN = range(0, 25, 2)


def fitted(points, archive, *names):
    surrogate = GaussianProcessSettings(descriptor="composition", prior="none").build(names, points.source())
    surrogate.fit(archive, seed=0)
    return surrogate


def moments(surrogate, candidates, column=0):
    rows = surrogate.predict(candidates)
    return np.array([r[column].mean for r in rows]), np.array([r[column].std for r in rows])


def every_other(points, name, values, **changes):
    return Archive(points.measured(i, measurement(name, float(values[i]), **changes)) for i in TRAIN)


def test_interpolates_in_the_propertys_unit():
    points = Line(X)
    truth = 300 + 50 * np.sin(X)
    surrogate = fitted(points, every_other(points, "gravimetric_capacity", truth), "gravimetric_capacity")
    mean, std = moments(surrogate, points.candidates)
    assert np.abs(mean - truth).max() < 5
    assert std.max() < 30
    posterior = surrogate.posterior(points.candidates)
    assert posterior.mean.shape == (25, 1)
    assert posterior.rsample(torch.Size([3])).shape == (3, 25, 1)
    assert torch.allclose(posterior.mean[:, 0], torch.tensor(mean))


def test_knows_less_far_from_its_data():
    points = Line([*X, 30.0])
    surrogate = fitted(points, every_other(points, "band_gap", np.sin(X)), "band_gap")
    _, std = moments(surrogate, points.candidates)
    assert std[-1] > 3 * std[:25].max()


@pytest.mark.parametrize(("std", "follows"), [(0.001, True), (3.0, False)])
def test_reported_noise_decides_how_closely_values_are_followed(std, follows):
    points = Line(X)
    values = np.where(np.arange(25) == 12, 2.0, 0.0) + 0.01 * X
    surrogate = fitted(points, every_other(points, "band_gap", values, std=std), "band_gap")
    mean, _ = moments(surrogate, [points.candidates[12]])
    assert (mean[0] > 1.0) == follows


def test_logarithmic_properties_stay_positive_over_orders_of_magnitude():
    points = Line(X)
    truth = 10 ** (-9 + X / 2)
    surrogate = fitted(points, every_other(points, "diffusivity", truth), "diffusivity")
    mean, _ = moments(surrogate, points.candidates)
    assert (mean > 0).all()
    assert np.abs(np.log10(mean) - np.log10(truth)).max() < 0.3


def test_properties_need_two_different_values():
    points = Line(X)
    records = [
        points.measured(i, measurement("band_gap", 1.0), measurement("formation_energy", -i))
        for i in range(4)
    ]
    surrogate = fitted(points, Archive(records), "band_gap", "formation_energy", "average_voltage")
    assert surrogate.properties == ("formation_energy",)
    assert [r.rows for r in surrogate.reports] == [4]
    assert len(surrogate.predict(points.candidates)[0]) == 1


def test_one_row_makes_no_model_and_nothing_breaks():
    points = Line(X)
    surrogate = fitted(points, points.archive("band_gap", [1.0]), "band_gap")
    assert surrogate.properties == ()
    assert surrogate.predict(points.candidates) == [()] * 25
    assert (surrogate.feasibility(points.candidates) == 1).all()
    assert surrogate.inputs(points.candidates).shape[0] == 25
    with pytest.raises(ValueError, match="no property has two different measured values"):
        surrogate.posterior(points.candidates)


def test_contradicting_duplicates_are_averaged():
    points = Line([1.0, 1.0, 1.0, 1.0, 4.0, 4.0])
    surrogate = fitted(points, points.archive("band_gap", [0.0, 2.0, 0.1, 1.9, 5.0, 5.1]), "band_gap")
    mean, std = moments(surrogate, [points.candidates[0]])
    assert mean[0] == pytest.approx(1.0, abs=0.6)
    assert std[0] > 0.1


def test_failures_never_enter_as_values():
    points = Line(X)
    records = [points.measured(i, measurement("band_gap", float(np.sin(X[i])))) for i in TRAIN]
    surrogate = fitted(points, Archive([*records, points.failed(1), points.failed(3)]), "band_gap")
    assert surrogate.reports[0].rows == len(records)


def test_materials_without_descriptor_are_left_out_and_predicted_by_the_prior():
    x = X.copy()
    x[[2, 5]] = np.nan
    points = Line(x)
    surrogate = fitted(points, every_other(points, "band_gap", np.sin(X)), "band_gap")
    assert surrogate.reports[0].rows == len(TRAIN) - 1
    assert "no descriptor" in " ".join(surrogate.reports[0].fallbacks)
    assert surrogate.inputs(points.candidates).isfinite().all(dim=1).sum() == 23
    mean, std = moments(surrogate, points.candidates)
    assert np.isfinite(mean).all()
    assert std[5] > 3 * std[6]


@pytest.mark.parametrize(
    ("broken", "held"),
    [
        (["fit_gpytorch_mll_scipy"], "Adam"),
        (["fit_gpytorch_mll_scipy", "fit_gpytorch_mll_torch"], "fixed hyperparameters"),
        (["fit_gpytorch_mll_scipy", "fit_gpytorch_mll_torch", "check_finite"], "constant mean"),
    ],
)
def test_falls_back_and_says_so(monkeypatch, broken, held):
    def fail(*args, **kwargs):
        raise NotPSDError("matrix not positive definite")

    for name in broken:
        monkeypatch.setattr(exact_gp, name, fail)
    points = Line(X)
    surrogate = fitted(points, every_other(points, "band_gap", 4 + np.sin(X)), "band_gap")
    report = surrogate.reports[0]
    assert held in report.model
    assert len(report.fallbacks) == len(broken)
    assert "not positive definite" in report.fallbacks[0]
    mean, std = moments(surrogate, points.candidates)
    assert np.abs(mean - 4).max() < 1.6
    assert std.max() < 3


def test_same_seed_same_model_and_torch_is_left_as_found():
    points = Line(X)
    archive = every_other(points, "band_gap", np.sin(X))
    torch.manual_seed(5)
    state, threads, dtype = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    first = fitted(points, archive, "band_gap").predict(points.candidates)
    assert torch.equal(state, torch.get_rng_state())
    assert (threads, dtype) == (torch.get_num_threads(), torch.get_default_dtype())
    torch.rand(3)
    assert fitted(points, archive, "band_gap").predict(points.candidates) == first


def test_order_of_properties_is_the_order_of_outputs():
    points = Line(X)
    records = [
        points.measured(
            i, measurement("band_gap", float(X[i])), measurement("formation_energy", float(-X[i]))
        )
        for i in TRAIN
    ]
    surrogate = fitted(points, Archive(records), "formation_energy", "band_gap")
    assert surrogate.properties == ("formation_energy", "band_gap")
    mean = surrogate.posterior([points.candidates[8]]).mean[0]
    assert mean.tolist() == pytest.approx([-X[8], X[8]], abs=0.3)
    assert [p.property for p in surrogate.predict([points.candidates[8]])[0]] == list(surrogate.properties)


def test_limits_that_contradict_the_model_pull_it_and_others_are_left_out():
    points = Line(X)
    values = np.full(25, 2.0) + 0.05 * np.sin(7 * X)
    exact = [points.measured(i, measurement("band_gap", float(values[i]))) for i in range(0, 12, 2)]
    agreeing = points.measured(21, measurement("band_gap", 9.0, bound=Bound.UPPER))
    contradicting = points.measured(24, measurement("band_gap", 0.5, bound=Bound.UPPER))
    without = fitted(points, Archive(exact), "band_gap")
    surrogate = fitted(points, Archive([*exact, agreeing, contradicting]), "band_gap")
    assert surrogate.reports[0].rows == len(exact) + 1
    assert "1 limits left out" in " ".join(surrogate.reports[0].fallbacks)
    there = [points.candidates[24]]
    assert moments(surrogate, there)[0] < moments(without, there)[0] - 0.3
    assert moments(surrogate, there)[0] > 0.4


def test_the_fidelity_a_goal_names_is_the_one_learned():
    points = Line(X)
    records = [
        points.measured(
            i, measurement("band_gap", 1.0 + i), measurement("band_gap", 50.0 + i, fidelity="experiment")
        )
        for i in range(5)
    ]
    named = Archive(records, [Objective("band_gap", "maximize", fidelity="PBE")])
    highest = Archive(records, [Objective("band_gap", "maximize")])
    assert moments(fitted(points, named, "band_gap"), points.candidates[:5])[0].max() < 20
    assert moments(fitted(points, highest, "band_gap"), points.candidates[:5])[0].min() > 30


def test_feasibility_follows_failures_and_gates():
    points = Line(X)
    good = [points.measured(i, measurement("band_gap", float(X[i]))) for i in range(0, 12, 2)]
    gated = [points.measured(i, measurement("band_gap", 9.0 + i), stopped_by="hull") for i in (20, 22)]
    failed = [points.failed(i) for i in (18, 24)]
    assert (fitted(points, Archive(good), "band_gap").feasibility(points.candidates) == 1).all()
    chance = fitted(points, Archive([*good, *gated, *failed]), "band_gap").feasibility(points.candidates)
    assert chance.shape == (25,)
    assert chance[:10].min() > 0.7
    assert chance[19:].max() < 0.3


def test_what_relaxed_into_a_known_material_was_in_vain():
    points = Line(X)
    good = [points.measured(i, measurement("band_gap", float(X[i]))) for i in range(0, 12, 2)]
    again = [
        points.measured(i, measurement("band_gap", 9.0), duplicate_of=good[0].id) for i in (18, 20, 22, 24)
    ]
    chance = fitted(points, Archive([*good, *again]), "band_gap").feasibility(points.candidates)
    assert chance[:10].min() > 0.7
    assert chance[19:].max() < 0.3


def test_the_machines_failures_and_prior_data_say_nothing_about_feasibility():
    points = Line(X)
    good = [
        points.measured(i, measurement("band_gap", float(X[i])), known_before=True) for i in range(0, 12, 2)
    ]
    lost = [points.failed(i, FailureKind.WORKER_LOST) for i in (18, 20)]
    assert (fitted(points, Archive([*good, *lost]), "band_gap").feasibility(points.candidates) == 1).all()


def test_nothing_but_failures_is_half_hearted_not_hopeless():
    points = Line(X)
    chance = fitted(points, Archive([points.failed(i) for i in range(3)])).feasibility(points.candidates)
    assert (chance > 0).all()
    assert (chance < 0.5).all()


def test_saved_and_loaded_it_predicts_the_same(tmp_path):
    points = Line(X)
    records = [
        points.measured(
            i, measurement("diffusivity", 10 ** (-X[i])), measurement("band_gap", float(X[i]), std=0.1)
        )
        for i in TRAIN
    ]
    surrogate = fitted(points, Archive([*records, points.failed(1)]), "diffusivity", "band_gap")
    files = surrogate.save(tmp_path)
    assert {p.suffix for p in files.values()} == {".safetensors", ".json"}
    again = load(tmp_path, points.source())
    assert again.reports == surrogate.reports
    for column in range(2):
        before, after = (moments(s, points.candidates, column) for s in (surrogate, again))
        np.testing.assert_allclose(after, before, rtol=1e-9)
    np.testing.assert_allclose(again.feasibility(points.candidates), surrogate.feasibility(points.candidates))


def test_an_unfitted_surrogate_describes_a_pool_and_can_be_saved(tmp_path):
    points = Line(X)
    surrogate = fitted(points, Archive([]), "band_gap")
    inputs = surrogate.inputs(points.candidates)
    surrogate.save(tmp_path)
    again = load(tmp_path, points.source())
    assert torch.allclose(again.inputs(points.candidates), inputs)
    assert again.properties == ()


def test_botorch_can_use_the_model():
    points = Line(X)
    surrogate = fitted(points, every_other(points, "band_gap", np.sin(X)), "band_gap")
    inputs = surrogate.inputs(points.candidates)
    value = qLogNoisyExpectedImprovement(surrogate.model, inputs[::2])(inputs[1:2])
    assert value.isfinite().all()


def test_no_candidates_are_described_by_no_rows():
    points = Line(X)

    def source(materials):  # an empty list of rows has no second dimension
        return points.features(materials) if materials else np.zeros(0)

    settings = GaussianProcessSettings(descriptor="composition", prior="none")
    surrogate = settings.build(("band_gap",), source)
    assert len(surrogate.inputs([])) == 0
    surrogate.fit(every_other(points, "band_gap", np.sin(X)), seed=0)
    assert surrogate.inputs([]).shape == (0, surrogate.inputs(points.candidates).shape[1])
    assert surrogate.predict([]) == []


def test_pending_records_are_no_data():
    points = Line(X)
    waiting = Record(points.candidates[1], points.candidates[1].material, Progress.PENDING)
    archive = every_other(points, "band_gap", np.sin(X))
    surrogate = fitted(points, Archive([*archive.values(), waiting]), "band_gap")
    assert surrogate.reports[0].rows == len(TRAIN)
    assert (surrogate.feasibility(points.candidates) == 1).all()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-3, 3),
            st.floats(-1e6, 1e6, allow_nan=False),
            st.none() | st.floats(0, 10, allow_nan=False),
        ),
        min_size=2,
        max_size=12,
    )
)
def test_any_measurements_give_finite_predictions(rows):
    points = Line([x for x, _, _ in rows])
    archive = Archive(
        points.measured(i, measurement("band_gap", value, std=std)) for i, (_, value, std) in enumerate(rows)
    )
    surrogate = fitted(points, archive, "band_gap")
    assert isinstance(surrogate, GaussianProcessSurrogate)
    for row in surrogate.predict(points.candidates):
        assert all(np.isfinite([p.mean, p.std]).all() and p.std >= 0 for p in row)


def test_settings_refuse_a_potential_beside_the_composition_descriptor():
    with pytest.raises(ValueError, match="uses no potential"):
        GaussianProcessSettings(descriptor="composition", potential="7net-mf-0")
    assert GaussianProcessSettings().material_kinds == ("crystal",)
    assert "composition" in GaussianProcessSettings(descriptor="composition", prior="none").material_kinds


def test_an_archive_of_which_nothing_can_be_described_gives_no_model():
    points = Line([np.nan, np.nan, np.nan, 1.0, 2.0])
    archive = Archive([*points.archive("band_gap", [1.0, 2.0]).values(), points.failed(2)])
    surrogate = fitted(points, archive, "band_gap")
    assert surrogate.properties == ()
    assert surrogate.feasibility(points.candidates).tolist() == pytest.approx([3 / 5] * 5)
    assert surrogate.inputs(points.candidates).isfinite().all(dim=1).tolist() == [False] * 3 + [True] * 2
