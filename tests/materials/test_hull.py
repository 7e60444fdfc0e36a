from __future__ import annotations

import lzma
import math
import time
from dataclasses import replace
from pathlib import Path

import pymatgen.core as pmg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from materials.hull import DATA, MixedEnergiesError, ReferenceHull
from materials.reference_table import (
    EnergySource,
    GeometricError,
    ReferenceEntry,
    ReferenceFileError,
    ReferenceTable,
    read_table,
    structure_text,
    write_table,
)

SOURCE = EnergySource("7net-0", "checkpoint#0", "MaterialsProject2020")
ELEMENTS = ("Li", "P", "S", "Cl")
# PBE energies of the elemental references of the Materials Project, eV/atom (CC-BY 4.0).
MATERIALS_PROJECT_ELEMENTS = {
    "H": -3.393,
    "N": -8.336,
    "O": -4.947,
    "F": -1.911,
    "Cl": -1.849,
    "Br": -1.553,
    "I": -1.473,
    "P": -5.413,
    "S": -4.136,
    "Se": -3.496,
    "Te": -3.143,
    "Li": -1.909,
    "Na": -1.323,
}
SALT = pmg.Structure.from_spacegroup(
    "Fm-3m", pmg.Lattice.cubic(5.1), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def entry(
    formula: str, energy: float, tier: str = "relaxed", structure: pmg.Structure = SALT
) -> ReferenceEntry:
    cell, sites = structure_text(structure)
    reduced = pmg.Composition(formula).reduced_formula
    return ReferenceEntry(
        f"{formula}-{tier}", reduced, 1, 1, energy + 0.1, -0.1, "pbe", True, cell, sites, tier
    )


def table(*entries: ReferenceEntry, source: EnergySource = SOURCE, tier: str = "relaxed") -> ReferenceTable:
    errors = {"pbe": GeometricError(0.003, 0.012, 100)} if tier == "single_point" else {}
    return ReferenceTable(source, tier, tuple(entries), errors)


def elemental(symbols: tuple[str, ...] = ELEMENTS) -> list[ReferenceEntry]:
    return [entry(symbol, -1.0) for symbol in symbols]


@pytest.fixture(scope="module")
def shipped() -> ReferenceHull:
    return ReferenceHull.shipped()


formulas = (
    st.lists(st.integers(0, 4), min_size=4, max_size=4)
    .filter(any)
    .map(
        lambda counts: "".join(
            f"{symbol}{count}" for symbol, count in zip(ELEMENTS, counts, strict=True) if count
        )
    )
)
phases = st.dictionaries(formulas, st.floats(-3, 0, allow_nan=False), max_size=15)


@settings(max_examples=150, deadline=None)
@given(phases, formulas, st.floats(-4, 1, allow_nan=False))
def test_distances_agree_with_pymatgens_phase_diagram(
    known: dict[str, float], formula: str, energy: float
) -> None:
    entries = [*elemental(), *(entry(pair, -1.2) for pair in ("LiS", "LiP", "LiCl", "PS", "PCl", "SCl"))]
    entries += [entry(name, value) for name, value in known.items()]
    entries = list({item.id: item for item in entries}.values())
    diagram = PhaseDiagram(
        [
            PDEntry(e.formula, e.corrected_energy_per_atom * pmg.Composition(e.formula).num_atoms)
            for e in entries
        ]
    )
    composition = pmg.Composition(formula)
    candidate = PDEntry(composition, energy * composition.num_atoms)
    expected = diagram.get_decomp_and_e_above_hull(candidate, allow_negative=True, check_stable=False)[1]
    distance = ReferenceHull([table(*entries)]).energy_above_hull(composition, energy)
    assert distance.known
    assert distance.value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "formula", ["Li7P3S11", "Li6PS5Cl", "Li3YCl6", "LiAl5O8", "Li7La3Zr2O12", "NaSi2P3O12"]
)
def test_the_shipped_hull_agrees_with_pymatgens_on_the_same_entries(
    shipped: ReferenceHull, formula: str
) -> None:
    composition = pmg.Composition(formula)
    entries = shipped.entries(element.symbol for element in composition.elements)
    diagram = PhaseDiagram(
        [PDEntry(e.formula, shipped.energy_of(e) * pmg.Composition(e.formula).num_atoms) for e in entries]
    )
    candidate = PDEntry(composition, -5.0 * composition.num_atoms)
    expected = diagram.get_decomp_and_e_above_hull(candidate, allow_negative=True, check_stable=False)[1]
    assert shipped.energy_above_hull(formula, -5.0).value == pytest.approx(expected, abs=1e-6)


