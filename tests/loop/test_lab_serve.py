"""The command that serves a lab: on which addresses it listens, with TLS, and what it puts down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from loop import serve
from loop.database.store import Store
from loop.loading import effective_yaml, parse_campaign

FILE = """
name: test
space: {kind: composition, elements: [Li, S], number_of_atoms: [2, 9]}
objectives: [{property: log_ionic_conductivity, goal: maximize}]
generators: [{kind: random}]
oracles: [{kind: lab, measures: [log_ionic_conductivity]}]
"""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder without orders."""
    config = parse_campaign(FILE, tmp_path / "test.yaml", looking=True)
    (tmp_path / "campaign.yaml").write_text(effective_yaml(config))
    Store.open(tmp_path / "campaign.db", "test", create=True).close()
    return tmp_path


def new_token(folder: Path, role: str) -> str:
    found = CliRunner().invoke(serve.app, [str(folder), "--new-token", role, "--role", role])
    assert found.exit_code == 0, found.output
    return found.stdout.strip()


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """The URL that the command prints; it runs until the end of the block."""
    command = [sys.executable, "-m", "loop.serve", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = next(line for line in process.stdout if "serving on" in line)
            yield told.split("serving on ")[1].split(",")[0]
        finally:
            process.terminate()


def test_refusals_are_in_the_log_without_any_token(run_folder: Path) -> None:
    token = new_token(run_folder, "viewer")
    with serving(run_folder) as url:
        ask = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})
        assert ask.get("/v1/orders").status_code == 200
        assert ask.post("/v1/pause", json={}).status_code == 403
        assert httpx.get(f"{url}/v1/orders%0aforged", headers={"Authorization": "Bearer guess"}).is_error
        assert httpx.get(f"{url}/v1/orders?token={token}").status_code == 401
        CliRunner().invoke(serve.app, [str(run_folder), "--revoke", "viewer"])
        assert ask.get("/v1/orders").status_code == 401
    lines = (run_folder / "lab.log").read_text().splitlines()
    assert [line.split("WARNING ")[1][:3] for line in lines] == ["403", "404", "401", "401"]
    assert all("from 127.0.0.1" in line for line in lines)
    assert token not in "".join(lines)
    assert "guess" not in "".join(lines)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of this machine's own address, and its key."""
    key, chain = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key


def test_tls(run_folder: Path, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    with serving(run_folder, "--certificate", str(chain), "--private-key", str(key)) as url:
        assert url.startswith("https://")
        assert httpx.get(f"{url}/v1/health", verify=str(chain)).json() == {"state": "open"}
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{url}/v1/health")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url.replace('https', 'http')}/v1/health")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_a_network_is_not_spoken_to_in_the_clear(run_folder: Path, host: str) -> None:
    found = CliRunner().invoke(serve.app, [str(run_folder), "--host", host, "--port", "0"])
    assert found.exit_code == 2
    assert "in the clear" in " ".join(found.output.replace("│", " ").split())


def test_a_certificate_alone_is_not_enough(run_folder: Path, certificate: tuple[Path, Path]) -> None:
    found = CliRunner().invoke(serve.app, [str(run_folder), "--certificate", str(certificate[0])])
    assert found.exit_code == 2
    assert "TLS needs both" in found.output


def test_a_folder_without_a_campaign_and_unknown_names_are_told(run_folder: Path, tmp_path: Path) -> None:
    for options, reason in (
        ([str(tmp_path / "nothing")], "nothing"),
        ([str(run_folder), "--new-token", "a", "--role", "king"], "is none of"),
        ([str(run_folder), "--revoke", "a"], "there is no token"),
    ):
        found = CliRunner().invoke(serve.app, options)
        assert found.exit_code == 2, found.output
        assert reason in found.output
