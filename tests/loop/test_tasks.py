import hashlib
import math
from pathlib import Path

import pytest
from executor_oracles import TrialSettings, request_for
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.executors.records import attempt_folder, find_outcome, write_outcome
from loop.executors.tasks import evaluate
from materials.base import Measurement
from materials.evaluation import FailureKind, Outcome, Status


def run(does: str, folder: Path, mark: Path = Path("/nowhere")) -> Outcome:
    trial = TrialSettings(does=does, mark=mark)
    return evaluate(trial, request_for(trial, 7), folder / "evaluations", attempt=1)


FAULTS = {
    "raises": (FailureKind.ERROR, "ZeroDivisionError: the reason"),
    "exits": (FailureKind.ERROR, "a library that exits"),
    "cannot be built": (FailureKind.ERROR, "no such model"),
    "runs out of memory": (FailureKind.OUT_OF_MEMORY, "MemoryError"),
    "runs torch out of memory": (FailureKind.OUT_OF_MEMORY, "can't allocate memory"),
    "fills the disk": (FailureKind.DISK_FULL, "No space left on device"),
    "gives nothing": (FailureKind.BAD_RESULT, "gave 0 outcomes"),
    "gives two": (FailureKind.BAD_RESULT, "gave 2 outcomes"),
    "gives another key": (FailureKind.BAD_RESULT, "answered 0000000000000000"),
    "gives nan": (FailureKind.BAD_RESULT, "value is nan"),
    "gives infinity": (FailureKind.BAD_RESULT, "value is inf"),
    "gives the impossible": (
        FailureKind.BAD_RESULT,
        "band_gap is -0.5 eV, which is impossible (from 0 to 30)",
    ),
    "gives a negative std": (FailureKind.BAD_RESULT, "deviation -1.0 is negative"),
    "gives another property": (FailureKind.BAD_RESULT, "formation_energy, which it does not declare"),
    "gives another unit": (FailureKind.BAD_RESULT, "'meV', but its unit is 'eV'"),
    "gives what json cannot hold": (FailureKind.BAD_RESULT, "cannot be written as JSON"),
    "fails without a reason": (FailureKind.BAD_RESULT, "failed without a reason"),
}


@pytest.mark.parametrize("does", FAULTS)
def test_a_fault_becomes_a_typed_failure_that_says_what_was_wrong(does: str, tmp_path: Path) -> None:
    outcome = run(does, tmp_path)
    kind, words = FAULTS[does]
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert outcome.failure.kind is kind
    assert words in outcome.failure.message
    assert outcome.measurements == ()
    assert find_outcome(tmp_path / "evaluations", outcome.key) == outcome


def test_an_exception_leaves_its_traceback(tmp_path: Path) -> None:
    outcome = run("raises", tmp_path)
    text = (tmp_path / "evaluations" / outcome.key / "1" / "traceback.txt").read_text()
    assert "in raises" in text
    assert "ZeroDivisionError: the reason" in text


def test_an_outcome_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    outcome = run("answers", tmp_path)
    assert outcome.measurements[0].value == 7
    assert outcome.seconds > 0
    assert find_outcome(tmp_path / "evaluations", outcome.key) == outcome


def test_the_oracle_is_built_once(tmp_path: Path) -> None:
    trial = TrialSettings(mark=tmp_path)  # settings of its own, so that no other test has built it
    asked = [evaluate(trial, request_for(trial, n), tmp_path, 1).provenance["asked"] for n in range(3)]
    assert asked == [1, 2, 3]


def test_files_an_oracle_made_are_kept_with_their_hash(tmp_path: Path) -> None:
    mark = tmp_path / "scratch"
    mark.mkdir()
    outcome = run("leaves a file", tmp_path, mark)
    artifact = outcome.artifacts["trajectory"]
    assert artifact["path"] == f"evaluations/{outcome.key}/1/trajectory.txt"
    assert (tmp_path / artifact["path"]).read_text() == "steps"
    assert artifact["sha256"] == hashlib.sha256(b"steps").hexdigest()


