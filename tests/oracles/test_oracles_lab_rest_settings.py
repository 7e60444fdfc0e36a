"""The block of a lab with a server of its own: what cannot be right is refused before anything is asked."""

from __future__ import annotations

import pytest
from lab_requests import SIGMA, rest_block
from pydantic import ValidationError

from oracles.lab.rest_settings import RestSettings

pytest.importorskip("httpx", reason="the extra `lab` is not installed")
URL = "https://lab.example.org"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", "a token")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "http://lab.example.org"}, "use https"),
        ({"url": "https://me:secret@lab.example.org"}, "no user, password"),
        ({"url": "ftp://lab.example.org"}, "no address of a server"),
        ({"headers": {"Authorization": "Bearer abc"}}, "keep it in the environment"),
        ({"headers": {"X-Api-Key": "abc"}}, "keep it in the environment"),
        ({"headers": {"Authorization": "Bearer ${NO_SUCH_TOKEN}"}}, "variable NO_SUCH_TOKEN is not set"),
        ({"headers": {"Idempotency-Key": "1"}}, "no header that can be set"),
        ({"submit": {"path": "jobs"}}, "submit.path"),
        ({"submit": {"path": "/jobs", "body": {"x": "{formulla}"}}}, "{formulla} is unknown"),
        ({"submit": {"path": "/jobs", "body": ["all: {targets}"]}}, "nothing may stand beside it"),
        ({"submit": {"path": "/jobs/{formula}"}}, "{formula} is unknown"),
        ({"cancel": {"path": "/jobs/{number}"}}, "{number} is unknown"),
        ({"measures": [SIGMA, "band_gap"]}, "does not say where band_gap is"),
    ],
)
def test_a_block_that_cannot_be_right_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        RestSettings.model_validate(rest_block(URL) | changes)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": {SIGMA: "result..sigma"}}, "values"),
        ({"values": {SIGMA: "$.result"}}, "values"),
        ({"std": {"band_gap": "gap"}}, "which is not under measures"),
        ({"failed": ["finished"]}, "both done and failed"),
        ({"done": []}, "done"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused(changes: dict[str, object], told: str) -> None:
    whole = rest_block(URL)
    whole["poll"] = {**whole["poll"], **changes}
    with pytest.raises(ValidationError) as error:
        RestSettings.model_validate(whole)
    assert told in str(error.value)
