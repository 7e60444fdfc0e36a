"""What an archive tells: which records count, which are best, and the table of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from materials.archive import Archive, Progress, Record
from materials.base import Bound, Candidate, Composition, Measurement, Origin
from materials.evaluation import Failure, FailureKind
from materials.goals import Constraint, Objective

GAP = Objective("band_gap", "maximize")
BARRIER = Objective("migration_barrier", "minimize")
STABLE = Constraint("energy_above_hull", at_most=0.1)
UNITS = {"band_gap": "eV", "migration_barrier": "eV", "energy_above_hull": "eV/atom"}


def measured(name: str, value: float, fidelity: str = "experiment") -> Measurement:
    return Measurement(name, value, UNITS[name], fidelity, "test")


def record(number: int, progress: Progress = Progress.EVALUATED, **values: float) -> Record:
    candidate = Candidate(Composition(f"Li{number + 1}O"), Origin("files"))
    failure = Failure(FailureKind.ERROR, "x") if progress is Progress.FAILED else None
    found = tuple(measured(name, value) for name, value in values.items())
    return Record(candidate, candidate.material, progress, found, failure)


def altered(source: Record, **changes: object) -> Record:
    return Record(**{**source.__dict__, **changes})


def test_records_are_sorted_by_their_progress() -> None:
    records = [record(0), record(1, Progress.PENDING), record(2, Progress.FAILED)]
    archive = Archive(records)
    assert [archive.evaluated, archive.pending, archive.failed] == [[r] for r in records]
    assert list(archive) == [r.id for r in records]


def test_the_highest_fidelity_counts_and_the_latest_among_equals() -> None:
    values = [("HSE", 2.0), ("PBE", 1.0), ("HSE", 2.5), ("learned", 9.0)]
    source = altered(record(0), measurements=tuple(measured("band_gap", v, f) for f, v in values))
    assert source.value("band_gap") == 2.5
    assert source.value("band_gap", "PBE") == 1.0
    assert source.value("band_gap", "experiment") is None


def test_a_goals_fidelity_counts_and_no_other_takes_its_place() -> None:
    both = altered(
        record(0), measurements=(measured("band_gap", 2.0, "HSE"), measured("band_gap", 1.0, "PBE"))
    )
    archive = Archive([both], [Objective("band_gap", "maximize", fidelity="PBE")])
    counted = archive.measured(both, "band_gap")
    assert counted is not None
    assert (counted.value, counted.fidelity) == (1.0, "PBE")
    experiment = Archive([both], [Objective("band_gap", "maximize", fidelity="experiment")])
    assert experiment.measured(both, "band_gap") is None
    highest = Archive([both]).measured(both, "band_gap")
    assert highest is not None
    assert highest.fidelity == "HSE"


def test_only_complete_feasible_originals_count() -> None:
    good = record(0, band_gap=3.0, energy_above_hull=0.0)
    others = [
        record(1, band_gap=9.0, energy_above_hull=0.5),
        record(2, band_gap=9.0),
        record(3, energy_above_hull=0.0),
        record(4, Progress.PENDING, band_gap=9.0, energy_above_hull=0.0),
        record(5, Progress.FAILED, band_gap=9.0, energy_above_hull=0.0),
        altered(record(6, band_gap=9.0, energy_above_hull=0.0), duplicate_of=good.id),
        altered(record(7, band_gap=9.0, energy_above_hull=0.0), stopped_by="gate"),
    ]
    archive = Archive([*others, good], [GAP], [STABLE])
    assert archive.complete == [good]
    assert archive.pareto_front() == [good]


values_of_two = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25)


@settings(deadline=None)
@given(values_of_two)
def test_the_pareto_front_is_what_nothing_dominates(values: list[tuple[int, int]]) -> None:
    records = [record(i, band_gap=g, migration_barrier=b) for i, (g, b) in enumerate(values)]
    archive = Archive(records, [GAP, BARRIER])
    front = archive.pareto_front()
    for r in records:
        gap, barrier = r.value("band_gap"), r.value("migration_barrier")
        dominated = any(
            o.value("band_gap") >= gap
            and o.value("migration_barrier") <= barrier
            and (o.value("band_gap"), o.value("migration_barrier")) != (gap, barrier)
            for o in records
        )
        assert (r in front) is not dominated
    gaps = [r.value("band_gap") for r in front]
    assert gaps == sorted(gaps, reverse=True)


def test_an_empty_archive_has_no_best() -> None:
    for archive in (Archive([]), Archive([], [GAP]), Archive([record(0, Progress.FAILED)], [GAP])):
        assert archive.pareto_front() == []
        assert archive.incumbents(3) == []
        assert archive.complete == []


def test_incumbents_go_on_with_the_nearly_feasible() -> None:
    best = record(0, band_gap=5.0, energy_above_hull=0.0)
    near = record(1, band_gap=9.0, energy_above_hull=0.2)
    far = record(2, band_gap=9.0, energy_above_hull=0.9)
    unknown = record(3, energy_above_hull=0.0)
    nothing = record(4)
    archive = Archive([nothing, unknown, far, near, best], [GAP], [STABLE])
    assert archive.incumbents(9) == [best, near, far, unknown]
    assert archive.incumbents(2) == [best, near]


def test_a_target_is_best_when_met() -> None:
    objective = Objective("band_gap", "target", target=1.4, tolerance=0.1)
    archive = Archive([record(i, band_gap=g) for i, g in enumerate([0.2, 1.45, 3.0])], [objective])
    assert [r.value("band_gap") for r in archive.incumbents(3)] == [1.45, 0.2, 3.0]


def test_the_table_has_one_row_per_record_with_units() -> None:
    table = Archive([record(0, band_gap=3.0), record(1, Progress.FAILED)]).table()
    assert list(table["progress"]) == ["evaluated", "failed"]
    assert table["band_gap (eV)"][0] == 3.0
    assert np.isnan(table["band_gap (eV)"][1])
    assert table["failure"].isna()[0]
    assert table["failure"][1] == "error"


def test_a_bound_on_the_better_side_is_no_score_and_proves_no_limit() -> None:
    def record(bound: str) -> Record:
        measurement = Measurement(
            "log_ionic_conductivity", -4.0, "log10(S/cm)", "experiment", "lab", bound=Bound(bound)
        )
        return Record(
            Candidate(Composition(f"Li{len(bound)}Cl"), Origin("test")),
            Composition("LiCl"),
            Progress.EVALUATED,
            (measurement,),
        )

    records = {bound: record(bound) for bound in ("exact", "upper", "lower")}
    most = Archive(records.values(), [Objective("log_ionic_conductivity", "maximize")])
    least = Archive(records.values(), [Objective("log_ionic_conductivity", "minimize")])
    assert [most.scores(records[b]) for b in ("exact", "upper", "lower")] == [(-4.0,), None, (-4.0,)]
    assert [least.scores(records[b]) for b in ("exact", "upper", "lower")] == [(4.0,), (4.0,), None]
    limited = Archive(records.values(), (), [Constraint("log_ionic_conductivity", at_least=-5.0)])
    assert [limited.feasible(records[b]) for b in ("exact", "upper", "lower")] == [True, False, True]
