"""What a lab is asked and may answer: precursors that balance, values that can be true, settings that make sense."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lab_requests import SIGMA, request_for
from pydantic import ValidationError
from pymatgen.core import Composition

from materials.base import Bound
from materials.base import Composition as Formula
from materials.evaluation import FailureKind, Outcome, Status, Ticket
from materials.properties import PROPERTIES
from oracles.lab.base import Order, Precursor, Target
from oracles.lab.lab import LabSettings
from oracles.lab.precursors import InventoryItem, UnbalancedError, weighed
from oracles.lab.results import BadResultError, MeasuredValue, measurements_of

GASES = ("CO2", "H2O", "NH3", "O2")
IN_GASES = frozenset("CHNO")
SULFIDES = ("Li2S", "P2S5", "LiCl", "Al2S3", "SiS2")
SHELF = ("Li2CO3", "LiOH", "Li2S", "P2S5", "LiCl", "Al2O3", "SiO2", "NH4H2PO4")
UNIT = PROPERTIES[SIGMA].unit
VALUE = {"property": SIGMA, "value": -3.5, "unit": UNIT}
ORDER = Order(
    key="k",
    candidate_id="c",
    oracle="lab",
    formula="Li3OCl",
    material=Formula("Li3OCl").to_dict(),
    targets=(
        Target(SIGMA, UNIT, "experiment", {"temperature": 300.0}),
        Target("band_gap", "eV", "experiment"),
    ),
)
GAP = {"property": "band_gap", "value": 5.0, "unit": "eV"}


def moles(found: tuple[Precursor, ...], shelf: list[InventoryItem]) -> dict[str, float]:
    """Moles of each element in what is weighed in, impurities left out."""
    purity = {item.formula: item.purity for item in shelf}
    total: dict[str, float] = {}
    for one in found:
        compound = Composition(one.formula)
        for element, number in compound.items():
            share = one.grams * purity[one.formula] / float(compound.weight) * float(number)
            total[element.symbol] = total.get(element.symbol, 0.0) + share
    return total


purities = st.floats(0.5, 1.0)
amounts = st.floats(0.1, 50.0)


@settings(max_examples=80, deadline=None)
@given(
    numbers=st.dictionaries(st.sampled_from(["Li", "P", "S", "Cl", "Al", "Si", "O"]), st.integers(1, 90)),
    purity=purities,
    grams=amounts,
)
def test_no_element_is_lost_or_made(numbers: dict[str, int], purity: float, grams: float) -> None:
    assume(numbers)
    wanted = Composition({element: number / 10 for element, number in numbers.items()})
    shelf = [InventoryItem(formula=f, purity=purity) for f in SHELF]
    try:
        found = weighed(wanted.formula, shelf, GASES, grams)
    except UnbalancedError:
        return  # what can be made is always found, as the next test says
    weighed_in = moles(found, shelf)
    made = grams / float(wanted.weight)
    for element in {*weighed_in, *numbers} - IN_GASES:
        assert weighed_in.get(element, 0.0) == pytest.approx(made * float(wanted[element]), rel=1e-3)
    for element in IN_GASES - {"O"}:  # what leaves was there before; only oxygen is taken up
        assert weighed_in.get(element, 0.0) >= made * float(wanted[element]) - 1e-6
    assert all(one.grams > 0 for one in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), purities, amounts)
def test_what_is_a_mixture_of_the_shelf_is_always_found(
    parts: list[int], purity: float, grams: float
) -> None:
    assume(any(parts))
    wanted = sum((Composition(f) * n for f, n in zip(SULFIDES, parts, strict=True)), Composition())
    shelf = [InventoryItem(formula=f, purity=purity) for f in SULFIDES]
    found = weighed(wanted.formula, shelf, (), grams)
    assert sum(one.grams for one in found) == pytest.approx(grams / purity, rel=1e-4)


def test_a_known_reaction_with_a_gas() -> None:
    shelf = [InventoryItem(formula="Li2CO3"), InventoryItem(formula="Al2O3", purity=0.5)]
    carbonate, alumina = weighed("LiAlO2", shelf, GASES, 65.92)  # 1 mol; CO2 leaves
    assert carbonate.grams == pytest.approx(36.95, abs=0.02)
    assert alumina.grams == pytest.approx(2 * 50.98, abs=0.03)


@pytest.mark.parametrize(
    ("formula", "shelf", "gases", "reason"),
    [
        ("NaCl", ["LiCl"], GASES, "holds Na"),
        ("Li2O", ["LiCl", "Li2S"], GASES, "no mixture"),  # chlorine and sulfur cannot leave
        ("Li2O", ["Li2CO3"], (), "no gas leaves"),
        ("Li2CO3", ["Li2O", "CaCO3"], GASES, "no mixture"),  # CO2 may leave, not be taken up
        ("Li3N", ["Li2O"], GASES, "holds N"),  # NH3 may leave, nitrogen may not be taken up
    ],
)
def test_what_cannot_be_made_is_said(
    formula: str, shelf: list[str], gases: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(UnbalancedError, match=reason):
        weighed(formula, [InventoryItem(formula=f) for f in shelf], gases, 1.0)


@pytest.mark.parametrize("bad", [{"formula": "Xx2"}, {"formula": ""}, {"formula": "Li2O", "purity": 0.0}])
def test_nothing_unreadable_is_on_the_shelf(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InventoryItem(**bad)


def test_what_was_asked_for_is_taken_with_its_conditions() -> None:
    told = {**VALUE, "std": 0.1, "bound": "upper", "conditions": {"temperature": 310.0, "pressure": 0.3}}
    sigma, gap = measurements_of(ORDER, [MeasuredValue(**told), MeasuredValue(**GAP)])
    assert (sigma.value, sigma.std, sigma.bound, sigma.fidelity) == (-3.5, 0.1, Bound.UPPER, "experiment")
    assert dict(sigma.conditions) == {"temperature": 310.0, "pressure": 0.3}
    assert dict(gap.conditions) == {}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([VALUE], "band_gap was asked for and is missing"),
        ([VALUE, GAP, GAP], "band_gap is given twice"),
        ([VALUE, GAP, {**GAP, "property": "average_voltage", "unit": "V"}], "was not asked for"),
        ([VALUE, {**GAP, "unit": "meV"}], "convert it"),
        ([VALUE, {**GAP, "value": -0.1}], "is impossible"),
        ([{**VALUE, "value": 10**300}, GAP], "is impossible"),
        ([{**VALUE, "std": 1e200}, GAP], "wider than all that is possible"),
        ([{**VALUE, "conditions": {"temperature": -5.0}}, GAP], "temperature of -5 K is impossible"),
        ([{**VALUE, "conditions": {"temperature": 0.0}}, GAP], "temperature of 0 K is impossible"),
        ([{**VALUE, "conditions": {"colour\0": 1.0}}, GAP], r"'colour\\x00' is no condition"),
    ],
)
def test_what_cannot_be_true_is_refused(values: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(BadResultError, match=reason):
        measurements_of(ORDER, [MeasuredValue(**value) for value in values])


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadResultError) as caught:
        measurements_of(ORDER, [MeasuredValue(**{**VALUE, "unit": "S/m", "value": 99.0})])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("bad", ["-3.5", None, True, math.nan, math.inf, [1.0]])
def test_a_value_is_a_finite_number(bad: Any) -> None:
    with pytest.raises(ValidationError):
        MeasuredValue(**{**VALUE, "value": bad})


BLOCK: dict[str, Any] = {"measures": [SIGMA], "conditions": {"temperature": 300.0}}


def test_a_lab_measures_at_the_highest_fidelity() -> None:
    lab = LabSettings.model_validate(BLOCK)
    assert (lab.measures, lab.fidelity) == ((SIGMA,), "experiment")
    (target,) = lab.order(request_for(lab)).targets
    assert (target.unit, target.fidelity, dict(target.conditions)) == (
        UNIT,
        "experiment",
        {"temperature": 300.0},
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"measures": ["hardnes"]}, "unknown property"),
        ({"measures": []}, "at least 1"),
        ({"measures": [SIGMA, SIGMA]}, "named twice"),
        ({"conditions": {"temprature": 300.0}}, "no condition"),
        ({"conditions": {"temperature": math.nan}}, "temperature"),
        ({"conditions": {"temperature": -1.0}}, "is impossible"),
        ({"grams": 0}, "greater than 0"),
        ({"gases": ["CO2", "foo"]}, "'foo' is no formula"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_block_that_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        LabSettings.model_validate(BLOCK | change)


def test_what_no_lab_can_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = replace(PROPERTIES["band_gap"], name="orbital_mix", fidelities=("learned", "PBE"))
    monkeypatch.setitem(PROPERTIES, "orbital_mix", computed)
    with pytest.raises(ValidationError, match="nothing a lab measures; it is known as learned, PBE"):
        LabSettings.model_validate(BLOCK | {"measures": ["orbital_mix"]})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"inventory": [{"formula": "Li2S"}]}, True),
        ({"grams": 2.0}, True),
        ({"gases": ["CO2"]}, True),
        ({"priority": 3}, True),
        ({"deadline_hours": 2.0}, True),
        ({"most_waiting": 3}, True),
        ({"conditions": {"temperature": 350.0}}, False),
        ({"measures": [SIGMA, "band_gap"]}, False),
    ],
)
def test_only_what_changes_answers_makes_another_question(change: dict[str, Any], same: bool) -> None:
    before, after = (LabSettings.model_validate(block).fingerprint() for block in (BLOCK, BLOCK | change))
    assert (before == after) == same


class Desk:
    """A queue that keeps what it is given."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def submit(self, order: Order) -> None:
        self.orders.append(order)

    def answer(self, key: str) -> Outcome | None:
        return None

    def cancel(self, key: str) -> bool:
        return True


def test_what_cannot_be_made_is_rejected_before_anybody_is_asked() -> None:
    lab, desk = LabSettings.model_validate(BLOCK | {"inventory": [{"formula": "Li2S"}]}), Desk()
    oracle = lab.build_on(desk)
    (ticket,) = oracle.submit([request_for(lab, "NaCl")])
    outcome = oracle.poll(Ticket(ticket.oracle, ticket.key, dict(ticket.handle)))
    assert outcome is not None
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == (Status.REJECTED, FailureKind.UNSUPPORTED_MATERIAL)
    assert "holds Na" in outcome.failure.message
    assert desk.orders == []


def test_an_order_survives_the_wire() -> None:
    lab, desk = LabSettings.model_validate(BLOCK | {"inventory": [{"formula": "Li2S"}], "grams": 0.5}), Desk()
    lab.build_on(desk).submit([request_for(lab, "Li2S")])
    (order,) = desk.orders
    assert order.precursors == (Precursor("Li2S", 0.5),)
    assert Order.from_dict(order.to_dict()) == order