def test_an_outcome_that_cannot_be_written_still_comes_back(tmp_path: Path) -> None:
    trial = TrialSettings()
    request = request_for(trial)
    place = attempt_folder(tmp_path, request.key, 1)
    place.mkdir(parents=True)
    (place / "outcome.json.tmp").symlink_to("/dev/full")
    outcome = evaluate(trial, request, tmp_path, 1)
    assert outcome.status is Status.DONE
    assert "No space left on device" in outcome.provenance["unsaved"]
    assert find_outcome(tmp_path, request.key) is None


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    trial = TrialSettings()
    request = request_for(trial)
    (tmp_path / request.key).write_text("a file in the way")
    outcome = evaluate(trial, request, tmp_path, 1)
    assert outcome.failure is not None
    assert str(tmp_path) in outcome.failure.message


def test_an_attempt_that_gave_a_value_is_not_repeated_and_one_that_failed_is(tmp_path: Path) -> None:
    trial = TrialSettings(does="dies once", mark=tmp_path)  # `died` is there, so it answers
    (tmp_path / "died").touch()
    first, again = (evaluate(trial, request_for(trial), tmp_path, 1) for _ in range(2))
    other = evaluate(trial, request_for(trial), tmp_path, 2)
    assert first == again
    assert other.provenance["asked"] == first.provenance["asked"] + 1
    broken = TrialSettings(does="raises")
    evaluate(broken, request_for(broken), tmp_path, 1)
    traceback = attempt_folder(tmp_path, request_for(broken).key, 1) / "traceback.txt"
    traceback.unlink()
    evaluate(broken, request_for(broken), tmp_path, 1)
    assert traceback.exists()


finite = st.floats(allow_nan=False, allow_infinity=False)
outcomes = st.builds(
    Outcome,
    key=st.just("k" * 16),
    candidate_id=st.text(max_size=20),
    oracle=st.text(max_size=20),
    status=st.just(Status.DONE),
    measurements=st.lists(
        st.builds(
            Measurement,
            property=st.just("band_gap"),
            value=finite,
            unit=st.just("eV"),
            fidelity=st.just("PBE"),
            oracle=st.text(max_size=5),
            std=st.none() | st.floats(min_value=0, allow_infinity=False),
        ),
        max_size=3,
    ).map(tuple),
    seconds=finite,
    provenance=st.dictionaries(st.text(max_size=5), finite | st.text(max_size=5), max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(outcome=outcomes, share=st.floats(0, 1, exclude_max=True))
def test_a_record_is_exact_and_a_truncated_one_is_ignored(
    outcome: Outcome, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("records")
    place = attempt_folder(folder, outcome.key, 1)
    place.mkdir(parents=True)
    write_outcome(outcome, place)
    assert find_outcome(folder, outcome.key) == outcome
    file = place / "outcome.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: math.floor(share * len(whole))])
    assert find_outcome(folder, outcome.key) is None


def test_the_first_valid_record_wins_and_the_others_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial = TrialSettings()
    request = request_for(trial)
    wrong = evaluate(trial, request_for(trial, 5), tmp_path, 1)
    for attempt in (1, 2, 3, 10):
        attempt_folder(tmp_path, request.key, attempt).mkdir(parents=True)
    write_outcome(wrong, attempt_folder(tmp_path, request.key, 1))
    (attempt_folder(tmp_path, request.key, 2) / "outcome.json").write_text('{"key": ')
    third = evaluate(trial, request, tmp_path, 3)
    evaluate(trial, request, tmp_path, 10)
    assert find_outcome(tmp_path, request.key) == third
    assert find_outcome(tmp_path, request.key, attempt=2) is None
    assert f"{request.key}/1/outcome.json: holds the outcome of {wrong.key}" in caplog.text
    assert f"{request.key}/2/outcome.json: not a whole outcome" in caplog.text
