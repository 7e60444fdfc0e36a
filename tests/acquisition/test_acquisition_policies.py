"""The policies, on small pools with a real surrogate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from botorch.utils.multi_objective.box_decompositions.dominated import DominatedPartitioning
from plane_of_points import OPTIONS, Plane, grid
from torch import manual_seed, tensor

from acquisition.drawn_functions import DrawnFunctions
from acquisition.greedy import GreedySettings
from acquisition.log_improvement import LogImprovement
from acquisition.noisy_expected_improvement import NoisyExpectedImprovementSettings
from acquisition.random_choice import RandomChoiceSettings
from materials.base import Candidate, Composition, Origin
from materials.goals import Constraint, Objective
from surrogates.gaussian_process import GaussianProcessSettings
from surrogates.prior import Prior

POLICIES = [NoisyExpectedImprovementSettings(), GreedySettings(), RandomChoiceSettings()]
WITH_MODEL = POLICIES[:2]
GAP = Objective("band_gap", "maximize")
ENERGY = Objective("formation_energy", "minimize")


def hill(points):
    return np.exp(-8 * ((points - 0.7) ** 2).sum(axis=1))


def basin(points):
    return ((points - np.array([0.2, 0.3])) ** 2).sum(axis=1)


TRUTHS = {"band_gap": hill, "formation_energy": basin}


def plane():
    return Plane(grid(), TRUTHS)


def start(seed, n=8):
    return np.random.default_rng(seed).permutation(144)[:n]


def picked(policy, space, archive, q=6, seed=0, pool=None):
    chosen = policy.build().select(
        space.candidates if pool is None else pool,
        space.surrogate(archive),
        archive,
        q,
        OPTIONS,
        np.random.default_rng(seed),
    )
    return chosen, [space.index[s.candidate.id] for s in chosen]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)
@pytest.mark.parametrize("objectives", [[GAP], [GAP, ENERGY]], ids=["one", "two"])
def test_a_batch_is_new_distinct_complete_and_repeatable(policy, objectives):
    space = plane()
    archive = space.archive(start(1), objectives, others=[space.pending(50), space.failed(51)])
    chosen, indices = picked(policy, space, archive, q=5)
    assert len(set(indices)) == 5
    assert not {*start(1), 50, 51} & set(indices)
    assert [space.index[s.candidate.id] for s in picked(policy, space, archive, q=5)[0]] == indices
    for s in chosen:
        assert s.oracle == "table"
        assert s.cost == 12.0
        assert s.reason
    if policy.kind != "random":
        assert [p.property for p in chosen[0].predictions] == [o.property for o in objectives]
        assert f"band_gap {chosen[0].predictions[0].mean:.3g} ± " in chosen[0].reason
        assert chosen[0].acquisition_value is not None


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)
def test_a_small_pool_gives_what_it_has(policy):
    space = plane()
    archive = space.archive(start(1), [GAP])
    known = set(start(1))
    pool = [space.candidates[i] for i in (*start(1)[:2], *[i for i in range(144) if i not in known][:3])]
    assert len(picked(policy, space, archive, q=8, pool=pool)[0]) == 3
    assert picked(policy, space, archive, q=8, pool=pool[:2])[0] == []


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_finds_the_top_of_a_hill_sooner_than_chance(policy):
    space = plane()
    best = []
    for seed in range(3):
        rows = list(start(seed))
        while len(rows) < 20:
            rows += picked(policy, space, space.archive(rows, [GAP]), seed=seed)[1]
        best.append(space.values["band_gap"][rows].max())
    chance = [space.values["band_gap"][start(seed, 40)].max() for seed in range(3)]
    assert np.median(best) > np.median(chance)
    assert np.median(best) > 0.97


def hypervolume(space, rows):
    scores = np.stack([space.values["band_gap"][rows], -space.values["formation_energy"][rows]], axis=1)
    return float(DominatedPartitioning(tensor([0.0, -1.3]).double(), tensor(scores)).compute_hypervolume())


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_covers_the_front_of_two_objectives_sooner_than_chance(policy):
    space = plane()
    reached = []
    for seed in range(3):
        rows = list(start(seed))
        while len(rows) < 20:
            rows += picked(policy, space, space.archive(rows, [GAP, ENERGY]), seed=seed)[1]
        reached.append(hypervolume(space, rows))
    chance = [hypervolume(space, start(seed, 40)) for seed in range(3)]
    assert np.median(reached) > np.median(chance)


def test_pending_points_devalue_their_neighbourhood():
    space = plane()
    archive = space.archive(start(3), [GAP])
    free = np.array([i not in archive for i in space.index])
    alone = LogImprovement(space.candidates, space.surrogate(archive), archive, seed=0).scores([], free)
    best = int(np.nanargmax(np.where(free, alone, np.nan)))
    waiting = space.archive(start(3), [GAP], others=[space.pending(best)])
    beside = LogImprovement(space.candidates, space.surrogate(waiting), waiting, seed=0).scores([], free)
    distance = np.linalg.norm(space.points - space.points[best], axis=1)
    near = free & (distance > 0) & (distance < 0.15)
    far = free & (distance > 0.7)
    left = np.exp(beside) / np.exp(alone)
    assert np.median(left[near]) < 0.5
    assert np.exp(beside[near]).sum() / np.exp(alone[near]).sum() < 0.8 * left[far & (alone > -10)].mean()
    _, indices = picked(NoisyExpectedImprovementSettings(), space, waiting)
    assert best not in indices


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_a_batch_spreads_out(policy):
    space = plane()
    _, indices = picked(policy, space, space.archive(start(5), [GAP, ENERGY]), q=6)
    gaps = np.linalg.norm(space.points[indices][:, None] - space.points[indices][None], axis=-1)
    assert np.median(gaps[np.triu_indices(6, 1)]) > 0.15


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_constraints_are_kept(policy):
    truths = TRUTHS | {"energy_above_hull": lambda p: p[:, 0]}
    space = Plane(grid(), truths)
    limit = Constraint("energy_above_hull", at_most=0.4)
    rows = start(2, 16)
    free, bound = (picked(policy, space, space.archive(rows, [GAP], c), q=6)[1] for c in ((), (limit,)))
    assert space.values["energy_above_hull"][free].mean() > 0.5
    assert np.mean(space.values["energy_above_hull"][bound] <= 0.4) >= 5 / 6


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_lines_that_failed_are_avoided(policy):
    space = plane()
    doomed = [i for i in range(144) if space.points[i, 0] > 0.5]
    rows = [i for i in start(2, 24) if i not in doomed]
    failures = [space.failed(i) for i in doomed[::4]]
    (unaware,), (aware,) = (
        picked(policy, space, space.archive(rows, [GAP], others=others), q=1)[1] for others in ((), failures)
    )
    assert space.points[unaware, 0] > 0.5
    assert space.points[aware, 0] < 0.5


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_a_target_is_approached_from_both_sides(policy):
    space = Plane(grid(), {"band_gap": lambda p: 3 * p[:, 0]})
    goal = Objective("band_gap", "target", target=1.4, tolerance=0.1)
    _, indices = picked(policy, space, space.archive(start(1, 10), [goal]), q=3)
    assert np.abs(space.values["band_gap"][indices] - 1.4).max() < 0.5


def distance_to(space, picks):
    """The mean distance of a point of the plane to the nearest pick."""
    return np.linalg.norm(space.points[:, None] - space.points[picks][None], axis=-1).min(axis=1).mean()


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_without_measurements_the_batch_stands_for_the_pool(policy):
    space = plane()
    chosen, indices = picked(policy, space, space.archive([], [GAP, ENERGY]), q=5)
    assert "initial design" in chosen[0].reason
    assert "band_gap, formation_energy" in chosen[0].reason
    assert chosen[0].acquisition_value is None
    rng = np.random.default_rng(0)
    by_chance = [distance_to(space, rng.permutation(len(space.points))[:5]) for _ in range(200)]
    assert distance_to(space, indices) < np.quantile(by_chance, 0.05)


class Told(Prior):
    """Knows the named properties of a plane, to within 0.1."""

    def __init__(self, space, *names):
        self.space, self.names = space, names

    @property
    def properties(self):
        return self.names

    def predict(self, name, materials, descriptors):
        return TRUTHS[name](descriptors), np.full(len(descriptors), 0.1)


def picked_with(prior, policy, archive, q=5):
    names = [o.property for o in archive.objectives] + [c.property for c in archive.constraints]
    settings = GaussianProcessSettings(descriptor="composition", prior="none")
    surrogate = settings.build(names, prior.space.features, [prior])
    surrogate.fit(archive, seed=0)
    surrogate.inputs(prior.space.candidates)
    space = prior.space
    chosen = policy.build().select(space.candidates, surrogate, archive, q, OPTIONS, np.random.default_rng(0))
    return chosen, space.points[[space.index[s.candidate.id] for s in chosen]]


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
@pytest.mark.parametrize("objectives", [[GAP], [GAP, ENERGY]], ids=["one", "two"])
def test_where_nothing_is_measured_priors_pick(policy, objectives):
    space = plane()
    prior = Told(space, *(o.property for o in objectives))
    chosen, points = picked_with(prior, policy, space.archive([], objectives))
    assert len(chosen) == 5
    assert "best by predicted mean" in chosen[0].reason
    assert chosen[0].acquisition_value > 0
    scores = np.array([space.values["band_gap"], -space.values["formation_energy"]][: len(objectives)]).sum(0)
    indices = [space.index[s.candidate.id] for s in chosen]
    assert scores[indices].mean() > np.quantile(scores, 0.75)
    assert np.isfinite(points).all()


def test_an_objective_known_by_its_prior_alone_is_weighed_beside_a_measured_one():
    space = plane()
    measured = [replace(r, measurements=r.measurements[:1]) for r in map(space.measured, start(1))]
    archive = space.archive([], [GAP, ENERGY], others=measured)
    chosen, points = picked_with(Told(space, "formation_energy"), NoisyExpectedImprovementSettings(), archive)
    assert "expected hypervolume improvement" in chosen[0].reason
    assert (np.minimum(hill(points) / 0.3, 1) - basin(points)).mean() > 0.2


def test_the_opening_takes_the_half_that_a_prior_expects_to_keep_the_constraints():
    space = plane()
    limit = Constraint("formation_energy", at_most=0.15)
    archive = space.archive([], [GAP], [limit])
    chosen, points = picked_with(Told(space, "formation_energy"), NoisyExpectedImprovementSettings(), archive)
    assert "initial design" in chosen[0].reason
    assert "formation_energy" in chosen[0].reason.split(";")[1]
    assert basin(points).max() <= np.median(space.values["formation_energy"])


def test_the_opening_avoids_what_failed_and_keeps_away_from_what_is_known():
    space = plane()
    failures = [space.failed(i) for i in range(144) if space.points[i, 1] > 0.6][::3]
    stopped = [space.measured(i, stopped_by="hull") for i in (0, 5)]
    archive = space.archive(
        [20], [GAP, Objective("average_voltage", "maximize")], others=[*failures, *stopped]
    )
    chosen, indices = picked(NoisyExpectedImprovementSettings(), space, archive, q=4)
    assert "average_voltage" in chosen[0].reason
    assert "band_gap" in chosen[0].reason
    assert space.points[indices, 1].max() < 0.65
    known = space.points[[0, 5, 20]]
    assert np.linalg.norm(known[:, None] - space.points[indices][None], axis=-1).min() > 0.2


def test_few_of_a_formula_unless_nothing_else_is_left():
    space = plane()
    twins = [Candidate(Composition(f"Li{2 * (i + 1)}O2"), Origin("files")) for i in range(3)]
    pairs = [Candidate(Composition(f"Na{n}Cl{n}"), Origin("files")) for n in range(1, 7)]
    for i, c in enumerate([*twins, *pairs]):
        space.index[c.id] = 200 + i
        space._rows[c.material.to_dict()["formula"]] = np.array([0.7, 0.7]) + 0.01 * i
    archive = space.archive(start(1), [GAP])
    chosen, _ = picked(
        NoisyExpectedImprovementSettings(per_formula=2), space, archive, 4, pool=[*pairs, *twins]
    )
    formulas = [s.candidate.formula for s in chosen]
    assert formulas.count("NaCl") <= 2
    assert len(picked(NoisyExpectedImprovementSettings(per_formula=2), space, archive, 4, pool=pairs)[0]) == 4


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_of_candidates_with_equal_inputs_only_one_is_picked(policy):
    points = np.repeat(grid(5), 2, axis=0)
    space = Plane(points, TRUTHS)
    for rows in ([], [0, 10, 20, 31, 44]):
        _, indices = picked(policy, space, space.archive(rows, [GAP]), q=10)
        assert len({tuple(points[i]) for i in indices}) == 10


@pytest.mark.parametrize("policy", WITH_MODEL, ids=lambda p: p.kind)
def test_what_cannot_be_described_is_not_picked_unless_nothing_can(policy):
    points = grid(5)
    points[::2] = np.nan
    space = Plane(points, TRUTHS | {"band_gap": lambda p: np.nan_to_num(hill(p))})
    for rows in ([], [1, 3, 7, 9, 11]):
        _, indices = picked(policy, space, space.archive(rows, [GAP]), q=4)
        assert np.isfinite(points[indices]).all()
        assert len(indices) == 4
    chosen, _ = picked(policy, space, space.archive([], [GAP]), 3, pool=space.candidates[::2])
    assert len(chosen) == 3
    assert "none can be described" in chosen[0].reason


@pytest.mark.parametrize("fails", [1, 2])
def test_numerical_failures_fall_back_and_say_so(monkeypatch, fails):
    def fail(*args, **kwargs):
        raise RuntimeError("cholesky_cpu: the input is not positive-definite")

    monkeypatch.setattr("acquisition.drawn_functions.DrawnFunctions.of", fail)
    if fails == 2:
        monkeypatch.setattr("acquisition.goal_scores.Goals.predicted_scores", fail)
    space = plane()
    chosen, indices = picked(
        NoisyExpectedImprovementSettings(), space, space.archive(start(1), [GAP, ENERGY])
    )
    assert len(set(indices)) == 6
    assert "not positive-definite" in chosen[0].reason
    assert ("spread over the pool" if fails == 2 else "best by predicted mean + 1 std") in chosen[0].reason


def test_three_objectives_and_none_of_them_ever_met_the_constraint():
    truths = TRUTHS | {"energy_above_hull": lambda p: p[:, 0] - p[:, 1]}
    space = Plane(grid(), truths)
    objectives = [GAP, ENERGY, Objective("energy_above_hull", "minimize")]
    impossible = Constraint("energy_above_hull", at_most=-5.0)
    for constraints in ((), (impossible,)):
        archive = space.archive(start(1, 6), objectives, constraints)
        chosen, indices = picked(NoisyExpectedImprovementSettings(), space, archive, q=3)
        assert len(set(indices)) == 3
        assert "failed" not in chosen[0].reason


@pytest.mark.parametrize("seed", range(4))
def test_one_objective_and_nothing_ever_met_the_constraint(seed):
    space = plane()
    highest = Objective("formation_energy", "maximize")  # at the last point of the pool
    archive = space.archive(start(1), [highest], [Constraint("band_gap", at_least=5.0)])
    manual_seed(seed)  # nothing may depend on the generator that all of the process share
    chosen, indices = picked(NoisyExpectedImprovementSettings(), space, archive)
    assert "expected improvement" in chosen[0].reason
    manual_seed(seed + 100)
    assert picked(NoisyExpectedImprovementSettings(), space, archive)[1] == indices


def test_objectives_never_measured_together_still_guide():
    space = plane()
    rows = list(start(1))
    halves = [
        space.measured(i).__class__(
            **{**vars(space.measured(i)), "measurements": space.measured(i).measurements[k::2]}
        )
        for k in (0, 1)
        for i in rows[k::2]
    ]
    archive = space.archive([], [GAP, ENERGY], others=halves)
    chosen, indices = picked(NoisyExpectedImprovementSettings(), space, archive)
    assert len(set(indices)) == 6
    assert "failed" not in chosen[0].reason


def test_of_a_very_large_pool_the_most_promising_are_drawn(monkeypatch):
    space = plane()
    archive = space.archive(start(1, 12), [GAP])
    _, all_of_them = picked(NoisyExpectedImprovementSettings(), space, archive, q=2)
    monkeypatch.setattr("acquisition.noisy_expected_improvement.LARGEST_POOL", 70)
    _, indices = picked(NoisyExpectedImprovementSettings(), space, archive, q=2)
    assert len(set(indices)) == 2
    assert np.linalg.norm(space.points[indices[0]] - space.points[all_of_them[0]]) < 0.2


def test_of_very_many_measurements_the_best_ranked_are_drawn(monkeypatch):
    space = plane()
    archive = space.archive(start(0, n=100), [GAP, ENERGY])
    sizes = []
    draw = DrawnFunctions.of

    def watched(model, inputs, number, seed):
        sizes.append(len(inputs))
        return draw(model, inputs, number, seed)

    monkeypatch.setattr("acquisition.log_improvement.DrawnFunctions.of", watched)
    _, all_of_them = picked(NoisyExpectedImprovementSettings(), space, archive, q=1)
    monkeypatch.setattr("acquisition.log_improvement.MOST_MEASURED", 40)
    _, best_of_them = picked(NoisyExpectedImprovementSettings(), space, archive, q=1)
    assert sizes == [100 + 44, 40 + 44]
    assert np.linalg.norm(space.points[best_of_them[0]] - space.points[all_of_them[0]]) < 0.2
