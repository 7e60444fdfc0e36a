"""Campaigns with the energy model: the hopeless are not relaxed, and relaxations go on from their looks."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
import yaml
from campaigns import run
from pymatgen.core import Composition, Lattice, Structure
from test_kill import digest, kill_until_done

from loop.champion import ROLE
from loop.database.store import Store
from loop.energy_screen import ENERGY, REFUSED
from loop.report.folder import open_view
from loop.screen_record import screen_records
from materials.base import Crystal
from materials.potential import load_potential
from materials.relaxation import relax

EDGES = {"MgO": 4.3, "LiCl": 5.2, "NaCl": 5.7, "CaO": 4.9, "LiF": 4.1, "CaS": 5.8, "KBr": 6.8, "MgS": 5.3}
GATE = 0.05  # eV/atom; oxides and sulphides of calcium in the zincblende structure lie 0.16 and 0.24 above the hull


def write_binaries(folder: Path, **changes: object) -> Path:
    """A campaign on eight binaries, each in the structures of rock salt and zincblende."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "binaries.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["cif"])
        for symbols, edge in EDGES.items():
            cation, anion = (e.symbol for e in Composition(symbols).elements)
            for group, place, factor in (("Fm-3m", 0.5, 1.0), ("F-43m", 0.25, 1.08)):
                whole = Structure.from_spacegroup(
                    group, Lattice.cubic(edge * factor), [cation, anion], [[0] * 3, [place] * 3]
                )
                writer.writerow([whole.get_primitive_structure().to(fmt="cif")])
    document: dict[str, object] = {
        "name": "binaries",
        "seed": 1,
        "space": {
            "elements": ["Li", "Na", "K", "Mg", "Ca", "O", "S", "F", "Cl", "Br"],
            "number_of_elements": [2, 2],
            "number_of_atoms": [2, 8],
        },
        "objectives": [{"property": "energy_above_hull", "goal": "minimize"}],
        "generators": [{"kind": "files", "path": "binaries.csv"}],
        "acquisition": {"kind": "random"},
        "oracles": [
            {"kind": "relax", "fmax": 0.05},
            {"kind": "hull", "gate": {"energy_above_hull": {"at_most": GATE}}},
        ],
        "energy_model": {"least_chance": 0.08},
        "budget": {"rounds": 3, "batch": 4, "pool": 16},
        "executor": {"kind": "serial"},
        "tracking": "none",
    }
    file = folder / "binaries.yaml"
    file.write_text(yaml.safe_dump(document | changes, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("binaries")
    code, output = run(write_binaries(folder), folder / "run")
    assert code == 0, output
    return folder / "run", output


def test_the_hopeless_make_place_and_are_counted(finished: tuple[Path, str]) -> None:
    view, _ = open_view(finished[0])
    records = screen_records(view.rounds, view.evaluations)
    refused = {
        n: sum(c for (_, why), c in found.items() if why == REFUSED) for n, found in view.refusals.items()
    }
    assert [record.refused for record in records] == list(refused.values())
    assert sum(refused.values()) > 0
    with Store.view(finished[0] / "campaign.db") as store:
        taken = [len(store.selections(record.round)) for record in records]
    assert taken[:2] == [4, 4]
    assert [record.looked for record in records] == [
        t + r.refused for t, r in zip(taken, records, strict=True)
    ]
    # Of what was taken nearly all passes; without the screen a third of the pool does not.
    judged = [r for r in view.archive.values() if r.duplicate_of is None]
    assert sum(r.stopped_by is not None for r in judged) <= 1
    assert "looked at" in finished[1]
    assert "What the energy model spared" in (finished[0] / "report.html").read_text()


def test_a_relaxation_does_not_repeat_its_look_and_ends_the_same(finished: tuple[Path, str]) -> None:
    with Store.view(finished[0] / "campaign.db") as store:
        selection = store.selections(1)[0]
        (relaxation,) = [
            e for e in store.evaluations(candidate_id=selection.candidate.id) if e.oracle == "relax"
        ]
        measured = store.outcome(relaxation.key)
    crystal = selection.candidate.material
    assert isinstance(crystal, Crystal)
    whole = relax(crystal.structure, load_potential(), fmax=0.05)
    assert measured is not None
    assert measured.measurements[0].value == whole.energy_per_atom
    assert relaxation.provenance["steps"] == whole.steps
    assert "likely to end within 0.05 eV/atom of the hull" in selection.reason


def test_its_predictions_are_stored_before_the_test_and_judged(finished: tuple[Path, str]) -> None:
    with Store.view(finished[0] / "campaign.db") as store:
        answered = [a for a in store.answered_predictions() if a.prediction.property == ENERGY]
        assert len(answered) == sum(len(store.selections(number)) for number in (1, 2, 3))
        assert all(a.measurement.oracle == "relax" for a in answered)
    assert "energy_per_atom off by" in finished[1]


def test_every_refit_is_kept_and_one_model_is_in_use(finished: tuple[Path, str]) -> None:
    with Store.view(finished[0] / "campaign.db") as store:
        models = store.models(ROLE)
    assert [m.version for m in models] == [f"{ROLE}@{n}" for n in (0, 2, 3)]
    assert [m.version for m in models if m.champion] == [f"{ROLE}@0"]  # too few are held out to judge a refit
    assert all((finished[0] / m.path).exists() for m in models)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_the_same(finished: tuple[Path, str], tmp_path: Path) -> None:
    file = write_binaries(tmp_path)
    assert kill_until_done(file, tmp_path / "run", 30.0, random.Random(1)) > 0
    assert digest(tmp_path / "run") == digest(finished[0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"oracles": [{"kind": "relax"}, {"kind": "hull"}]}, "nothing says what is too far above the hull"),
        ({"oracles": [{"kind": "relax", "cell": False}, {"kind": "hull"}]}, "holds the cell"),
        ({"energy_model": {"chance": 0.1}}, "energy_model.chance"),
        ({"energy_model": {"least_chance": 1.5}}, "energy_model.least_chance"),
    ],
)
def test_what_it_cannot_serve_is_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    code, output = run(write_binaries(tmp_path, **changes), tmp_path / "run")
    assert code == 2
    assert told in output


def test_energies_may_be_a_goal_too(tmp_path: Path) -> None:
    file = write_binaries(
        tmp_path,
        objectives=[{"property": "energy_per_atom", "goal": "minimize"}],
        surrogate={"kind": "gp", "descriptor": "composition", "prior": "none"},
        acquisition={"kind": "greedy"},
        budget={"rounds": 2, "batch": 3, "pool": 16},
    )
    code, output = run(file, tmp_path / "run")
    assert code == 0, output
    with Store.view(tmp_path / "run" / "campaign.db") as store:
        expected = store.predictions(2)
        assert all(len({p.property for p in found}) == len(found) for found in expected.values())
