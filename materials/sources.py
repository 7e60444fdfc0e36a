"""Where a user's own reference phases come from: files, an OPTIMADE provider, or the Materials Project.

Every source yields ordered structures with an id; their energies there, if any, are not used, because
energies of two sources are never mixed on one hull. The clients (`httpx`, `mp-api`: extra `data`) are
imported when used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pymatgen.core as pmg

from materials.base import Crystal, content_hash
from materials.reading import ReadingError, read_materials

EXTRA = "install it with  pip install 'matloop[data]'"
PAGE = 100
SECONDS = 60.0
MATERIALS_PROJECT_KEYS = "https://next-gen.materialsproject.org/api"


class SourceError(ValueError):
    """A source that gave no structures; the message names it, what went wrong and what to do."""


@dataclass(frozen=True)
class SourcePhase:
    """An ordered structure on its way into a reference file. id: unique in its source, the same on every fetch."""

    id: str
    structure: pmg.Structure

    @property
    def atoms(self) -> int:
        return len(self.structure)


@dataclass(frozen=True)
class Fetched:
    """What a source gave: usable phases, and what was left out and why."""

    phases: tuple[SourcePhase, ...]
    left_out: tuple[str, ...] = ()


def from_files(path: Path) -> Fetched:
    """The structures of a folder of CIF files, a .cif, .extxyz or .csv file (see materials.reading)."""
    try:
        entries = read_materials(path)
    except ReadingError as error:
        raise SourceError(str(error)) from error
    phases, left_out = [], []
    for entry in entries:
        if not isinstance(entry.material, Crystal):
            left_out.append(f"{entry.name}: a formula without a structure")
        elif not entry.material.is_ordered:
            left_out.append(f"{entry.name}: partial occupancies; order it first")
        else:
            digest = content_hash(entry.material.to_dict())[:6]
            phases.append(SourcePhase(f"{entry.name}#{digest}", entry.material.structure))
    return _checked(phases, left_out, str(path))


def from_optimade(url: str, elements: Sequence[str], provider: str = "") -> Fetched:
    """All structures an OPTIMADE provider has that consist of these elements alone.

    url: base address, with or without the version (`/v1`). One query per subset of the elements, because only
    those (`HAS ALL` and `nelements`) are mandatory in the OPTIMADE specification 1.1 (Evans et al., Digital
    Discovery 2024, 3, 1509). Raises SourceError where the provider cannot be reached, answers with an error
    or has nothing.
    """
    try:
        import httpx
    except ImportError as error:
        raise SourceError(f"OPTIMADE needs the package httpx: {EXTRA}") from error
    base = url.rstrip("/")
    if base.rsplit("/", 1)[-1] not in ("v1", "v1.0", "v1.1", "v1.2"):
        base += "/v1"
    phases: list[SourcePhase] = []
    left_out: list[str] = []
    try:
        with httpx.Client(timeout=SECONDS, follow_redirects=True) as client:
            for subset in _subsets(elements):
                quoted = ",".join(f'"{symbol}"' for symbol in subset)
                query = f"elements HAS ALL {quoted} AND nelements={len(subset)}"
                for record in _optimade_pages(client, f"{base}/structures", query):
                    phase = _optimade_phase(record, provider or httpx.URL(url).host)
                    if isinstance(phase, str):
                        left_out.append(phase)
                    else:
                        phases.append(phase)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(
            f"{url}: {type(error).__name__}: {error}; check the address and the connection"
        ) from error
    return _checked(phases, left_out, f"{url} ({'-'.join(elements)})")


def _optimade_pages(client: Any, address: str, query: str) -> Iterator[Mapping[str, Any]]:
    """The records of one query, page after page, as the provider's `links.next` leads."""
    fields = "lattice_vectors,cartesian_site_positions,species,species_at_sites,structure_features"
    parameters: dict[str, Any] | None = {"filter": query, "response_fields": fields, "page_limit": PAGE}
    following: str | None = address
    while following:
        response = client.get(following, params=parameters)
        try:
            body = response.json()
        except ValueError as error:
            raise SourceError(
                f"{address}: not an OPTIMADE provider (its answer is not JSON); check the URL"
            ) from error
        if response.status_code >= 400:
            details = (
                "; ".join(str(item.get("detail", item)) for item in body.get("errors", []))
                or response.text[:200]
            )
            raise SourceError(f"{address}: status {response.status_code}: {details}")
        yield from body.get("data", [])
        link = (body.get("links") or {}).get("next")
        following = link.get("href") if isinstance(link, Mapping) else link
        # The next link carries the whole query.
        parameters = None


