"""Descriptors of real materials, and the cache that keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from materials.base import Composition, Crystal, content_hash
from materials.potential import load_potential
from surrogates.descriptors import CompositionDescriptor, DescriptorSettings, FeatureCache, SevenNetDescriptor
from surrogates.element_statistics import ELEMENT_PROPERTIES, NUMBER_OF_COLUMNS

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.14), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
ELEMENTS = st.sampled_from(["Li", "Na", "Mg", "Al", "P", "S", "Cl", "O", "Fe", "La", "He", "U"])
AMOUNTS = st.dictionaries(ELEMENTS, st.integers(1, 9), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def sevennet() -> SevenNetDescriptor:
    descriptor = DescriptorSettings().build()
    assert isinstance(descriptor, SevenNetDescriptor)
    return descriptor


def test_sevennet_describes_a_crystal_whatever_cell_it_is_written_in(sevennet):
    primitive = Crystal(ROCK_SALT.get_primitive_structure())
    rows = sevennet.describe([Crystal(ROCK_SALT), primitive])
    assert rows.shape == (2, 1280)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], rows[1], atol=2e-3)


def test_sevennet_tells_what_it_cannot_describe_and_goes_on(sevennet):
    disordered = ROCK_SALT.copy()
    disordered.replace_species({"Li": {"Li": 0.5, "Na": 0.5}})
    noble = Structure(Lattice.cubic(9), ["Og"], [[0, 0, 0]])
    materials = [Crystal(disordered), Crystal(ROCK_SALT), Composition("LiCl"), Crystal(noble)]
    rows = sevennet.describe(materials)
    assert np.isfinite(rows).all(axis=1).tolist() == [False, True, False, False]
    reasons = [sevennet.why_not(m) for m in materials]
    assert reasons[1] is None
    assert "partial occupancies" in reasons[0]
    assert "without a structure" in reasons[2]
    assert "Og" in reasons[3]
    assert sevennet.describe([]).shape == (0, 1280)


def test_the_union_is_features_energy_and_statistics_side_by_side(sevennet):
    union = DescriptorSettings(kind="union").build()
    crystal = Crystal(ROCK_SALT.get_primitive_structure())
    rows = union.describe([crystal, Composition("LiCl")])
    features, energies = sevennet.with_energies([crystal])
    assert rows.shape == (2, 1280 + 1 + NUMBER_OF_COLUMNS)
    np.testing.assert_array_equal(rows[0, :1280], features[0])
    known = load_potential().evaluate([crystal.structure]).energies_per_atom[0]
    assert rows[0, 1280] == energies[0] == pytest.approx(known, abs=1e-5)
    np.testing.assert_array_equal(rows[0, 1281:], CompositionDescriptor().describe([crystal])[0])
    assert np.isnan(rows[1]).all()
    assert "without a structure" in union.why_not(Composition("LiCl"))


@settings(max_examples=60, deadline=None)
@given(AMOUNTS, st.integers(2, 4))
def test_composition_statistics_do_not_depend_on_how_a_formula_is_written(amounts, factor):
    once = "".join(f"{e}{n}" for e, n in amounts.items())
    reversed_multiple = "".join(f"{e}{n * factor}" for e, n in reversed(amounts.items()))
    rows = CompositionDescriptor().describe([Composition(once), Composition(reversed_multiple)])
    assert rows.shape == (2, NUMBER_OF_COLUMNS)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5, atol=1e-5)


def test_composition_statistics_are_those_of_the_elements():
    row = CompositionDescriptor().describe([Composition("LiCl3")])[0]
    column = 5 * ELEMENT_PROPERTIES.index("X")
    low, high = 0.98, 3.16
    mean = 0.25 * low + 0.75 * high
    spread = np.sqrt(0.25 * (low - mean) ** 2 + 0.75 * (high - mean) ** 2)
    np.testing.assert_allclose(row[column : column + 5], [mean, spread, low, high, high - low], rtol=1e-5)
    assert row[-4:].tolist() == [2.0, 0.75, 0.0, 0.0]


def test_crystals_add_volume_and_density_and_may_be_disordered():
    disordered = ROCK_SALT.copy()
    disordered.replace_species({"Li": {"Li": 0.5, "Na": 0.5}})
    rows = CompositionDescriptor().describe([Crystal(ROCK_SALT), Crystal(disordered)])
    assert rows[0, -2] == pytest.approx(ROCK_SALT.volume / 8)
    assert rows[0, -1] == pytest.approx(float(ROCK_SALT.density))
    assert np.isfinite(rows).all()


def test_what_is_no_element_is_not_described():
    descriptor = CompositionDescriptor()
    vacancy = Crystal(Structure(Lattice.cubic(4), ["X", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert "X" in descriptor.why_not(vacancy)
    assert np.isnan(descriptor.describe([vacancy])).all()


def test_versions_tell_descriptors_apart():
    settings_ = [
        DescriptorSettings(),
        DescriptorSettings(kind="composition"),
        DescriptorSettings(potential="7net-l3i5"),
        DescriptorSettings(potential="mine.pth", sha256="ab"),
        DescriptorSettings(potential="mine.pth", sha256="cd"),
    ]
    assert len({s.version for s in settings_}) == len(settings_)
    with pytest.raises(ValueError, match="extra"):
        DescriptorSettings(flavour="x")


def test_the_cache_keeps_rows_by_material_and_version(tmp_path):
    ids = [content_hash(Composition(f).to_dict()) for f in ("LiCl", "NaCl", "KCl")]
    cache = FeatureCache(tmp_path / "deep" / "features.db", "one")
    assert cache.get(ids) == ({}, ids)
    rows = np.array([[1.5, np.nan, 1e-30], [2.0, 3.0, 4.0]], dtype=np.float32)
    cache.put(ids[:2], rows)
    again = FeatureCache(tmp_path / "deep" / "features.db", "one")
    found, missing = again.get([*ids, ids[0]])
    assert missing == ids[2:]
    np.testing.assert_array_equal(np.stack([found[i] for i in ids[:2]]), rows)
    assert FeatureCache(tmp_path / "deep" / "features.db", "two").get(ids)[1] == ids


def test_a_damaged_cache_is_replaced_and_a_deleted_one_made_again(tmp_path):
    path = tmp_path / "features.db"
    FeatureCache(path, "one").put(["a"], np.ones((1, 2)))
    path.write_bytes(b"this is no database, and longer than any header of one" * 30)
    with pytest.warns(UserWarning, match="not a readable feature cache"):
        cache = FeatureCache(path, "one")
    assert cache.get(["a"]) == ({}, ["a"])
    cache.put(["a"], np.zeros((1, 2)))
    assert list(cache.get(["a"])[0]) == ["a"]
    path.unlink()
    assert cache.get(["a"]) == ({}, ["a"])
    cache.put(["a"], np.zeros((1, 2)))
    assert list(FeatureCache(path, "one").get(["a"])[0]) == ["a"]


def test_the_cache_refuses_ids_without_rows_and_holds_many(tmp_path):
    cache = FeatureCache(tmp_path / "features.db", "one")
    with pytest.raises(ValueError, match="2 ids for 1 rows"):
        cache.put(["a", "b"], np.ones((1, 2)))
    ids = [f"{i:016x}" for i in range(1500)]
    cache.put(ids, np.arange(3000.0).reshape(1500, 2))
    found, missing = cache.get(ids)
    assert not missing
    assert found[ids[-1]].tolist() == [2998.0, 2999.0]
