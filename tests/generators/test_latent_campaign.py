"""The latent generator in a campaign, with the weights that ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from generator_cases import Evaluated, crystal, propose
from pymatgen.core import Composition
from safetensors import safe_open

from generators.latent.best import Best
from generators.latent.decoding import Decoding
from generators.latent.proposing import Latent
from generators.latent.settings import LatentSettings
from generators.latent.tokens import crystals_of
from generators.latent.weights import SHIPPED, load, seeded
from materials.archive import Archive
from materials.base import Candidate
from materials.space import Space

OXIDES = Space(elements=["Li", "Na", "Mg", "Al", "Ti", "O"], required=["O"], number_of_atoms=(2, 12))


@pytest.fixture(scope="module", name="latent")
def _latent() -> Latent:
    return LatentSettings(kind="latent").build(OXIDES)


def test_proposals_are_different_crystals_of_the_space(latent: Latent, empty: Archive) -> None:
    found = propose(latent, 12, empty)
    assert len(found) == 12
    assert len({candidate.id for candidate in found}) == 12
    for candidate in found:
        assert OXIDES.why_not(candidate.material) is None
        assert candidate.origin.note.startswith("asked energy_above_hull")
        assert candidate.origin.latent is not None
        assert len(candidate.origin.latent) == load(SHIPPED).autoencoder.shape.latent


def test_the_seed_decides(latent: Latent, empty: Archive) -> None:
    ids = [[candidate.id for candidate in propose(latent, 4, empty, seed)] for seed in (3, 3, 4)]
    assert ids[0] == ids[1] != ids[2]


def test_the_best_lead(latent: Latent, empty: Archive, evaluated: Evaluated) -> None:
    start = propose(latent, 10, empty)
    archive = evaluated(start)
    found = propose(latent, 60, archive)
    known = {candidate.id for candidate in start}
    assert not known & {candidate.id for candidate in found}
    sorts = {candidate.origin.note.split()[0] for candidate in found}
    assert sorts == {"asked", "near", "between"}
    for candidate in found:
        parents = {"asked": 0, "near": 1, "between": 2}[candidate.origin.note.split()[0]]
        assert len(candidate.origin.parents) == parents
        assert set(candidate.origin.parents) <= known


def test_the_loops_scores_are_followed(latent: Latent, empty: Archive) -> None:
    def oxygen(candidates: Sequence[Candidate]) -> npt.NDArray[np.float64]:
        return np.array([Composition(c.material.formula).get_atomic_fraction("O") for c in candidates])

    found = list(latent.propose(150, empty, np.random.default_rng(0), oxygen))
    climbed = [c for c in found if c.origin.note.startswith("climbed from a score of")]
    asked = [c for c in found if c.origin.note.startswith("asked")]
    assert len(climbed) >= 10
    assert oxygen(climbed).mean() > oxygen(asked).mean() + 0.05
    proposed = {candidate.id for candidate in found}
    assert all(len(c.origin.parents) == 1 and c.origin.parents[0] in proposed for c in climbed)


def test_points_lead_back_to_their_crystals(latent: Latent, empty: Archive, evaluated: Evaluated) -> None:
    archive = evaluated(propose(latent, 10, empty))
    model = load(SHIPPED)
    best = Best.of(archive, model)
    assert [record.id for record in best.records] == [record.id for record in archive.incumbents(10)]
    copies = crystals_of(
        model.autoencoder.decode(model.autoencoder.copying(best.points), Decoding(), seeded(0))
    )
    formulas = [one.structure().composition.reduced_formula for one in copies]
    same = sum(record.material.formula == one for record, one in zip(best.records, formulas, strict=True))
    assert same >= 7


def test_what_was_found_good_is_learned_and_kept(
    empty: Archive, evaluated: Evaluated, tmp_path: Path
) -> None:
    latent = LatentSettings(kind="latent").build(OXIDES)
    latent.save(tmp_path / "nothing.safetensors")
    assert not (tmp_path / "nothing.safetensors").exists()
    archive = evaluated(propose(latent, 12, empty))
    before = [crystal(candidate).formula for candidate in propose(latent, 6, empty, 1)]
    latent.learn(archive, 7)
    latent.save(tmp_path / "latent.safetensors")
    with safe_open(tmp_path / "latent.safetensors", framework="pt") as handle:
        about = handle.metadata()
    assert float(about["amount"]) in (0.0, 0.25, 0.5, 1.0)
    after = [crystal(candidate).formula for candidate in propose(latent, 6, empty, 1)]
    assert (before == after) == (float(about["amount"]) == 0.0)


def test_other_weights_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"mine\.safetensors: no weights of the latent generator"):
        LatentSettings(kind="latent", weights=file).build(OXIDES)
