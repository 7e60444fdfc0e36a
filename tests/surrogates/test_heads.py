"""Heads: they learn, say how sure they are, survive their file, and refuse what is not theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from safetensors.torch import save_file
from torch import zeros

from materials.base import Composition, Crystal, Material
from surrogates.heads.band_gap import BandGapHead
from surrogates.heads.base import HeadError
from surrogates.heads.ensemble import Training
from surrogates.heads.formation_energy import FormationEnergyHead, element_fractions
from surrogates.heads.laplace import LaplaceMixture, widening
from surrogates.heads.neighbourhood import Neighbourhood
from surrogates.heads.shipped import DESCRIPTORS, PROPERTIES, WEIGHTS, Basis, shipped_head

QUICK = Training(hidden=(32,), members=2, epochs=40, batch=32, weight_decay=1e-4)
LEAVE_OUT = Path(__file__).parents[3] / "shared" / "data" / "leave_out.csv"


def rock_salt(cation: str, anion: str, length: float) -> Crystal:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Crystal(
        Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(length), [cation, anion], sites
        ).get_primitive_structure()
    )


SALT = rock_salt("Na", "Cl", 5.64)
COPPER = Crystal(Structure(Lattice.from_parameters(2.56, 2.56, 2.56, 60, 60, 60), ["Cu"], [[0, 0, 0]]))


def toy(n: int, seed: int) -> tuple[list[Material], np.ndarray, np.ndarray]:
    """Descriptors in 6 dimensions; half of the materials are metals, the others have a gap that is smooth in them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 6))
    gaps = np.where(rows[:, 0] > 0, 2.0 + np.sin(rows[:, 1]) + 0.3 * rows[:, 2], 0.0)
    return [Composition(f"Li{i + 1}O") for i in range(n)], rows, np.maximum(gaps, 0.0)


@pytest.fixture(scope="module")
def gap_head() -> BandGapHead:
    head = BandGapHead.fit(*toy(800, 0), descriptor="toy", how=QUICK, seed=0)
    head.calibrate(*toy(300, 1))
    return head


def test_a_head_learns_gaps_metals_and_its_own_error(gap_head: BandGapHead) -> None:
    materials, rows, gaps = toy(300, 2)
    predicted = gap_head.predict(materials, rows)
    assert np.abs(predicted.value - gaps).mean() < 0.35 * np.abs(np.median(gaps) - gaps).mean()
    metal = predicted.extras["metal_probability"]
    assert metal[gaps == 0].mean() > 0.8
    assert metal[gaps > 0].mean() < 0.2
    assert 0.82 < ((predicted.low <= gaps) & (gaps <= predicted.high)).mean() < 0.97
    assert (predicted.low <= predicted.value).all()
    assert (predicted.value <= predicted.high).all()


def test_far_from_the_training_data_it_says_so(gap_head: BandGapHead) -> None:
    materials, rows, _ = toy(100, 3)
    assert np.median(gap_head.predict(materials, rows).distance) < 1
    assert gap_head.predict(materials, 20 * rows).distance.min() > 1
    assert np.median(gap_head.predict(materials, 20 * rows).distance) > 3


def test_what_has_no_descriptor_has_no_prediction(gap_head: BandGapHead) -> None:
    materials, rows, _ = toy(3, 4)
    rows[1, 3] = np.nan
    predicted = gap_head.predict(materials, rows)
    for column in (predicted.value, predicted.std, predicted.low, predicted.high, predicted.distance):
        assert np.isnan(column).tolist() == [False, True, False]


def test_a_file_gives_the_head_back(gap_head: BandGapHead, tmp_path: Path) -> None:
    gap_head.save(tmp_path / "gap.safetensors")
    again = BandGapHead.load(tmp_path / "gap.safetensors")
    materials, rows, _ = toy(50, 5)
    before, after = gap_head.predict(materials, rows), again.predict(materials, rows)
    # Half a percent: weights are stored in half precision. At the edge of a metal the median may jump.
    close = np.isclose(before.value, after.value, atol=0.02)
    assert close.mean() > 0.95
    assert again.descriptor == "toy"
    assert again.widening == gap_head.widening


