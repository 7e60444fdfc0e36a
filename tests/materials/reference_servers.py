"""Local HTTP servers that answer like an OPTIMADE provider and like the Materials Project's interface."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pymatgen.core as pmg

Answer = tuple[int, Any]


class Server:
    """A running server: its address, and every request it got as (path, query, headers)."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        """(status, JSON body or text) for one request."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serves on a free local port."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                outer.requests.append((parts.path, query, {k.lower(): v for k, v in self.headers.items()}))
                status, body = outer.answer(parts.path, query)
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class Optimade(Server):
    """Understands the mandatory filter `elements HAS ALL "A","B" AND nelements=2`, and pages by `links.next`."""

    def __init__(self, structures: Mapping[str, pmg.Structure], page: int = 1) -> None:
        super().__init__()
        self.structures, self.page = structures, page
        self.extra: list[dict[str, Any]] = []

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        if path != "/v1/structures":
            return 404, {"errors": [{"detail": f"no endpoint {path}"}]}
        match = re.fullmatch(r"elements HAS ALL (.+) AND nelements=(\d+)", query["filter"][0])
        if match is None:
            return 400, {"errors": [{"detail": f"cannot parse the filter {query['filter'][0]}"}]}
        wanted = set(json.loads(f"[{match[1]}]"))
        assert len(wanted) == int(match[2])
        records = [self._record(name, s) for name, s in self.structures.items()] + self.extra
        records = [record for record in records if set(record["attributes"]["elements"]) == wanted]
        offset = int(query.get("page_offset", ["0"])[0])
        following = None
        if offset + self.page < len(records):
            # As providers do, the next link repeats the query with another offset; a link may be an object.
            again = urlencode({"page_offset": offset + self.page, "filter": query["filter"][0]})
            following = {"href": f"{self.url}{path}?{again}"}
        return 200, {"data": records[offset : offset + self.page], "links": {"next": following}}

    @staticmethod
    def _record(name: str, structure: pmg.Structure) -> dict[str, Any]:
        symbols = sorted({site.specie.symbol for site in structure})
        return {
            "id": name,
            "type": "structures",
            "attributes": {
                "elements": symbols,
                "lattice_vectors": structure.lattice.matrix.tolist(),
                "cartesian_site_positions": structure.cart_coords.tolist(),
                "species_at_sites": [site.specie.symbol for site in structure],
                "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in symbols],
            },
        }


class MaterialsProject(Server):
    """The heartbeat and the summary endpoint, as mp-api asks them; refuses any key but its own."""

    key = "0123456789abcdef0123456789abcdef"

    def __init__(self, structures: Mapping[str, pmg.Structure]) -> None:
        super().__init__()
        self.structures = structures

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        if path == "/heartbeat":
            return 200, {"version": "0.86.4", "db_version": "2025.09.25", "access_controlled_batch_ids": []}
        if not path.startswith("/materials/summary"):
            return 404, {"detail": f"no endpoint {path}"}
        if self.requests[-1][2].get("x-api-key") != self.key:
            return 401, {"detail": "the key is not valid"}
        systems = {tuple(sorted(system.split("-"))) for system in query["chemsys"][0].split(",")}
        documents = [
            {"material_id": name, "structure": structure.as_dict()}
            for name, structure in self.structures.items()
            if tuple(sorted(e.symbol for e in structure.composition.elements)) in systems
        ]
        skip, limit = int(query.get("_skip", ["0"])[0]), int(query.get("_limit", ["1000"])[0])
        return 200, {"data": documents[skip : skip + limit], "meta": {"total_doc": len(documents)}}


def free_address() -> str:
    """An address where nothing listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_address[1]}"


def rocksalt(symbols: Sequence[str], edge: float) -> pmg.Structure:
    """A primitive rock-salt crystal."""
    return pmg.Structure.from_spacegroup(
        "Fm-3m", pmg.Lattice.cubic(edge), list(symbols), [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