def test_a_decomposition_conserves_atoms_and_energy(shipped: ReferenceHull) -> None:
    composition = pmg.Composition("Li5PS4Cl2")
    distance = shipped.energy_above_hull(composition, -4.0)
    assert sum(phase.fraction for phase in distance.decomposition) == pytest.approx(1.0)
    for element in composition.elements:
        amount = sum(
            phase.fraction * pmg.Composition(phase.formula).get_atomic_fraction(element)
            for phase in distance.decomposition
        )
        assert amount == pytest.approx(composition.get_atomic_fraction(element))
    by_id = {e.id: shipped.energy_of(e) for e in shipped.entries(["Li", "P", "S", "Cl"])}
    energy = sum(phase.fraction * by_id[phase.id] for phase in distance.decomposition)
    assert distance.value == pytest.approx(-4.0 - energy, abs=1e-9)


def test_the_sign_says_which_side_and_the_candidate_is_not_part_of_the_hull() -> None:
    hull = ReferenceHull([table(*elemental(), entry("LiCl", -2.0))])
    assert hull.energy_above_hull("LiCl", -1.5).value == pytest.approx(0.5)
    assert hull.energy_above_hull("LiCl", -2.5).value == pytest.approx(-0.5)
    assert hull.energy_above_hull("Li", -1.25).value == pytest.approx(-0.25)


def test_the_lowest_phase_of_a_formula_counts() -> None:
    low = replace(entry("LiCl", -2.0), id="low")
    hull = ReferenceHull([table(*elemental(), entry("LiCl", -1.4), low)])
    distance = hull.energy_above_hull("LiCl", -2.0)
    assert distance.value == pytest.approx(0.0)
    assert [phase.id for phase in distance.decomposition] == ["low"]
    assert [phase.id for phase in hull.known_phases("Li2Cl2")] == ["low", "LiCl-relaxed"]


def test_single_points_make_the_distance_less_certain() -> None:
    points = table(entry("LiCl", -2.0, "single_point"), tier="single_point")
    hull = ReferenceHull([table(*elemental()), points])
    error = math.hypot(0.003, (0.012 - 0.003) / 1.2816)
    assert hull.energy_above_hull("LiCl", -2.0).std == pytest.approx(error)
    assert hull.energy_above_hull("Li3Cl", -2.0).std == pytest.approx(error / 2)
    assert hull.energy_above_hull("Li", -1.0).std == 0.0


def test_a_phase_in_both_tiers_counts_as_relaxed() -> None:
    relaxed = replace(entry("LiCl", -2.0), id="mp-1")
    point = replace(entry("LiCl", -2.1, "single_point"), id="mp-1")
    hull = ReferenceHull([table(point, tier="single_point"), table(*elemental(), relaxed)])
    assert [phase.tier for phase in hull.known_phases("LiCl")] == ["relaxed"]


class TestTooSparse:
    def test_an_element_without_an_elemental_phase(self) -> None:
        hull = ReferenceHull([table(*elemental(("Li",)), entry("LiCl", -2.0))])
        distance = hull.energy_above_hull("LiCl", -2.0)
        assert not distance.known
        assert math.isnan(distance.value)
        assert "no elemental phase of Cl" in distance.why_unknown

    def test_nothing_but_elements(self) -> None:
        hull = ReferenceHull([table(*elemental(("Li", "P")))])
        distance = hull.energy_above_hull("LiP", -5.0)
        assert not distance.known
        assert "no compound of Li-P" in distance.why_unknown

    def test_an_ionic_pair_without_a_compound(self) -> None:
        hull = ReferenceHull([table(*elemental(("Li", "P", "Cl")), entry("PCl3", -1.4))])
        distance = hull.energy_above_hull("LiPCl4", -5.0)
        assert not distance.known
        assert "no compound of just Cl and Li" in distance.why_unknown
        assert (
            ReferenceHull([table(*elemental(("Li", "P", "Cl")), entry("LiCl", -1.4))])
            .energy_above_hull("LiPCl4", -5)
            .known
        )

    def test_elements_outside_the_reference(self, shipped: ReferenceHull) -> None:
        distance = shipped.energy_above_hull("LiPo", -3.0)
        assert not distance.known
        assert "Po" in distance.why_unknown

    def test_ordinary_battery_chemistry_is_known(self, shipped: ReferenceHull) -> None:
        for formula in ("Li3PS4", "LiAlSiO4", "Li2ZnCl4", "NaZr2P3O12", "LiMgN", "Li3InBr6"):
            assert shipped.energy_above_hull(formula, -4.0).known, formula


