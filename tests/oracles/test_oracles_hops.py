"""Hops of known crystals, their symmetry, and the networks they make."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from oracles.conduction.hop_landscape import WORTHWHILE, Landscape
from oracles.conduction.hops import Hop, distinct_hops, distinct_sites, primitive_cell, smallest_supercell
from oracles.conduction.percolation import Image, Link, percolation_energies

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.03), ["Li", "F"], [[0] * 3, [0.5] * 3])
ANTIFLUORITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.62), ["Li", "O"], [[0.25] * 3, [0] * 3])
ANTIPEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.91), ["Li", "O", "Cl"], [[0.5, 0, 0], [0] * 3, [0.5] * 3]
)
LAYERED = Structure.from_spacegroup(
    "R-3m", Lattice.hexagonal(2.82, 14.05), ["Li", "Co", "O"], [[0, 0, 0.5], [0] * 3, [0, 0, 0.26]]
)
# Lithium nitride (Rabenau, Schulz, J. Less-Common Met. 50, 155 (1976)): Li2N layers, one more Li between them.
NITRIDE = Structure(
    Lattice.hexagonal(3.648, 3.875),
    ["Li", "Li", "Li", "N"],
    [[0, 0, 0.5], [1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [0, 0, 0]],
)


def around(hops: list[Hop], site: int) -> int:
    """How many hops leave a site."""
    edges = [edge for hop in hops for edge in hop.equivalents]
    return sum((first == site) + (second == site) for first, second, _ in edges)


@pytest.mark.parametrize(
    ("crystal", "length", "neighbours"),
    [(ROCK_SALT, 4.03 / math.sqrt(2), 12), (ANTIFLUORITE, 2.31, 6), (ANTIPEROVSKITE, 3.91 / math.sqrt(2), 8)],
    ids=["rock salt", "antifluorite", "antiperovskite"],
)
def test_the_sites_of_cubic_crystals_are_joined_by_one_kind_of_hop(
    crystal: Structure, length: float, neighbours: int
) -> None:
    unit = primitive_cell(crystal)
    hops = distinct_hops(unit, "Li", 6.0)
    assert [hop.length for hop in hops] == [pytest.approx(length, abs=1e-4)]
    sites = distinct_sites(unit, "Li")
    assert len(set(sites.values())) == 1
    assert {around(hops, site) for site in sites} == {neighbours}


def test_layers_are_crossed_by_short_hops_and_left_by_long_ones() -> None:
    hops = distinct_hops(primitive_cell(LAYERED), "Li", 6.0)
    assert hops[0].length == pytest.approx(2.82)
    assert around(hops[:1], hops[0].first) == 6
    energies = percolation_energies(Link(*edge, hop.length) for hop in hops for edge in hop.equivalents)
    assert energies[0] == energies[1] == pytest.approx(2.82)
    assert 4.5 < energies[2] < 5.5


def test_inequivalent_sites_are_told_apart() -> None:
    unit = primitive_cell(NITRIDE)
    sites = distinct_sites(unit, "Li")
    assert len(set(sites.values())) == 2
    lengths = [hop.length for hop in distinct_hops(unit, "Li", 3.0)]
    assert lengths == [
        pytest.approx(3.648 / math.sqrt(3)),
        pytest.approx(math.hypot(3.648 / math.sqrt(3), 3.875 / 2)),
    ]


@given(
    matrix=st.lists(st.integers(-1, 1), min_size=9, max_size=9),
    shift=st.tuples(*[st.floats(0, 1)] * 3),
    crystal=st.sampled_from([ROCK_SALT, ANTIPEROVSKITE, NITRIDE]),
)
@settings(max_examples=15, deadline=None)
def test_neither_cell_nor_origin_changes_the_hops(
    matrix: list[int], shift: tuple[float, float, float], crystal: Structure
) -> None:
    transformation = np.array(matrix).reshape(3, 3)
    unit = primitive_cell(crystal)
    assume(0 < abs(round(float(np.linalg.det(transformation)))) <= 2)
    other = unit.make_supercell(transformation, in_place=False)
    other.translate_sites(range(len(other)), shift)

    def summary(structure: Structure) -> list[tuple[float, int]]:
        hops = distinct_hops(primitive_cell(structure), "Li", 4.5)
        return [(round(hop.length, 3), len(hop.equivalents)) for hop in hops]

    assert summary(other) == summary(unit)


@given(
    angles=st.tuples(*[st.floats(60, 120)] * 3),
    edges=st.tuples(*[st.floats(3, 6)] * 3),
)
@settings(max_examples=20, deadline=None)
def test_the_supercell_is_the_smallest_that_keeps_the_distance(
    angles: tuple[float, float, float], edges: tuple[float, float, float]
) -> None:
    try:
        lattice = Lattice.from_parameters(*edges, *angles)
    except ValueError:
        assume(False)
    assume(lattice.volume > 20)
    matrix = smallest_supercell(lattice, 6.5)
    cell = Lattice(matrix @ lattice.matrix)
    assert shortest_vector(cell) >= 6.5 - 1e-4
    multiples = [math.ceil(6.5 / edge) + 1 for edge in edges]
    plain = [n for n in product(*(range(1, m + 1) for m in multiples)) if diagonal_is_wide(lattice, n)]
    assert round(abs(float(np.linalg.det(matrix)))) <= min((math.prod(n) for n in plain), default=10**6)


def diagonal_is_wide(lattice: Lattice, multiples: tuple[int, ...]) -> bool:
    return shortest_vector(Lattice(np.diag(multiples) @ lattice.matrix)) >= 6.5


def shortest_vector(lattice: Lattice) -> float:
    reduced = lattice.get_lll_reduced_lattice().matrix
    return min(
        float(np.linalg.norm(np.array(n) @ reduced)) for n in product((-2, -1, 0, 1, 2), repeat=3) if any(n)
    )


def test_a_ladder_a_net_and_a_lattice_open_one_after_the_other() -> None:
    links = [Link(0, 0, (1, 0, 0), 0.3), Link(0, 1, (0, 0, 0), 0.1), Link(1, 0, (0, 1, 0), 0.5)]
    assert percolation_energies(links) == (0.3, 0.5, math.inf)
    assert percolation_energies([*links, Link(1, 1, (2, 3, 1), 0.9)]) == (0.3, 0.5, 0.9)
    assert percolation_energies([Link(0, 1, (5, 5, 5), 0.2)]) == (math.inf,) * 3


IMAGES = st.tuples(*[st.integers(-1, 1)] * 3)
LINKS = st.lists(
    st.builds(Link, st.integers(0, 3), st.integers(0, 3), IMAGES, st.floats(0, 2)), min_size=1, max_size=14
)


@given(LINKS)
@settings(max_examples=25, deadline=None)
def test_percolation_agrees_with_counting_what_a_walk_can_reach(links: list[Link]) -> None:
    energies = percolation_energies(links)
    assert list(energies) == sorted(energies)
    for dimensions, energy in enumerate(energies, start=1):
        for level in {*energies, links[0].energy} - {math.inf}:
            reached = widest_walk([link for link in links if link.energy <= level])
            assert (reached >= dimensions) == (energy <= level)


def widest_walk(links: list[Link]) -> int:
    """Independent directions along which a walk over the links comes back to an image of its start."""
    ways: dict[int, list[tuple[int, Image]]] = {}
    for link in links:
        back = (-link.image[0], -link.image[1], -link.image[2])
        ways.setdefault(link.first, []).append((link.second, link.image))
        ways.setdefault(link.second, []).append((link.first, back))
    widest = 0
    for start in ways:
        seen = {(start, (0, 0, 0))}
        queue = list(seen)
        while queue:
            site, cell = queue.pop()
            for other, (a, b, c) in ways[site]:
                place = (other, (cell[0] + a, cell[1] + b, cell[2] + c))
                if place not in seen and max(map(abs, place[1])) <= 4:
                    seen.add(place)
                    queue.append(place)
        images = np.array([cell for site, cell in seen if site == start])
        widest = max(widest, int(np.linalg.matrix_rank(images)))
    return widest


@given(
    st.lists(st.floats(0, 0.5), min_size=2, max_size=2),
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), IMAGES, st.floats(0, 2)), min_size=4, max_size=10
    ),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_hops_that_are_not_computed_would_not_have_lowered_the_barrier(
    energies: list[float], ways: list[tuple[int, int, Image, float]], dimensions: int
) -> None:
    hops = [Hop(a, b, image, 2.0 + n, ((a, b, image),)) for n, (a, b, image, _) in enumerate(ways)]
    rises = {hop: rise for hop, (*_, rise) in zip(hops, ways, strict=True)}
    pruned, full = (Landscape({0: 0, 1: 1}, hops, dimensions) for _ in range(2))
    for landscape in (pruned, full):
        for site, energy in enumerate(energies):
            landscape.add_vacancy(site, site, energy)
    for hop in hops:
        full.add_saddle(hop, rises[hop])
        if pruned.is_worthwhile(hop):
            pruned.add_saddle(hop, rises[hop])
    found, true = (landscape.barriers()[dimensions - 1] for landscape in (pruned, full))
    assert found == true or true <= found <= true + WORTHWHILE


def test_the_barrier_counts_from_the_best_site_over_the_worst_on_the_way() -> None:
    # A chain of good (0 eV) and bad (0.4 eV) sites: a hop of 0.1 eV from the bad one is 0.5 eV from the good one.
    hops = [Hop(0, 1, (0, 0, 0), 2.0, ((0, 1, (0, 0, 0)),)), Hop(0, 1, (1, 0, 0), 2.1, ((0, 1, (1, 0, 0)),))]
    landscape = Landscape({0: 0, 1: 1}, hops, 1)
    landscape.add_vacancy(0, 0, -10.0)
    landscape.add_vacancy(1, 1, -9.6)
    for hop in hops:
        landscape.add_saddle(hop, 0.3)
    assert landscape.barriers()[0] == pytest.approx(0.5)
    # A saddle below its own end is no barrier, but the end itself has to be climbed.
    landscape.add_saddle(hops[0], 0.1)
    landscape.add_saddle(hops[1], 0.1)
    assert landscape.barriers()[0] == pytest.approx(0.4)


def test_a_known_barrier_at_its_floor_ends_the_search() -> None:
    hops = [Hop(0, 0, (1, 0, 0), 2.0, ((0, 0, (1, 0, 0)),)), Hop(0, 0, (0, 1, 0), 3.0, ((0, 0, (0, 1, 0)),))]
    landscape = Landscape({0: 0}, hops, 1)
    landscape.add_vacancy(0, 0, 0.0)
    assert landscape.is_worthwhile(hops[0])
    landscape.add_saddle(hops[0], 0.005)
    assert not landscape.is_worthwhile(hops[1])
    landscape.add_saddle(hops[0], 0.3)
    assert landscape.is_worthwhile(hops[1])


def test_what_the_supercell_does_to_equal_sites_is_taken_out() -> None:
    hop = Hop(0, 1, (1, 0, 0), 2.0, ((0, 1, (1, 0, 0)), (1, 0, (0, 0, 0))))
    landscape = Landscape({0: 0, 1: 0}, [hop], 1)
    landscape.add_vacancy(0, 3, -10.0)
    landscape.add_vacancy(1, 7, -9.96)
    landscape.add_saddle(hop, 0.3)
    assert landscape.barriers()[0] == pytest.approx(0.3)
    assert landscape.spread == pytest.approx(0.04)
