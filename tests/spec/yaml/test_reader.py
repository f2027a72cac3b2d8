from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transferflow.limits import MAX_SPEC_BYTES, MAX_SPEC_DEPTH
from transferflow.spec.yaml import reader
from transferflow.spec.yaml.files import read_file
from transferflow.spec.yaml.reader import read_yaml
from transferflow.spec.yaml.tree import MapNode, Node, ScalarNode, plain


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def both_parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_LOADER", getattr(yaml, request.param))


def value(text: str) -> Any:
    node, problems = read_yaml(f"a: {text}", "f")
    assert not problems, problems
    assert isinstance(node, MapNode)
    return plain(node)["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("010", "010"),
        ("007.5", "007.5"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("0b11", "0b11"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("'null'", "null"),
        ("=", "="),
    ],
)
def test_scalars(both_parsers: None, text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", ".NaN", "1e999", "9" * 400])
def test_numbers_that_can_not_be_used_are_refused(both_parsers: None, text: str) -> None:
    _, (problem,) = read_yaml(f"a: {text}", "f")
    assert problem.where == "f:1:4: a"
    assert "number" in problem.what


def test_keys_are_text_as_spelled() -> None:
    node, problems = read_yaml("{no: 1, 1: 2, 010: 3, 1e3: 4, null: 5, true: 6}", "f")
    assert not problems
    assert node is not None
    assert list(plain(node)) == ["no", "1", "010", "1e3", "null", "true"]  # type: ignore[arg-type]


def test_places_are_those_of_the_file(both_parsers: None) -> None:
    node, _ = read_yaml("a:\n  b: [1, {c: x}]\n", "f")
    assert isinstance(node, MapNode)
    inner = node.get("a")
    assert isinstance(inner, MapNode)
    assert str(inner.entries["b"].key_place) == "f:2:3"
    assert str(inner.entries["b"].node.place) == "f:2:6"
    assert str(inner.entries["b"].node.items[1].entries["c"].node.place) == "f:2:14"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "f:1:1", "empty"),
        ("# only a comment\n", "f:1:1", "empty"),
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a", "already in line 1"),
        ("x:\n  a: 1\n  a: 2\n", "f:3:3: x.a", "already in line 2"),
        ("a: !!python/object/apply:os.system ['x']\n", "f:1:4: a", "tags"),
        ("a: !!binary aGk=\n", "f:1:4: a", "tags"),
        ("a: !mine 3\n", "f:1:4: a", "tags"),
        ("!!map {a: 1}\n", "f:1:1", "tags"),
        ("a: 1\n---\nb: 2\n", "f:2:1", "second document"),
        ("a:\n\tb: 1\n", "f:2:1", "tab"),
        ("a: &x [*x]\n", "f:1:8: a.0", "inside its own anchor"),
        ("a: *x\n", "f:1:4: a", "no such anchor"),
        ("? [a]\n: 1\n", "f:1:3", "single word"),
        ("{? {a: 1} : 2}\n", "f:1:4", "single word"),
        ("'': 1\n", "f:1:1", "empty key"),
        ("a: b: c\n", "f:1:5", "not YAML"),
        ("a: {b: 1\n", "f:2:1", "not YAML"),
        ('a: "x\n', "f:2:1", "not YAML"),
        ("a: @x\n", "f:1:4", "not YAML"),
        ("a: '\x07'\n", "f:1:5", "control character"),
        ("a: {<<: 3}\n", "f:1:9", "mapping"),
        ("[" * (MAX_SPEC_DEPTH + 1), f"f:1:{MAX_SPEC_DEPTH + 1}", "levels deep"),
    ],
)
def test_what_is_not_a_spec_is_refused_with_its_place(
    both_parsers: None, text: str, where: str, what: str
) -> None:
    _, problems = read_yaml(text, "f")
    assert len(problems) == 1
    assert problems[0].where.split(": 0.0")[0].startswith(where)
    assert what in problems[0].what


def test_all_duplicates_and_tags_are_reported() -> None:
    _, problems = read_yaml("a: !x 1\nb: {c: 1, c: 2}\na: !y 2\n", "f")
    assert [p.where for p in problems] == ["f:1:4: a", "f:2:11: b.c", "f:3:4: a", "f:3:1: a"]


def test_an_alias_bomb_is_stopped(both_parsers: None) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    _, (problem,) = read_yaml("\n".join(lines), "f")
    assert "more than" in problem.what


def test_deep_nesting_does_not_recurse(both_parsers: None) -> None:
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000):
        node, problems = read_yaml(text, "f")
        assert node is None
        assert len(problems) == 1


def test_anchors_and_merge_keys_work(both_parsers: None) -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 9, z: 3}\nc: {<<: [*a, *b], x: 0}\nd: *a\n"
    node, problems = read_yaml(text, "f")
    assert not problems
    assert node is not None
    assert plain(node) == yaml.safe_load(text)


@pytest.mark.parametrize("data", [b"a: \xff\n", b"x: 1\na: \xe9\n", "a: 1".encode("utf-16")])
def test_other_encodings_are_refused(data: bytes) -> None:
    node, (problem,) = read_yaml(data, "f")
    assert node is None
    assert "UTF-" in problem.what


def test_a_byte_order_mark_is_fine() -> None:
    node, problems = read_yaml("a: é".encode("utf-8-sig"), "f")
    assert not problems
    assert node is not None
    assert plain(node) == {"a": "é"}


@pytest.mark.parametrize(
    "text", ['a: "\\ud800"', 'a: "\\UFFFFFFFF"', 'a: "\\x"', "%YAML 9.9\n---\na: 1", "a: !<> 3"]
)
def test_impossible_escapes_and_directives_are_problems(both_parsers: None, text: str) -> None:
    _, problems = read_yaml(text, "f")
    assert len(problems) == 1


def test_files_are_bounded_and_regular(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (MAX_SPEC_BYTES + 1))
    for path, what in (
        (big, "too large"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path / ("x" * 300), "can't be read"),
        (Path("/dev/zero"), "not a regular file"),
        (Path("a\0b"), "no such file"),
    ):
        data, (problem,) = read_file(path, "f")
        assert data == b""
        assert what in problem.what


_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp")), max_size=12)
_KEYS = _TEXT.filter(bool)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | _FLOATS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4))
def test_json_is_read_as_json(data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False)
    node, problems = read_yaml(text, "f")
    assert not problems
    assert node is not None
    assert plain(node) == json.loads(text)


@given(st.text(max_size=200))
def test_any_text_gives_a_tree_or_problems(text: str) -> None:
    node, problems = read_yaml(text, "f")
    assert node is not None or problems


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_problems(data: bytes) -> None:
    node, problems = read_yaml(data, "f")
    assert node is not None or problems


@given(st.text(alphabet="ab:-?[]{},&*!|>'\"%@#\n\t <~0.", max_size=60))
def test_any_punctuation_gives_a_tree_or_problems(text: str) -> None:
    node, problems = read_yaml(text, "f")
    assert node is not None or problems
    assert isinstance(node, Node | None)  # type: ignore[arg-type]
    if isinstance(node, ScalarNode):
        assert node.place.line
