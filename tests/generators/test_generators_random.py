from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generator_cases import crystal, propose
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from generators.random_crystal import CHILDREN, MOST_HANGS, Child, RandomCrystals, RandomSettings, job
from materials.archive import Archive
from materials.space import Space


@pytest.fixture(scope="module")
def generator(space: Space) -> RandomCrystals:
    return RandomSettings().build(space)


def test_crystals_lie_in_the_space_and_have_their_symmetry(
    generator: RandomCrystals, space: Space, empty: Archive
) -> None:
    candidates = propose(generator, 12, empty)
    assert len(candidates) == 12
    assert [space.why_not(c.material) for c in candidates] == [None] * 12
    groups = {c.id: int(c.origin.note.split()[-1]) for c in candidates}
    assert len(set(groups.values())) > 6
    for candidate in candidates:
        found = SpacegroupAnalyzer(crystal(candidate).structure, symprec=0.01).get_space_group_number()
        # Special positions may raise the symmetry, never lower it.
        assert found >= groups[candidate.id]


def test_a_seed_decides_the_crystals_whatever_was_asked_before(
    generator: RandomCrystals, space: Space, empty: Archive
) -> None:
    first = [c.id for c in propose(generator, 4, empty, seed=11)]
    assert [c.id for c in propose(generator, 4, empty, seed=11)] == first
    assert [c.id for c in propose(RandomSettings().build(space), 4, empty, seed=11)] == first
    assert [c.id for c in propose(generator, 4, empty, seed=12)] != first


def test_a_fixed_formula_is_kept(empty: Archive) -> None:
    space = Space(formula="LiAlO2", number_of_atoms=(4, 8))
    candidates = propose(RandomSettings().build(space), 5, empty)
    assert {c.formula for c in candidates} == {"LiAlO2"}
    assert {len(crystal(c).structure) for c in candidates} <= {4, 8}


def test_a_hang_is_cut_off_and_the_next_job_answered() -> None:
    child = Child(seconds=1.5)
    # 120 atoms packed a hundred times too tight keep pyxtal busy for hours.
    endless = job({"Li": 60, "O": 60}, seed=1, attempts=10**6) | {"volume": 12.0}
    assert child.ask(endless) is None
    easy = job({"Li": 1, "Cl": 1}, seed=1, attempts=50)
    answer = child.ask(easy)
    assert answer is not None
    assert answer["crystal"]["species"] in ([{"Li": 1.0}, {"Cl": 1.0}], [{"Cl": 1.0}, {"Li": 1.0}])
    assert Child(seconds=60).ask(easy) == answer


def test_a_generator_ends_after_a_few_hangs(empty: Archive, caplog: pytest.LogCaptureFixture) -> None:
    # No crystal can be grown in a thousandth of a second of processor time.
    generator = RandomSettings(seconds=0.001).build(Space(formula="Li3ClO"))
    assert propose(generator, 1, empty) == []
    assert MOST_HANGS <= len(caplog.records) <= MOST_HANGS + CHILDREN - 1


def test_the_child_ends_with_its_parent() -> None:
    script = (
        "from generators.random_crystal import Child, job\n"
        "child = Child(60)\n"
        "child.ask(job({'Li': 1, 'Cl': 1}, 1, 50))\n"
        "print(child._process.pid, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd())
    pid = int(ended.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        subprocess.run(["sleep", "0.1"], check=True)
    os.kill(pid, 9)
    pytest.fail("the pyxtal process outlived its parent")


def test_the_volume_follows_the_elements() -> None:
    seeds = range(20)
    small = np.mean([job({"Li": 2, "O": 1}, s, 1)["volume"] for s in seeds])
    large = np.mean([job({"Li": 1, "I": 2}, s, 1)["volume"] for s in seeds])
    assert 7 < small / 3 < 14
    assert 30 < large / 3 < 60