class TestMixing:
    @pytest.mark.parametrize("key", ["potential", "version", "correction"])
    def test_another_source_is_refused(self, key: str) -> None:
        other = replace(SOURCE, **{key: "another"})
        with pytest.raises(MixedEnergiesError, match="another"):
            ReferenceHull([table(*elemental()), table(entry("LiCl", -2.0), source=other)])
        hull = ReferenceHull([table(*elemental(), entry("LiCl", -2.0))])
        with pytest.raises(MixedEnergiesError, match="another"):
            hull.energy_above_hull("LiCl", -2.0, other)
        assert hull.energy_above_hull("LiCl", -2.0, SOURCE).value == pytest.approx(0.0)

    def test_the_uncorrected_hull_is_labelled_and_consistent(self) -> None:
        hull = ReferenceHull([table(*elemental(), entry("LiCl", -2.0))], correction="none")
        assert hull.source.correction == "none"
        assert hull.energy_above_hull("LiCl", -1.9).value == pytest.approx(0.0)
        with pytest.raises(ValueError, match="formation energy"):
            hull.formation_energy("LiCl", -1.9)

    @pytest.mark.parametrize("energy", [math.nan, math.inf])
    def test_a_value_that_is_no_number_is_refused(self, energy: float) -> None:
        hull = ReferenceHull([table(*elemental(), entry("LiCl", -2.0))])
        with pytest.raises(ValueError, match=r"LiCl.*finite"):
            hull.energy_above_hull("LiCl", energy)


class TestNovelty:
    def test_a_known_phase_is_recognised_however_it_is_written(self, shipped: ReferenceHull) -> None:
        for formula in ("LiCl", "Li2S", "MgO", "Li3PO4"):
            phase = shipped.known_phases(formula)[0]
            structure = phase.structure() * (2, 1, 1)
            structure.perturb(0.02)
            structure.scale_lattice(structure.volume * 1.03)
            found = shipped.matching_phase(structure)
            assert found is not None
            assert found in {known.id for known in shipped.known_phases(formula)}

    def test_another_arrangement_is_new(self, shipped: ReferenceHull) -> None:
        odd = pmg.Structure(pmg.Lattice.tetragonal(3.0, 9.0), ["Li", "Cl"], [[0, 0, 0], [0, 0, 0.25]])
        assert shipped.matching_phase(odd) is None
        assert (
            shipped.matching_phase(pmg.Structure(pmg.Lattice.cubic(4), ["Li", "Po"], [[0, 0, 0], [0.5] * 3]))
            is None
        )

    def test_the_single_point_tier_is_searched_too(self) -> None:
        hull = ReferenceHull(
            [table(*elemental()), table(entry("LiCl", -2.0, "single_point"), tier="single_point")]
        )
        assert hull.matching_phase(SALT.get_primitive_structure()) == "LiCl-single_point"


