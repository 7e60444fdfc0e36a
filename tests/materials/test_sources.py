from __future__ import annotations

import sys
from pathlib import Path

import pymatgen.core as pmg
import pytest
from reference_servers import MaterialsProject, Optimade, free_address, rocksalt

from materials.base import Crystal
from materials.sources import SourceError, from_files, from_materials_project, from_optimade
from materials.writing import write_cif

LITHIUM = pmg.Structure(pmg.Lattice.cubic(3.4), ["Li"], [[0, 0, 0]])
STRUCTURES = {
    "salt": rocksalt(("Li", "Cl"), 5.1),
    "larger-salt": rocksalt(("Li", "Cl"), 5.3),
    "third-salt": rocksalt(("Li", "Cl"), 4.9),
    "lithium": LITHIUM,
    "halite": rocksalt(("Na", "Cl"), 5.6),
}


class TestFiles:
    def test_a_folder_of_cifs_keeps_what_is_ordered(self, tmp_path: Path) -> None:
        write_cif(tmp_path / "salt.cif", Crystal(STRUCTURES["salt"]))
        mixed = pmg.Structure(pmg.Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]])
        write_cif(tmp_path / "mixed.cif", Crystal(mixed))
        fetched = from_files(tmp_path)
        assert len(fetched.phases) == 1
        assert fetched.phases[0].structure.matches(STRUCTURES["salt"])
        assert fetched.phases[0].id.startswith("salt#")
        assert ["mixed" in reason and "partial" in reason for reason in fetched.left_out] == [True]
        assert from_files(tmp_path).phases[0].id == fetched.phases[0].id

    def test_nothing_usable_is_an_error_that_says_why(self, tmp_path: Path) -> None:
        table = tmp_path / "formulas.csv"
        table.write_text("material_id,formula\na,LiCl\n")
        with pytest.raises(SourceError, match=r"formulas\.csv: no ordered structure.*formula without"):
            from_files(table)
        with pytest.raises(SourceError, match="nowhere"):
            from_files(tmp_path / "nowhere")


class TestOptimade:
    def test_every_subset_and_every_page_is_fetched(self) -> None:
        with Optimade(STRUCTURES).running() as server:
            fetched = from_optimade(server.url, ["Li", "Cl"], provider="local")
        found = {phase.id: phase.structure for phase in fetched.phases}
        assert set(found) == {"local/salt", "local/larger-salt", "local/third-salt", "local/lithium"}
        for name, structure in found.items():
            original = STRUCTURES[name.removeprefix("local/")]
            assert structure.volume == pytest.approx(original.volume)
            assert structure.matches(original)

    def test_the_version_may_be_part_of_the_address(self) -> None:
        with Optimade(STRUCTURES).running() as server:
            assert len(from_optimade(f"{server.url}/v1/", ["Li"]).phases) == 1

    def test_disordered_and_empty_records_are_left_out_with_a_reason(self) -> None:
        provider = Optimade({"lithium": LITHIUM})
        disordered = Optimade._record("disordered", LITHIUM)
        disordered["attributes"]["species"][0].update(
            chemical_symbols=["Li", "vacancy"], concentration=[0.5, 0.5]
        )
        empty = Optimade._record("empty", LITHIUM)
        empty["attributes"]["cartesian_site_positions"] = None
        provider.extra = [disordered, empty]
        with provider.running() as server:
            fetched = from_optimade(server.url, ["Li"])
        assert [phase.id.rsplit("/", 1)[1] for phase in fetched.phases] == ["lithium"]
        assert len(fetched.left_out) == 2
        assert "partial occupancies" in fetched.left_out[0]

    def test_no_match_names_the_elements(self) -> None:
        with (
            Optimade(STRUCTURES).running() as server,
            pytest.raises(SourceError, match=r"Si-Te.*no ordered structure"),
        ):
            from_optimade(server.url, ["Si", "Te"])

    def test_an_unreachable_provider_is_named(self) -> None:
        address = free_address()
        with pytest.raises(SourceError, match=f"{address}.*check the address"):
            from_optimade(address, ["Li"])

    def test_errors_and_pages_that_are_no_optimade_are_passed_on(self) -> None:
        provider = Optimade(STRUCTURES)
        with provider.running() as server:
            provider.answer = lambda path, query: (400, {"errors": [{"detail": "bad filter"}]})  # type: ignore[method-assign]
            with pytest.raises(SourceError, match="status 400: bad filter"):
                from_optimade(server.url, ["Li"])
            provider.answer = lambda path, query: (200, "<html>")  # type: ignore[method-assign]
            with pytest.raises(SourceError, match="not an OPTIMADE provider"):
                from_optimade(server.url, ["Li"])

    @pytest.mark.parametrize("elements", [[], ["Li", "Xx"]])
    def test_a_wrong_element_is_named_before_anything_is_asked(self, elements: list[str]) -> None:
        with (
            Optimade(STRUCTURES).running() as server,
            pytest.raises(SourceError, match="no chemical element"),
        ):
            from_optimade(server.url, elements)
        assert not server.requests


class TestMaterialsProject:
    def test_the_chemical_space_is_fetched_with_the_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MP_API_KEY", MaterialsProject.key)
        structures = {"mp-1": STRUCTURES["salt"], "mp-2": LITHIUM, "mp-3": STRUCTURES["halite"]}
        with MaterialsProject(structures).running() as server:
            fetched = from_materials_project(["Li", "Cl"], endpoint=server.url, energy_above_hull=0.1)
            queries = [query for path, query, _ in server.requests if path.startswith("/materials/summary")]
        assert {phase.id for phase in fetched.phases} == {"mp-1", "mp-2"}
        assert {phase.id: len(phase.structure) for phase in fetched.phases} == {"mp-1": 2, "mp-2": 1}
        assert float(queries[0]["energy_above_hull_max"][0]) == 0.1
        assert "gnome" in queries[0]["batch_id_not_eq"][0]

    def test_a_missing_key_says_where_to_get_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MP_API_KEY", raising=False)
        with pytest.raises(SourceError, match=r"MP_API_KEY"):
            from_materials_project(["Li"])

    def test_a_wrong_key_and_a_dead_address_are_told_apart(self) -> None:
        with (
            MaterialsProject({"mp-2": LITHIUM}).running() as server,
            pytest.raises(SourceError, match="key is not valid"),
        ):
            from_materials_project(["Li"], "f" * 32, server.url)
        address = free_address()
        with pytest.raises(SourceError, match=f"{address}.*check the key, address"):
            from_materials_project(["Li"], "f" * 32, address)

    def test_no_match_names_the_elements(self) -> None:
        with MaterialsProject({}).running() as server, pytest.raises(SourceError, match=r"Li.*no ordered"):
            from_materials_project(["Li"], MaterialsProject.key, server.url)


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("httpx", lambda: from_optimade("http://127.0.0.1:1", ["Li"])),
        ("mp_api.client", lambda: from_materials_project(["Li"], "f" * 32, "http://127.0.0.1:1")),
    ],
)
def test_a_missing_client_names_the_extra(module: str, call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=r"pip install 'matloop\[data\]'"):
        call()  # type: ignore[operator]
