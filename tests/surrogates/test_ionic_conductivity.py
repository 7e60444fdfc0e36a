"""The conductivity head: it learns from values and limits, survives its file, and judges what other heads cannot."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from safetensors.numpy import load_file, save_file
from sklearn.tree import ExtraTreeRegressor
from typer.testing import CliRunner

from materials.base import Candidate, Composition, Crystal, Material, Origin
from materials.evaluation import FailureKind, Outcome, Request, Status
from oracles.learned import LearnedSettings
from surrogates.conduction_columns import ConductionDescriptor
from surrogates.heads import shipped
from surrogates.heads.base import HeadError
from surrogates.heads.forest import Forest, Growth
from surrogates.heads.ionic_conductivity import FORMAT, ConductivityTraining, IonicConductivityHead
from surrogates.predict import app

QUICK = ConductivityTraining(Growth(trees=40), parts=5)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MIXED = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.3), [{"Li": 0.7, "Na": 0.3}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


def toy(n: int, seed: int) -> tuple[list[Material], np.ndarray, np.ndarray]:
    """Four columns; conductivities between about -9 and -3 that follow two of them, with scatter."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, size=(n, 4))
    values = -6 + 2 * rows[:, 0] + np.sin(3 * rows[:, 1]) + rng.laplace(0, 0.2, n)
    return [Composition(f"Li{i + 1}O") for i in range(n)], rows, values


def fitted(limits: np.ndarray | None = None, floor: float = -np.inf) -> IonicConductivityHead:
    """From 200 toy rows; those below `floor` are known as limits there, unless `limits` says which are."""
    materials, rows, values = toy(200, 0)
    at_most = values < floor if limits is None else limits
    known = np.maximum(values, floor)
    return IonicConductivityHead.fit(materials, rows, known, at_most, np.arange(200), "toy", QUICK, seed=0)


@pytest.fixture(scope="module")
def head() -> IonicConductivityHead:
    return fitted()


def test_it_learns_and_knows_its_error(head: IonicConductivityHead) -> None:
    materials, rows, values = toy(400, 1)
    told = head.predict(materials, rows)
    assert np.abs(told.value - values).mean() < 0.5 * np.abs(values - np.median(values)).mean()
    assert 0.84 < ((told.low <= values) & (values <= told.high)).mean() < 0.97
    assert (told.low < told.value).all()
    assert (told.value < told.high).all()


def test_what_has_no_columns_has_no_prediction(head: IonicConductivityHead) -> None:
    materials, rows, _ = toy(3, 2)
    rows[1, 0] = np.nan
    told = head.predict(materials, rows)
    for column in (told.value, told.std, told.low, told.high, told.distance):
        assert np.isnan(column).tolist() == [False, True, False]


def test_rows_of_another_descriptor_are_refused(head: IonicConductivityHead) -> None:
    materials, rows, _ = toy(3, 2)
    with pytest.raises(HeadError, match=r"reads 4 columns \(toy\), not 8"):
        head.predict(materials, np.tile(rows, 2))


def test_limits_lower_predictions_and_are_not_values() -> None:
    floor = -6.5
    materials, rows, values = toy(300, 3)
    low = values < floor - 1
    as_limits = fitted(floor=floor).predict(materials, rows)
    as_values = fitted(np.zeros(200, dtype=bool), floor).predict(materials, rows)
    assert as_values.value[low].mean() == pytest.approx(floor, abs=0.15)
    assert (as_limits.value < as_values.value)[low].mean() > 0.9
    assert as_limits.value[low].mean() < as_values.value[low].mean() - 0.1
    assert as_limits.low[low].mean() < as_values.low[low].mean() - 0.3
    far_above = values > -4.5
    assert np.abs(as_limits.value - as_values.value)[far_above].mean() < 0.2


def test_too_few_groups_are_refused() -> None:
    materials, rows, values = toy(30, 0)
    with pytest.raises(ValueError, match="3 groups of materials cannot be dealt into 5 parts"):
        IonicConductivityHead.fit(
            materials, rows, values, np.zeros(30, dtype=bool), np.arange(30) % 3, "toy", QUICK, seed=0
        )


def test_a_file_gives_equal_predictions_back(head: IonicConductivityHead, tmp_path: Path) -> None:
    path = tmp_path / "conductivity.safetensors"
    head.save(path)
    again = IonicConductivityHead.load(path)
    materials, rows, _ = toy(100, 4)
    before, after = head.predict(materials, rows), again.predict(materials, rows)
    for key in ("value", "std", "low", "high"):
        assert np.array_equal(getattr(before, key), getattr(after, key)), key
    assert after.distance == pytest.approx(before.distance, rel=1e-3)
    assert again.descriptor == "toy"


