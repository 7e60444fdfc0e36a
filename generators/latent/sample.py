"""Crystals from trained weights of the latent generator.

python -m generators.latent.sample -n 1000 --elements Li,P,S,Cl --band-gap 3 --out out.extxyz
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from generators.latent.manner import AIMED, Manner

if TYPE_CHECKING:
    from generators.latent.asking import Wish
    from materials.base import Crystal

USUAL = Manner()
app = typer.Typer(add_completion=False, rich_markup_mode=None)

Weights = Annotated[
    Path | None, typer.Option(help="What generators.latent.train wrote; left out, the weights that ship.")
]
Out = Annotated[Path, typer.Option(help="Extended XYZ, a frame for each crystal.")]
Number = Annotated[int, typer.Option("--number", "-n", help="Crystals.", min=1)]
Elements = Annotated[str | None, typer.Option(help="Only these, comma between.")]
Required = Annotated[str | None, typer.Option(help="All of these, comma between.")]
Formula = Annotated[str | None, typer.Option(help="This formula.")]
Group = Annotated[int | None, typer.Option(help="This space group, 1 to 230.")]
Atoms = Annotated[int | None, typer.Option(help="So many atoms in the primitive cell.", min=1)]
NumberOfElements = Annotated[int | None, typer.Option(help="So many different elements.", min=1)]
ChargeBalanced = Annotated[
    bool, typer.Option("--charge-balanced", help="Usual oxidation states add up to zero.")
]
BandGap = Annotated[float | None, typer.Option(help="PBE band gap, eV.")]
EnergyAboveHull = Annotated[float | None, typer.Option(help="eV/atom.")]
Wanted = Annotated[
    list[str],
    typer.Option("--property", help="Another property the weights know, such as density=3; repeatable."),
]
Guidance = Annotated[float, typer.Option(help="How strictly wished properties are obeyed; 1: as learned.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Of the choice of group, positions and elements; 0 takes the likeliest. "
        f"Left out: {USUAL.temperature}, or {AIMED.temperature} where a property is wished for.",
        min=0,
    ),
]
Nucleus = Annotated[
    float | None,
    typer.Option(
        help="Of these choices only the likeliest that together hold this share. "
        f"Left out: {USUAL.nucleus}, or {AIMED.nucleus} where a property is wished for.",
        min=0,
        max=1,
    ),
]
CoordinateTemperature = Annotated[float, typer.Option(help="The same, of coordinates.", min=0)]
New = Annotated[
    bool,
    typer.Option(
        "--new",
        help="Leaves out what was drawn before or is in the index of known materials.",
    ),
]
GAPPED = 0.5
"""eV; of the crystals with such a gap 95 % are charge-balanced, so that is asked for as well."""
MOST_TRIES = 40
"""Crystals drawn for each that is asked for, before giving up on a wish that is hardly ever met."""


@app.command()
def main(
    out: Out,
    number: Number = 100,
    weights: Weights = None,
    elements: Elements = None,
    required: Required = None,
    formula: Formula = None,
    group: Group = None,
    atoms: Atoms = None,
    number_of_elements: NumberOfElements = None,
    charge_balanced: ChargeBalanced = False,
    band_gap: BandGap = None,
    energy_above_hull: EnergyAboveHull = None,
    wanted: Wanted = [],  # noqa: B006  # typer reads it, nobody changes it
    guidance: Guidance = USUAL.guidance,
    temperature: Temperature = None,
    nucleus: Nucleus = None,
    coordinate_temperature: CoordinateTemperature = USUAL.coordinate_temperature,
    new: New = False,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal crystals.")] = 0,
) -> None:
    """Draws crystals that meet the wishes, and writes them."""
    from generators.latent.asking import Wish
    from generators.latent.sampling import ImpossibleWishError
    from generators.latent.weights import WeightsError

    _check_writable(out)
    if formula is not None and not formula.strip():
        raise typer.BadParameter("an empty formula; leave the option out to allow all")
    values = dict(_value(text) for text in wanted)
    for name, value in (("band_gap", band_gap), ("energy_above_hull", energy_above_hull)):
        if value is not None:
            values[name] = value
    for name, value in values.items():
        _check_possible(name, value)
    usual = AIMED if values else USUAL
    manner = Manner(
        guidance,
        usual.temperature if temperature is None else temperature,
        usual.nucleus if nucleus is None else nucleus,
        coordinate_temperature,
    )
    try:
        balanced = charge_balanced or values.get("band_gap", 0.0) >= GAPPED
        chemistry = (_names(elements), _names(required), formula or "", group, atoms)
        wish = Wish(*chemistry, number_of_elements, balanced, values)
        drawn, tried = _drawn(wish, manner, number, weights, new, seed)
    except (ImpossibleWishError, WeightsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    _tell(out, drawn, number, tried)


def _check_writable(out: Path) -> None:
    """Before anything is drawn."""
    if out.suffix.lower() not in (".extxyz", ".xyz"):
        raise typer.BadParameter(f"{out}: extended XYZ is written; name a file.extxyz", param_hint="--out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"{out.parent} is no folder; make it first", param_hint="--out")


def _check_possible(name: str, value: float) -> None:
    from materials.properties import PROPERTIES

    known = PROPERTIES.get(name)
    if known is not None and math.isfinite(value) and not known.possible[0] <= value <= known.possible[1]:
        low, high = known.possible
        raise typer.BadParameter(f"{name} of {value:g} is impossible (from {low:g} to {high:g} {known.unit})")


def _drawn(
    wish: Wish, manner: Manner, number: int, weights: Path | None, new: bool, seed: int
) -> tuple[list[Crystal], int]:
    """At most so many crystals, and how many were drawn for them."""
    from generators.latent.sampling import LIKELIEST, Tried, draw
    from generators.latent.weights import SHIPPED, load, seeded
    from materials.novelty import Novelty

    tried = Tried(round(MOST_TRIES * number / (LIKELIEST if wish.properties else 1)))
    crystals = draw(load(weights or SHIPPED), wish, manner, seeded(seed), tried)
    return list(islice(filter(Novelty(), crystals) if new else crystals, number)), tried.number


def _tell(out: Path, drawn: list[Crystal], number: int, tried: int) -> None:
    """Writes what was drawn and says how it went."""
    if not drawn:
        typer.echo(f"error: none of {tried} crystals drawn met the wishes; loosen them", err=True)
        raise typer.Exit(2)
    known = _write(out, drawn)
    typer.echo(
        f"{out}: {len(drawn)} crystals of {tried} drawn; {known} have formula and symmetry of a known one"
    )
    if len(drawn) < number:
        typer.echo(
            f"only {len(drawn)} of {number} met the wishes; loosen them, or raise --guidance", err=True
        )


def _write(out: Path, drawn: list[Crystal]) -> int:
    """Writes the crystals, those that may be known with their id; returns how many those are."""
    from materials.known import KnownMaterials
    from materials.writing import write_extxyz

    ids = [KnownMaterials.load().find(crystal.structure) for crystal in drawn]
    told: list[dict[str, str | float]] = [{} if one is None else {"known": one} for one in ids]
    write_extxyz(out, list(zip(drawn, told, strict=True)))
    return sum(one is not None for one in ids)


def _names(text: str | None) -> tuple[str, ...]:
    """Names between commas. An empty text was meant to say something: perhaps a variable that is not set."""
    if text is not None and not text.strip():
        raise typer.BadParameter("an empty list of elements; leave the option out to allow all")
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write a property and a number, such as band_gap=3") from error


if __name__ == "__main__":
    app()
