"""Windows and interface reactions: against published ones, against pymatgen's diagrams, and what must always hold."""

from __future__ import annotations

import re
from functools import cache

import pymatgen.core as pmg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.interface_reactions import GrandPotentialInterfacialReactivity, InterfacialReactivity
from pymatgen.analysis.phase_diagram import GrandPotentialPhaseDiagram, PDEntry, PhaseDiagram

from materials.corrections import UncorrectedEnergyError
from materials.electrochemistry import Electrochemistry, UnknownReferenceError, Window, ion_charge
from materials.hull import ReferenceHull
from materials.reference_table import EnergySource, GeometricError, ReferenceEntry, ReferenceTable

ELEMENTS = ("Li", "Al", "Mg", "Zn")  # metals: no pair must have a compound to be judged
SOURCE = EnergySource("7net-0", "checkpoint#0", "MaterialsProject2020")
Known = dict[str, float]


@pytest.fixture(scope="module")
def shipped() -> ReferenceHull:
    return ReferenceHull.shipped()


def of_phase(hull: ReferenceHull, formula: str, shift: float = 0.0) -> Electrochemistry:
    return Electrochemistry(hull, formula, hull.energy_of(hull.known_phases(formula)[0]) + shift)


@cache
def lithium_compounds(hull: ReferenceHull) -> list[str]:
    return sorted(f for f in hull.formulas if re.match(r"Li[A-Z0-9(]", f))


def ends(window: Window) -> tuple[float, float]:
    return window.reduction.potential, window.oxidation.potential


# Zhu, He, Mo, ACS Appl. Mater. Interfaces 2015, 7, 23685, with older corrections of the Materials Project.
@pytest.mark.parametrize(
    ("formula", "published"),
    [
        ("LiF", (0.0, 6.36)),
        ("LiCl", (0.0, 4.21)),
        ("Li2O", (0.0, 2.90)),
        ("Li2S", (0.0, 2.01)),
        ("Li3PS4", (1.71, 2.31)),
        ("Li3PO4", (0.69, 4.21)),
        ("Li7La3Zr2O12", (0.05, 2.91)),
    ],
)
def test_windows_are_near_published_ones(
    shipped: ReferenceHull, formula: str, published: tuple[float, float]
) -> None:
    assert ends(of_phase(shipped, formula).window("Li")) == pytest.approx(published, abs=0.1)


def test_a_window_tells_the_reactions_at_its_ends(shipped: ReferenceHull) -> None:
    window = of_phase(shipped, "Li3PO4").window("Li")
    assert set(window.reduction.reaction) == {"Li", "Li3PO4", "Li2O", "Li3P"}  # Zhu, He, Mo (2015)
    for limit, ions in ((window.reduction, -1.0), (window.oxidation, 1.0)):
        assert limit.reaction["Li"] == pytest.approx(ions)
        assert limit.reaction["Li3PO4"] < 0
        oxygen = [n * pmg.Composition(f)["O"] for f, n in limit.reaction.items()]
        assert sum(oxygen) == pytest.approx(0, abs=1e-6)
    assert of_phase(shipped, "LiF").window("Li").reduction.reaction == {}


def test_a_metastable_material_has_the_window_of_what_it_decomposes_into(shipped: ReferenceHull) -> None:
    parts = [ends(of_phase(shipped, formula).window("Li")) for formula in ("Li3PS4", "Li2S", "LiCl")]
    common = max(low for low, _ in parts), min(high for _, high in parts)
    for energy in (-3.0, 0.0):
        argyrodite = Electrochemistry(shipped, "Li6PS5Cl", energy)
        assert ends(argyrodite.window("Li")) == pytest.approx(common, abs=1e-6)


def test_a_window_grows_steadily_below_the_hull(shipped: ReferenceHull) -> None:
    widths = [
        of_phase(shipped, "Li3PS4", shift).window("Li").width for shift in (0.3, 1e-9, 0.0, -0.01, -0.05)
    ]
    assert widths[0] == pytest.approx(widths[1], abs=1e-6)
    assert widths[1] == pytest.approx(widths[2], abs=1e-6)
    assert widths[2] < widths[3] < widths[4]


@pytest.mark.parametrize("formula", ["Li2O", "Li3N", "LiF", "LiCl", "Li2S"])
def test_what_is_stable_against_lithium_does_not_react_with_it(shipped: ReferenceHull, formula: str) -> None:
    material = of_phase(shipped, formula)
    reaction = material.interface("Li")
    assert (reaction.energy, reaction.products) == (0.0, ())
    assert material.window("Li").reduction.potential == pytest.approx(0, abs=1e-6)


