"""Strict YAML: read back what was written, keep text as text, and know the line of every key."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loop.yaml_text import YamlError, read_yaml, write_yaml

# Every symbol of the periodic table that some YAML reader takes for something else, and their neighbours.
TRICKY = [
    "No",
    "Y",
    "N",
    "O",
    "on",
    "off",
    "yes",
    "no",
    "n",
    "y",
    "NO",
    "True",
    "1e-3",
    "010",
    "1:30",
    "2024-01-02",
]
TRICKY += [
    "~",
    "null",
    "",
    " ",
    "=",
    "<<",
    ".5",
    ".inf",
    "-",
    "#x",
    "a: b",
    "[",
    "0x1F",
    "1_000",
    "+1",
    "é",
    "\t",
    "a\nb",
]
texts = st.one_of(st.sampled_from(TRICKY), st.text(max_size=8))
scalars = st.one_of(
    texts, st.booleans(), st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_reads_back_equal_and_of_the_same_types(value: dict[str, object]) -> None:
    again = read_yaml(write_yaml(value)).value
    assert again == value
    assert repr(again) == repr(value)


@given(st.dictionaries(st.sampled_from(TRICKY), st.sampled_from(TRICKY), max_size=4))
def test_other_readers_understand_what_is_written(value: dict[str, str]) -> None:
    """PyYAML reads YAML 1.1: every text that it would take for a boolean, a date or a number is quoted."""
    assert yaml.safe_load(write_yaml(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[Y, N, No, O, on, off, yes, n]", ["Y", "N", "No", "O", "on", "off", "yes", "n"]),
        ("[true, False, TRUE]", [True, False, True]),
        ("[1e-3, 1E5, 1.5e+2, .5, 5.]", [1e-3, 1e5, 150.0, 0.5, 5.0]),
        ("[010, 0o10, 0x10, -7, +7]", [10, 8, 16, -7, 7]),
        ("[12:30:45, 2024-01-02, 1_000]", ["12:30:45", "2024-01-02", "1_000"]),
        ("[~, null, ]", [None, None]),
        ("-.inf", -math.inf),
        ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert read_yaml(text).value == value
    assert repr(read_yaml(text).value) == repr(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("name: a\nname: b\n", 2, 1, "already on line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, 3, "already on line 2"),
        ("a:\n\tb: 1\n", 2, 1, "tab"),
        ("a: [1, 2\nb: 3\n", 2, 2, "flow sequence"),
        ("a: 'x\n", 2, 1, "quoted scalar"),
        ("a: !!python/object/apply:os.getcwd []\n", 1, 4, "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", 2, 1, "single document"),
        ("a: *nowhere\n", 1, 4, "alias"),
        ("{[1]: 2}", 1, 2, "key"),
    ],
)
def test_bad_text_is_refused_with_its_line(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(YamlError, match=words) as caught:
        read_yaml(text)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_control_characters_are_refused() -> None:
    with pytest.raises(YamlError):
        read_yaml("a: \x00")


def test_every_key_knows_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  - c: 2\n    d: 3\n  - {e: 4}\n\nf: {}\n")
    assert document.line(("a",)) == 1
    assert document.line(("b", 0, "d")) == 4
    assert document.line(("b", 1, "e")) == 5
    assert document.line(("f", "missing")) == 7
    assert document.line(("nowhere",)) == 1