def test_files_that_are_not_this_head_are_named(gap_head: BandGapHead, tmp_path: Path) -> None:
    path = tmp_path / "gap.safetensors"
    gap_head.save(path)
    with pytest.raises(HeadError, match=r"gap\.safetensors: holds .*band_gap, where .*formation_energy"):
        FormationEnergyHead.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(HeadError, match=r"gap\.safetensors: not a readable safetensors file"):
        BandGapHead.load(path)
    save_file({"x": zeros(1)}, str(path))
    with pytest.raises(HeadError, match="another version"):
        BandGapHead.load(path)


@given(
    medians=st.lists(st.floats(-3, 6), min_size=2, max_size=4),
    scale=st.floats(0.01, 2),
    zero=st.floats(0, 0.99),
    probability=st.floats(0.02, 0.98),
)
@settings(max_examples=100, deadline=None)
def test_a_quantile_undoes_the_cumulative(
    medians: list[float], scale: float, zero: float, probability: float
) -> None:
    mixture = LaplaceMixture(np.array(medians)[:, None], np.full((len(medians), 1), scale), np.array([zero]))
    value = mixture.quantile(probability)
    assert mixture.cumulative(value + 1e-6)[0] >= probability - 1e-6
    assert mixture.cumulative(value - 2e-6)[0] <= probability + 1e-4


def test_widening_gives_the_coverage_asked_for() -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(0.0, 2.0, 2000)
    narrow = LaplaceMixture(np.zeros((2, 2000)), np.ones((2, 2000)), np.zeros(2000))
    assert widening(narrow, values) == pytest.approx(2.0, rel=0.1)


def test_widening_counts_what_the_quantiles_hold() -> None:
    rng = np.random.default_rng(1)
    zero = rng.uniform(0, 1, 400)
    values = np.where(rng.random(400) < zero, 0.0, np.abs(rng.laplace(3.0, 1.0, 400)))
    mixture = LaplaceMixture(rng.normal(3.0, 0.3, (3, 400)), np.ones((3, 400)), zero)
    wide = mixture.widened(widening(mixture, values))
    inside = (wide.quantile(0.05) <= values) & (values <= wide.quantile(0.95))
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


def test_a_neighbourhood_survives_its_arrays() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 5))
    near = Neighbourhood.of(rows, seed=0)
    assert Neighbourhood.from_arrays(near.arrays()).distance(rows) == pytest.approx(near.distance(rows))
    assert np.percentile(near.distance(rows), 95) == pytest.approx(1.0)


def test_fractions_add_up_to_one() -> None:
    fractions = element_fractions([SALT, Composition("Li3PS4")])
    assert fractions.sum(axis=1) == pytest.approx(1.0)
    assert fractions[0, [10, 16]].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("basis", ["structure", "composition"])
def test_the_shipped_heads_know_salt_from_copper(basis: Basis) -> None:
    materials: list[Material] = [SALT, COPPER]
    if basis == "composition":
        materials = [Composition(m.formula) for m in materials]
    described = DESCRIPTORS[basis].build().describe(materials).astype(float)
    gap = shipped_head("band_gap", basis).predict(materials, described)
    # PBE: 5.0 eV for rock salt, none for copper (Materials Project mp-22862, mp-30).
    assert gap.value[0] == pytest.approx(5.0, abs=0.6)
    assert gap.value[1] == 0.0
    assert gap.extras["metal_probability"][1] > 0.9
    energy = shipped_head("formation_energy", basis).predict(materials, described)
    # Measured: -2.13 eV/atom (411 kJ/mol of formula units).
    assert energy.value[0] == pytest.approx(-2.13, abs=0.15)
    assert energy.value[1] == pytest.approx(0.0, abs=0.1)
    assert (gap.distance < 3).all()


def test_together_the_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) < 15e6
    assert set(PROPERTIES) <= {path.name.rpartition("_")[0] for path in WEIGHTS.glob("*.safetensors")}


def test_a_property_without_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no head for 'diffusivity' ships"):
        shipped_head("diffusivity", "structure")