def test_a_thiophosphate_reacts_with_both_electrodes_and_a_garnet_hardly(shipped: ReferenceHull) -> None:
    sulfide, garnet = of_phase(shipped, "Li3PS4"), of_phase(shipped, "Li7La3Zr2O12")
    assert {phase.formula for phase in sulfide.interface("Li").products} == {"Li2S", "Li3P"}
    assert sulfide.interface("Li").energy < -0.5
    assert "Li3PO4" in {phase.formula for phase in sulfide.interface("LiCoO2").products}
    assert sulfide.interface("LiCoO2").energy < -0.3
    assert garnet.interface("Li").energy > -0.05
    assert garnet.interface("LiCoO2").energy > -0.05


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 10**6), shift=st.floats(-0.05, 0.3))
def test_known_phases_react_with_lithium_where_their_window_does_not_hold_it(
    shipped: ReferenceHull, number: int, shift: float
) -> None:
    formula = lithium_compounds(shipped)[number % len(lithium_compounds(shipped))]
    material = of_phase(shipped, formula, shift)
    window, reaction = material.window("Li"), material.interface("Li")
    assert window.reduction.potential >= -1e-6
    assert window.width >= 0
    assert reaction.energy <= 0
    assert 0 <= reaction.fraction <= 1
    stable = window.reduction.potential < 1e-4
    assert (reaction.energy > -1e-4) if stable else (reaction.energy < 0)


formulas = (
    st.lists(st.integers(0, 4), min_size=4, max_size=4)
    .filter(any)
    .map(lambda counts: "".join(f"{s}{n}" for s, n in zip(ELEMENTS, counts, strict=True) if n))
)
phases = st.dictionaries(formulas, st.floats(-3, -1, allow_nan=False), min_size=3, max_size=12)


def hull_of(known: Known, tier: str = "relaxed") -> ReferenceHull:
    lowest = dict.fromkeys(ELEMENTS, -1.0) | {"LiAlMgZn": -1.01}
    for formula, energy in known.items():
        reduced = pmg.Composition(formula).reduced_formula
        lowest[reduced] = min(energy, lowest.get(reduced, 0.0))
    entries = tuple(
        ReferenceEntry(f, f, 1, 1, energy, 0.0, "pbe", True, "", "", tier) for f, energy in lowest.items()
    )
    errors = {"pbe": GeometricError(0.003, 0.012, 100)} if tier == "single_point" else {}
    return ReferenceHull([ReferenceTable(SOURCE, tier, entries, errors)])


def diagram_of(hull: ReferenceHull) -> PhaseDiagram:
    return PhaseDiagram(
        [
            PDEntry(e.formula, hull.energy_of(e) * pmg.Composition(e.formula).num_atoms)
            for e in hull.entries(ELEMENTS)
        ]
    )


@settings(max_examples=60, deadline=None)
@given(phases, formulas)
def test_windows_agree_with_pymatgens_element_profile(known: Known, formula: str) -> None:
    composition = pmg.Composition(formula)
    assume("Li" in composition.as_dict() and len(composition) > 1)
    hull = hull_of(known)
    assume(not hull.energy_above_hull(composition, 0.0).why_unknown)
    diagram = diagram_of(hull)
    profile = diagram.get_element_profile(pmg.Element("Li"), composition)
    metal = diagram.el_refs[pmg.Element("Li")].energy_per_atom
    taken_up = [metal - step["chempot"] for step in profile if step["evolution"] > 1e-4]
    given_off = [metal - step["chempot"] for step in profile if step["evolution"] < -1e-4]
    window = Electrochemistry(hull, composition, 0.0).window("Li")
    # A step's evolution holds from its potential to the next one's: the window opens where nothing is taken up.
    kept = [metal - step["chempot"] for step in profile if abs(step["evolution"]) <= 1e-4]
    opens = min(kept) if kept else min(given_off)
    assert window.oxidation.potential == pytest.approx(min(given_off), abs=1e-3)
    assert window.reduction.potential == pytest.approx(opens, abs=1e-3)
    assert all(potential <= opens + 1e-3 for potential in taken_up)


