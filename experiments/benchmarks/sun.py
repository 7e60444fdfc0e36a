"""S.U.N.: the share of a generator's structures that are stable or metastable, unique and novel.

    python -m experiments.benchmarks.sun run new.extxyz --out runs/sun/latent --reference mp2023_11.csv.xz
    python -m experiments.benchmarks.sun baseline substitution substitution.extxyz -n 1000
    python -m experiments.benchmarks.sun baseline training training.extxyz -n 1000 --table mp20_like_36k.csv.xz
    python -m experiments.benchmarks.sun report runs/sun/latent runs/sun/substitution runs/sun/training

Any generator's structures do: a folder of CIF files, an extended XYZ, a CSV with a column `cif`. What is measured, and
how each share is defined, is in docs/benchmarks.md. A run that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from experiments.benchmarks.sun_measures import Measured
    from experiments.benchmarks.sun_sameness import KnownCrystals, Sameness
    from materials.base import Crystal

MEASURED, RELAXED = "measured.jsonl", "relaxed.extxyz"

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=__doc__)
baselines = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Write a set of structures to compare a generator with."
)
app.add_typer(baselines, name="baseline")

Number = Annotated[int, typer.Option("--number", "-n", help="Structures.", min=1)]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal structures.")]
Out = Annotated[Path, typer.Argument(help="Extended XYZ to write.")]


@dataclass(frozen=True)
class Sample:
    """One structure drawn: its name, and the crystal, or why there is none."""

    name: str
    crystal: Crystal | None
    problem: str = ""


@app.command()
def run(
    structures: Annotated[Path, typer.Argument(help="Folder of CIFs, .extxyz, or .csv with a column cif.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Known crystals, .csv or .csv.xz with material_id, formula, cell, sites.", exists=True
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.", min=1)] = 2,
) -> None:
    """Measures every structure and judges the set; stopped, it goes on with the same command."""
    from concurrent.futures.process import BrokenProcessPool

    from experiments.benchmarks.sun_measures import OracleFailedError
    from materials.reading import ReadingError

    try:
        samples = read_samples(structures)
        out.mkdir(parents=True, exist_ok=True)
        measured = measure_all(samples, out / MEASURED, workers)
        judge(samples, measured, structures.name, reference, out)
    except ReadingError as error:
        raise _refused(error) from error
    except (OracleFailedError, BrokenProcessPool) as error:
        typer.echo("what was measured is kept; run the same command again", err=True)
        raise _refused(error) from error
    typer.echo(f"{out}: {len(samples)} structures; print the table with  sun report {out}")


@app.command()
def report(folders: Annotated[list[Path], typer.Argument(help="Folders of runs.")]) -> None:
    """Prints runs side by side as a Markdown table."""
    from experiments.benchmarks.sun_report import Run, table
    from materials.reading import ReadingError

    try:
        typer.echo(table([Run.read(folder) for folder in folders]))
    except ReadingError as error:
        raise _refused(error) from error


@baselines.command()
def substitution(out: Out, number: Number = 1000, seed: Seed = 0) -> None:
    """Element substitution over all elements that have usual oxidation states, as a campaign without goals draws."""
    from experiments.benchmarks.sun_baselines import substituted

    _write(out, substituted(number, seed))


@baselines.command()
def training(
    out: Out,
    table: Annotated[Path, typer.Option(help="Table in the mp_20 layout, with cell and sites.", exists=True)],
    splits: Annotated[str, typer.Option(help="Splits to draw from, comma between.")] = "train,train_bt",
    number: Number = 1000,
    seed: Seed = 0,
) -> None:
    """Rows of a training set, at random."""
    from experiments.benchmarks.sun_baselines import training_rows
    from materials.reading import ReadingError

    try:
        _write(out, training_rows(table, splits.split(","), number, seed))
    except ReadingError as error:
        raise _refused(error) from error


def _refused(error: Exception) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(2)


def read_samples(path: Path) -> list[Sample]:
    """All structures of a file or folder, in its order; those that cannot be read come last, and count as drawn."""
    from materials.base import Crystal
    from materials.reading import Problem, stream_materials

    problems: list[Problem] = []
    samples = [
        Sample(entry.name, _plain(entry.material))
        if isinstance(entry.material, Crystal)
        else Sample(entry.name, None, "no structure, only a formula")
        for entry in stream_materials(path, problems)
    ]
    return samples + [
        Sample(f"{problem.file.name} {problem.place}".strip(), None, f"unreadable: {problem.reason}")
        for problem in problems
    ]


def _plain(crystal: Crystal) -> Crystal:
    """Without oxidation states, labels and site properties; as it is where sites are partly occupied."""
    import pymatgen.core as pmg

    from materials.base import Crystal

    structure = crystal.structure
    if not crystal.is_ordered:
        return crystal
    symbols = [site.specie.symbol for site in structure]
    return Crystal(pmg.Structure(structure.lattice, symbols, structure.frac_coords))


def measure_all(samples: Sequence[Sample], file: Path, workers: int) -> list[Measured]:
    """One answer for each sample, in their order; equal structures are measured once, the largest ones first."""
    from experiments.benchmarks.sun_measures import Measured, MeasureTask, key_of
    from loop.part_files import compute, done_ids, records

    done = done_ids(file)
    wanted = {key_of(sample.crystal): sample.crystal for sample in samples if sample.crystal is not None}
    missing = [crystal for key, crystal in wanted.items() if key not in done]
    missing.sort(key=lambda crystal: -len(crystal.structure))
    typer.echo(f"{len(wanted)} different structures, {len(wanted) - len(missing)} of them measured already")
    if other := len(done - wanted.keys()):
        typer.echo(f"{file}: {other} answers for other structures, or under other settings, are not used")
    if missing:
        compute(MeasureTask(), ([crystal] for crystal in missing), file, workers, len(missing))
    answers = {record["id"]: Measured(**record) for record in records(file) if record["id"] in wanted}
    return [
        Measured("", "", 0, sample.problem) if sample.crystal is None else answers[key_of(sample.crystal)]
        for sample in samples
    ]


def judge(
    samples: Sequence[Sample], measured: Sequence[Measured], name: str, reference: Path | None, out: Path
) -> None:
    """Writes what is known of every structure, and the relaxed ones, unless that was done with the same input."""
    from experiments.benchmarks.sun_measures import conditions
    from experiments.benchmarks.sun_report import JUDGED, RUN
    from experiments.benchmarks.sun_sameness import KnownCrystals
    from materials.base import content_hash
    from materials.settings import content_of

    against = "the phases of the shipped hull" + (f" and {reference.name}" if reference else "")
    content = None if reference is None else content_of(reference)
    asked = {"structures": name, "reference": against, **conditions()}
    asked["input"] = content_hash(
        [asked, content, [[s.name, m.id] for s, m in zip(samples, measured, strict=True)]]
    )
    if (out / RUN).is_file() and json.loads((out / RUN).read_text())["input"] == asked["input"]:
        typer.echo(f"{out / JUDGED} is of this input already")
        return
    (out / RUN).unlink(missing_ok=True)  # until all is written
    known = KnownCrystals(reference, {m.formula for m in measured if not m.invalid and m.formula})
    asked["known"] = known.number
    with (out / JUDGED).open("w") as file:
        for record in judged_records(samples, measured, known):
            file.write(json.dumps(record) + "\n")
    write_relaxed(out / RELAXED, samples, measured)
    (out / RUN).write_text(json.dumps(asked, indent=1))


def judged_records(
    samples: Sequence[Sample], measured: Sequence[Measured], known: KnownCrystals
) -> Iterator[dict[str, Any]]:
    """A record for each structure: what was measured, and its sameness as generated and as relaxed.

    Where a relaxation did not succeed the generated structure stands for the relaxed one. Those that have an energy
    above the hull count as seen first, so that a failure never makes its lucky copy a repetition.
    """
    from experiments.benchmarks.sun_sameness import sameness

    places = range(len(samples))
    start = [None if m.invalid else s.crystal for s, m in zip(samples, measured, strict=True)]
    end = [m.crystal() or s for s, m in zip(start, measured, strict=True)]
    generated = sameness(start, known, places)
    relaxed = sameness(end, known, sorted(places, key=lambda i: measured[i].energy_above_hull is None))
    for i in places:
        yield {
            "name": samples[i].name,
            **asdict(replace(measured[i], relaxed=None)),
            "generated": _told(generated[0][i]),
            "generated_lanthanides": _told(generated[1][i]),
            "relaxed": _told(relaxed[0][i]),
            "relaxed_lanthanides": _told(relaxed[1][i]),
        }


def _told(found: Sameness | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def write_relaxed(path: Path, samples: Sequence[Sample], measured: Sequence[Measured]) -> None:
    """The relaxed structures as extended XYZ, each with its name (`id`) and energies in eV/atom."""
    from experiments.benchmarks.sun_measures import settings
    from materials.writing import write_extxyz

    frames, fidelity = [], settings()[0].fidelity
    for sample, found in zip(samples, measured, strict=True):
        crystal = found.crystal()
        told: dict[str, str | float] = {"id": sample.name}
        for name in ("energy_per_atom", "energy_above_hull"):
            value = getattr(found, name)
            told |= {} if value is None else {name: value, f"{name}_fidelity": fidelity}
        if crystal is not None:
            frames.append((crystal, told))
    write_extxyz(path, frames)


def _write(out: Path, structures: Sequence[tuple[str, Crystal]]) -> None:
    from materials.writing import write_extxyz

    write_extxyz(out, [(crystal, {"id": name}) for name, crystal in structures])
    typer.echo(f"{out}: {len(structures)} structures")


if __name__ == "__main__":
    app()
