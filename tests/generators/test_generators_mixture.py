from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from generator_cases import propose
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.base import Generator, Guide
from generators.mixture import FLOOR, Mixture
from materials.archive import Archive, Progress, Record
from materials.base import Candidate, Composition, Measurement, Origin
from materials.evaluation import Failure, FailureKind
from materials.goals import Objective

GOAL = [Objective("band_gap", "maximize")]


class Salts(Generator):
    """Up to `most` formulas Na(i)Cl(j), i drawn at random, j counting on."""

    def __init__(self, kind: str, most: int = 10_000) -> None:
        self.kind = kind
        self.most = most

    def propose(
        self, n: int, archive: Archive, rng: np.random.Generator, guide: Guide | None = None
    ) -> Iterator[Candidate]:
        for j in range(min(n, self.most)):
            yield Candidate(Composition(f"Na{rng.integers(1, 10**6)}Cl{j + 1}"), Origin(self.kind))


def mixture(**shares: float) -> Mixture:
    return Mixture([(share, kind, Salts(kind)) for kind, share in shares.items()])


def record(generator: str, gap: float | None, number: int) -> Record:
    candidate = Candidate(Composition(f"NaCl{number}"), Origin(generator))
    if gap is None:
        failure = Failure(FailureKind.NOT_CONVERGED, "too hard")
        return Record(candidate, candidate.material, Progress.FAILED, failure=failure)
    measured = (Measurement("band_gap", gap, "eV", "PBE", "table"),)
    return Record(candidate, candidate.material, Progress.EVALUATED, measured)


def archive(gaps: dict[str, list[float | None]]) -> Archive:
    rows = [(kind, gap) for kind, values in gaps.items() for gap in values]
    return Archive([record(kind, gap, i) for i, (kind, gap) in enumerate(rows, 1)], GOAL)


def test_before_any_result_shares_are_as_given() -> None:
    assert mixture(a=3, b=1).shares(Archive([], GOAL)) == {"a": 0.75, "b": 0.25}
    assert mixture(a=3, b=1).shares(archive({"a": [None], "b": [None, None]})) == {"a": 0.75, "b": 0.25}


def test_shares_follow_success_and_none_dies() -> None:
    good, bad = [3.0 + i / 100 for i in range(20)], [1.0 + i / 100 for i in range(20)]
    shares = mixture(a=1, b=1).shares(archive({"a": list(good), "b": list(bad)}))
    assert shares["a"] > 0.7
    assert shares["b"] >= FLOOR / 2
    failing = mixture(a=1, b=1).shares(archive({"a": list(good), "b": [None] * 200}))
    assert failing["b"] >= FLOOR / 2
    assert failing["b"] < shares["b"] + 0.05


def test_materials_from_elsewhere_do_not_count() -> None:
    results: dict[str, list[float | None]] = {"a": [3.0, 3.1], "b": [1.0, 1.1]}
    assert mixture(a=1, b=1).shares(archive(results)) == pytest.approx(
        mixture(a=1, b=1).shares(archive(results | {"data": [5.0, 6.0, None]}))
    )


def test_every_beginning_of_the_stream_keeps_the_shares() -> None:
    names = [c.origin.generator for c in propose(mixture(a=0.6, b=0.3, c=0.1), 200, Archive([]))]
    for n in (10, 50, 200):
        assert Counter(names[:n]) == pytest.approx({"a": 0.6 * n, "b": 0.3 * n, "c": 0.1 * n}, abs=1)


def test_a_dry_generator_leaves_its_share_to_the_others() -> None:
    mixed = Mixture([(0.8, "dry", Salts("dry", most=5)), (0.2, "wet", Salts("wet"))])
    assert Counter(c.origin.generator for c in propose(mixed, 100, Archive([]))) == {"dry": 5, "wet": 95}


def test_generators_of_one_kind_are_told_apart() -> None:
    mixed = Mixture(
        [(1, "files", Salts("files")), (1, "files", Salts("files")), (1, "random", Salts("random"))]
    )
    candidates = propose(mixed, 30, Archive([]))
    assert Counter(c.origin.generator for c in candidates) == {"files 1": 10, "files 2": 10, "random": 10}
    assert len({c.id for c in candidates}) == 30


def test_a_seed_decides_the_proposals() -> None:
    mixed = mixture(a=1, b=1)
    first = [c.id for c in propose(mixed, 20, Archive([]), seed=3)]
    assert [c.id for c in propose(mixed, 20, Archive([]), seed=3)] == first
    assert [c.id for c in propose(mixed, 20, Archive([]), seed=4)] != first


def test_an_empty_mixture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 10), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.none() | st.floats(0, 5), max_size=12)),
)
def test_shares_sum_to_one_and_keep_their_floor(
    given_: dict[str, float], results: dict[str, list[float | None]]
) -> None:
    shares = mixture(**given_).shares(archive(results))
    total = sum(given_.values())
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[kind] >= FLOOR * share / total - 1e-12 for kind, share in given_.items())