@settings(max_examples=60, deadline=None)
@given(phases, formulas, formulas)
def test_interfaces_agree_with_pymatgens_interfacial_reactivity(
    known: Known, first: str, second: str
) -> None:
    hull = hull_of(known)
    assume(pmg.Composition(first).fractional_composition != pmg.Composition(second).fractional_composition)
    try:
        found = Electrochemistry(hull, first, 0.0).interface(second)
    except UnknownReferenceError:
        assume(False)
    ends = pmg.Composition(first), pmg.Composition(second)
    expected = min(
        kink[2] for kink in InterfacialReactivity(*ends, diagram_of(hull), use_hull_energy=True).get_kinks()
    )
    assert found.energy == pytest.approx(min(expected, 0.0), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(phases, formulas, formulas, st.floats(0, 2))
def test_interfaces_with_a_reservoir_agree_with_pymatgen(
    known: Known, first: str, second: str, voltage: float
) -> None:
    hull = hull_of(known)
    ends = pmg.Composition(first), pmg.Composition(second)
    assume(all({"Al", "Mg", "Zn"} & set(end.as_dict()) for end in ends))
    without = [pmg.Composition({s: n for s, n in end.as_dict().items() if s != "Li"}) for end in ends]
    assume(without[0].fractional_composition != without[1].fractional_composition)
    assume("Li" in ends[0].as_dict() or "Li" in ends[1].as_dict())
    try:
        found = Electrochemistry(hull, first, 0.0).interface(second, "Li", voltage)
    except UnknownReferenceError:
        assume(False)
    diagram = diagram_of(hull)
    potential = diagram.el_refs[pmg.Element("Li")].energy_per_atom - voltage
    opened = GrandPotentialPhaseDiagram(diagram.all_entries, {pmg.Element("Li"): potential})
    reactivity = GrandPotentialInterfacialReactivity(*ends, opened, diagram, use_hull_energy=True, norm=True)
    # Both decomposed beforehand, as the lowest phases at this potential: only what contact adds is left.
    low = [opened.get_hull_energy(end.fractional_composition) for end in without]
    mixtures = [reactivity.comp1 * x + reactivity.comp2 * (1 - x) for x in [i / 200 for i in range(201)]]
    gained = [
        opened.get_hull_energy(mixture) - low[0] * i / 200 - low[1] * (1 - i / 200)
        for i, mixture in enumerate(mixtures)
    ]
    assert found.energy <= min(gained) + 1e-5
    assert found.energy == pytest.approx(min(0.0, *gained), abs=0.05)


@settings(max_examples=60, deadline=None)
@given(phases, formulas, formulas, st.floats(-4, 0))
def test_another_phase_never_raises_the_hull_nor_widens_a_metastable_window(
    known: Known, formula: str, other: str, energy: float
) -> None:
    before, after = hull_of(known), hull_of(known | {other: min(energy, known.get(other, 0.0))})
    assume(before.energy_above_hull(formula, 0.0).known)
    assert after.energy_above_hull(formula, 0.0).value >= before.energy_above_hull(formula, 0.0).value - 1e-9


def test_single_points_make_potentials_uncertain() -> None:
    known = {"LiAl": -2.0, "LiMg": -1.5, "MgAl": -1.5}
    sure, unsure = (
        Electrochemistry(hull_of(known, tier), "LiAl", -2.01) for tier in ("relaxed", "single_point")
    )
    assert unsure.window("Li").oxidation.std > 0
    assert unsure.interface("Mg").std >= 0
    assert ends(sure.window("Li")) == pytest.approx(ends(unsure.window("Li")))
    wrong = Electrochemistry(hull_of(known), "LiAl", -2.01, std=0.1).window("Li")
    # Two atoms per ion: an error of the material's own energy counts twice.
    assert wrong.oxidation.std == pytest.approx(sure.window("Li").oxidation.std + 0.2, rel=1e-6)


def test_charges_turn_energies_into_volts() -> None:
    charges = {symbol: ion_charge(symbol) for symbol in ("Li", "Na", "Ag", "Cu", "Mg", "Zn", "Al", "Y")}
    assert charges == {"Li": 1, "Na": 1, "Ag": 1, "Cu": 1, "Mg": 2, "Zn": 2, "Al": 3, "Y": 3}
    hull = hull_of({"MgZn": -2.0})
    # Mg + Zn -> MgZn gives 2 eV for two electrons.
    assert Electrochemistry(hull, "MgZn", 0.0).window("Mg").oxidation.potential == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no cation"):
        ion_charge("Ar")


def test_what_cannot_be_told_is_refused(shipped: ReferenceHull) -> None:
    with pytest.raises(UncorrectedEnergyError, match="MaterialsProject2020"):
        Electrochemistry(ReferenceHull.shipped(correction="none"), "LiF", -5.0)
    with pytest.raises(ValueError, match="holds no Li"):
        of_phase(shipped, "MgO").window("Li")
    with pytest.raises(UnknownReferenceError, match="no elemental phase of Fr"):
        of_phase(shipped, "LiF").interface("FrCl")
    with pytest.raises(ValueError, match="no other potential"):
        of_phase(shipped, "LiF").interface("Li", "Li", 1.0)