class TestFiles:
    def test_a_table_survives_writing(self, tmp_path: Path) -> None:
        for name in ("mine.csv", "mine.csv.xz"):
            written = table(*elemental(), entry("LiCl", -2.0, "single_point"), tier="single_point")
            write_table(tmp_path / name, written)
            again = read_table(tmp_path / name)
            assert again.source == written.source
            assert again.errors == written.errors
            assert [e.id for e in again.entries] == [e.id for e in written.entries]
            assert again.entries[-1].structure().matches(SALT)
            assert again.entries[0].energy_per_atom == pytest.approx(written.entries[0].energy_per_atom)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "mine.csv.xz"]

    def test_the_formula_nan_is_sodium_nitride(self, tmp_path: Path) -> None:
        write_table(tmp_path / "n.csv", table(entry("NaN", -2.0)))
        assert read_table(tmp_path / "n.csv").entries[0].elements == {"Na", "N"}

    def test_a_users_file_extends_the_shipped_hull(self, tmp_path: Path, shipped: ReferenceHull) -> None:
        mine = replace(entry("LiCl", -9.0), id="mine")
        write_table(tmp_path / "mine.csv.xz", table(mine, source=shipped.source))
        hull = ReferenceHull.shipped([tmp_path / "mine.csv.xz"])
        assert len(hull) == len(shipped) + 1
        assert hull.energy_above_hull("LiCl", -9.0).value == pytest.approx(0.0)
        assert shipped.energy_above_hull("LiCl", -9.0).value < -4

    def test_broken_files_say_where_and_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        with pytest.raises(ReferenceFileError, match="no such reference file"):
            read_table(path)
        path.write_text("id,formula\n")
        with pytest.raises(ReferenceFileError, match="line 1"):
            read_table(path)
        write_table(path, table(*elemental()))
        lines = path.read_text().splitlines()
        for broken, message in (
            ([*lines[:3], lines[3].replace("-0.900000", "nan")], "line 4.*finite"),
            ([*lines[:3], lines[3].rsplit(",", 3)[0]], "line 4.*fields"),
            ([lines[0], lines[1].replace("relaxed", "guessed"), *lines[2:]], "line 2.*guessed"),
            ([*lines[:2], "id,formula"], "line 3"),
        ):
            path.write_text("\n".join(broken) + "\n")
            with pytest.raises(ReferenceFileError, match=message):
                read_table(path)

    def test_a_truncated_compressed_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv.xz"
        write_table(path, table(*elemental()))
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ReferenceFileError, match=r"mine\.csv\.xz.*truncated"):
            read_table(path)

    def test_a_potential_without_a_hull_is_told_so(self) -> None:
        with pytest.raises(ReferenceFileError, match=r"7net-l3i5.*only for 7net-0"):
            ReferenceHull.shipped(potential="7net-l3i5")


class TestWhatShips:
    def test_every_element_of_the_potential_has_a_relaxed_reference(self, shipped: ReferenceHull) -> None:
        elements = {
            next(iter(e.elements))
            for e in read_table(DATA / "reference_7net-0_relaxed.csv.xz").entries
            if len(e.elements) == 1
        }
        assert len(elements) == 89

    @pytest.mark.parametrize("symbol", MATERIALS_PROJECT_ELEMENTS)
    def test_molecular_elements_are_in_their_ground_state(self, shipped: ReferenceHull, symbol: str) -> None:
        """A wrong polymorph of nitrogen alone shifts every nitride by an electronvolt per nitrogen."""
        energy = shipped.known_phases(symbol)[0].energy_per_atom
        assert energy == pytest.approx(MATERIALS_PROJECT_ELEMENTS[symbol], abs=0.08)

    def test_the_files_are_small_and_load_quickly(self) -> None:
        paths = list(DATA.glob("reference_7net-0_*.csv.xz"))
        assert len(paths) == 2
        assert sum(path.stat().st_size for path in paths) < 8e6
        start = time.process_time()
        ReferenceHull([read_table(path) for path in paths])
        assert time.process_time() - start < 3.0

    def test_every_entry_is_labelled(self) -> None:
        for tier in ("relaxed", "single_point"):
            path = DATA / f"reference_7net-0_{tier}.csv.xz"
            content = read_table(path)
            assert content.tier == tier
            assert content.source.correction == "MaterialsProject2020"
            assert "CC-BY" in content.settings["origin"]
            assert len(content.ids) == len(content.entries)
            with lzma.open(path, "rt") as handle:
                assert handle.readline().strip() == "# matloop reference 1"
        errors = content.errors
        assert errors["pbe"].phases > 1000
        assert 0 < errors["pbe"].median < errors["pbe"].percentile_90 < 0.02

    def test_stored_energies_are_the_potentials_own(self, shipped: ReferenceHull) -> None:
        """The whole chain: stored structure, potential, stored energy; small cells of both tiers."""
        from materials.potential import load_potential

        potential = load_potential("7net-0", device="cpu")
        assert shipped.source.version == potential.version
        chosen = [shipped.known_phases(formula)[0] for formula in ("LiCl", "Li2O", "CsCl", "FeS2", "LiCoO2")]
        energies = potential.evaluate([phase.structure() for phase in chosen]).energies_per_atom
        for phase, energy in zip(chosen, energies, strict=True):
            tolerance = 1e-4 if phase.tier == "relaxed" else 2e-3
            assert energy == pytest.approx(phase.energy_per_atom, abs=tolerance), phase.id