def test_files_of_other_versions_are_named(
    head: IonicConductivityHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / shipped.file_name(shipped.CONDUCTIVITY, "structure")
    head.save(path)
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    with pytest.raises(
        HeadError, match=r"structure\.safetensors: made for descriptor toy, but .* conduction-"
    ):
        shipped.shipped_head.__wrapped__(shipped.CONDUCTIVITY, "structure")
    about = {"format": "matloop-forest-head-0", "property": head.property}
    save_file(load_file(path), path, metadata=about)
    with pytest.raises(HeadError, match=rf"structure\.safetensors: holds matloop-forest-head-0, .*{FORMAT}"):
        IonicConductivityHead.load(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(HeadError, match=r"structure\.safetensors: not a readable safetensors file"):
        IonicConductivityHead.load(path)


def test_stored_trees_say_what_scikit_learn_says() -> None:
    _, rows, values = toy(150, 5)
    trees = [ExtraTreeRegressor(random_state=seed).fit(rows, values) for seed in range(5)]
    forest = Forest.from_arrays(Forest.of(trees).arrays())
    _, other, _ = toy(200, 6)
    assert forest.values(other) == pytest.approx(np.array([tree.predict(other) for tree in trees]), abs=1e-5)


def test_the_columns_do_not_depend_on_the_choice_of_the_cell() -> None:
    describe = ConductionDescriptor("structure").describe
    one, primitive, many = (
        describe([Crystal(cell)]) for cell in (MIXED, MIXED.get_primitive_structure(), MIXED * (2, 1, 1))
    )
    assert np.isfinite(one).all()
    assert primitive == pytest.approx(one, rel=1e-4)
    assert many == pytest.approx(one, rel=1e-4)
    expanded = MIXED.copy()
    expanded.apply_strain(0.05)
    assert np.abs(describe([Crystal(expanded)]) - one).max() > 0.1


def test_the_shipped_heads_know_a_superionic_conductor_from_a_salt() -> None:
    formulas: list[Material] = [Composition("Li10SnP2S12"), Composition("Li2CO3")]
    described = shipped.descriptor_of(shipped.CONDUCTIVITY, "composition").describe(formulas)
    told = shipped.shipped_head(shipped.CONDUCTIVITY, "composition").predict(
        formulas, described.astype(np.float64)
    )
    # Measured near room temperature: 4 mS/cm (Bron et al., J. Am. Chem. Soc. 135, 15694, 2013), and below 1e-8 S/cm.
    assert told.value[0] > -4
    assert told.value[1] < -6
    assert told.low[0] < -2.4 < told.high[0]


def test_all_heads_together_each_with_its_basis(tmp_path: Path) -> None:
    with (tmp_path / "in.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["material_id", "cif"])
        writer.writeheader()
        writer.writerow({"material_id": "mixed", "cif": MIXED.to(fmt="cif")})
        writer.writerow({"material_id": "salt", "cif": SALT.to(fmt="cif")})
    names = "band_gap,formation_energy,log_ionic_conductivity"
    arguments = [tmp_path / "in.csv", "--properties", names, "--out", tmp_path / "out.csv"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out.csv").open(newline="") as handle:
        mixed, salt = csv.DictReader(handle)
    assert mixed["band_gap basis"] == mixed["formation_energy basis"] == "composition"
    assert mixed["log_ionic_conductivity basis"] == "disordered structure"
    low, high = (float(mixed[f"predicted log_ionic_conductivity {end} % (log10(S/cm))"]) for end in (5, 95))
    assert -15 < low < float(mixed["predicted log_ionic_conductivity (log10(S/cm))"]) < high < 0
    assert float(mixed["predicted band_gap (eV)"]) > 2
    assert mixed["problem"] == ""
    assert salt["band_gap basis"] == "structure"
    assert float(salt["predicted band_gap (eV)"]) > 4
    assert salt["predicted log_ionic_conductivity (log10(S/cm))"] == ""
    assert "NaCl holds no Li" in salt["problem"]


def ask(material: Material) -> Outcome:
    settings = LearnedSettings.model_validate({"measures": ["log_ionic_conductivity"]})
    request = Request("key", Candidate(material, Origin("test")), material, "learned")
    (outcome,) = settings.build().evaluate([request])
    return outcome


def test_the_oracle_tells_conductivities_of_disordered_crystals() -> None:
    outcome = ask(Crystal(MIXED))
    (measured,) = outcome.measurements
    assert (measured.property, measured.unit) == ("log_ionic_conductivity", "log10(S/cm)")
    assert measured.fidelity == "learned"
    assert outcome.provenance["log_ionic_conductivity"]["from"] == "disordered structure"
    formula = ask(Composition(MIXED.composition.formula.replace(" ", "")))
    assert formula.provenance["log_ionic_conductivity"]["from"] == "composition"


def test_without_lithium_the_oracle_refuses_by_name() -> None:
    refused = ask(Crystal(SALT))
    assert refused.status is Status.REJECTED
    assert refused.failure is not None
    assert refused.failure.kind is FailureKind.UNSUPPORTED_MATERIAL
    assert "NaCl holds no Li" in refused.failure.message