def _optimade_phase(record: Mapping[str, Any], provider: str) -> SourcePhase | str:
    """The structure of an OPTIMADE record, or why it has no use here."""
    identifier, attributes = f"{provider}/{record['id']}", record["attributes"]
    if not attributes.get("cartesian_site_positions") or not attributes.get("lattice_vectors"):
        return f"{identifier}: no sites or no cell"
    symbols = {}
    for species in attributes["species"]:
        if len(species["chemical_symbols"]) != 1 or species["concentration"] != [1.0]:
            return f"{identifier}: partial occupancies"
        symbols[species["name"]] = species["chemical_symbols"][0]
    try:
        structure = pmg.Structure(
            attributes["lattice_vectors"],
            [symbols[name] for name in attributes["species_at_sites"]],
            attributes["cartesian_site_positions"],
            coords_are_cartesian=True,
        )
    except (ValueError, KeyError, TypeError) as error:
        return f"{identifier}: {error}"
    return SourcePhase(identifier, structure)


def from_materials_project(
    elements: Sequence[str],
    api_key: str | None = None,
    endpoint: str | None = None,
    energy_above_hull: float = 0.05,
) -> Fetched:
    """Phases of these elements alone, up to energy_above_hull (eV/atom) above the Materials Project's hull.

    api_key: else the environment variable MP_API_KEY. endpoint: another address of the same interface.
    Without GNoME's structures, whose licence forbids commercial use. Raises SourceError without a key or result.
    """
    key = api_key or os.environ.get("MP_API_KEY")
    if not key:
        raise SourceError(
            f"the Materials Project asks for a key: get one at {MATERIALS_PROJECT_KEYS} and set MP_API_KEY"
        )
    try:
        from mp_api.client import MPRester
        from mp_api.client.core import MPRestError
    except ImportError as error:
        raise SourceError(f"the Materials Project needs the package mp-api: {EXTRA}") from error
    import requests

    where = endpoint or "the Materials Project"
    systems = ["-".join(subset) for subset in _subsets(elements)]
    try:
        with MPRester(key, endpoint=endpoint, use_document_model=False, mute_progress_bars=True) as client:
            documents = client.materials.summary.search(
                chemsys=systems,
                energy_above_hull=(0.0, energy_above_hull),
                fields=["material_id", "structure"],
                all_fields=False,
                include_gnome=False,
            )
    except (MPRestError, requests.RequestException, ValueError) as error:
        raise SourceError(
            f"{where}: {type(error).__name__}: {error}; check the key, address and connection"
        ) from error
    phases = [_materials_project_phase(document) for document in documents]
    return _checked(phases, [], f"{where} ({'-'.join(elements)})")


def _materials_project_phase(document: Mapping[str, Any]) -> SourcePhase:
    structure = document["structure"]
    if not isinstance(structure, pmg.Structure):
        structure = pmg.Structure.from_dict(structure)
    return SourcePhase(str(document["material_id"]), structure)


def _subsets(elements: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All non-empty subsets of the elements, which together make up their chemical space."""
    symbols = sorted(set(elements))
    unknown = [symbol for symbol in symbols if not pmg.Element.is_valid_symbol(symbol)]
    if unknown or not symbols:
        raise SourceError(f"no chemical element: {', '.join(unknown) or 'the list of elements is empty'}")
    for size in range(1, len(symbols) + 1):
        yield from combinations(symbols, size)


def _checked(phases: list[SourcePhase], left_out: list[str], where: str) -> Fetched:
    if not phases:
        reasons = f" ({len(left_out)} left out, such as {left_out[0]})" if left_out else ""
        raise SourceError(f"{where}: no ordered structure there{reasons}")
    return Fetched(tuple(phases), tuple(left_out))
