"""`benchmarks/mutants.py` says how many changes of the code tests notice: its draws have to be changes."""

import ast
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).parents[1]


def test_each_mutant_is_another_program():
    drawn = mutants.draw(60, 7)
    assert drawn == mutants.draw(60, 7)
    assert len({mutant.file for mutant in drawn}) == 60
    for mutant in drawn:
        source = (ROOT / mutant.file).read_text()
        assert ast.dump(ast.parse(mutants.place(mutant, source))) != ast.dump(ast.parse(source))


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("x = a == b", "x = (a != b)"),
        ("x = a <= b", "x = (a < b)"),
        ("x = a and b", "x = (a or b)"),
        ("x = not a", "x = (a)"),
        ("x = a + b", "x = (a - b)"),
        ("x = 0.5", "x = (1.5)"),
        ("x = True", "x = (False)"),
        ("if a: pass", "if (not a): pass"),
    ],
)
def test_changes_of_each_kind(line, after):
    assert f"{after}\n" in [mutant.after for mutant in mutants.mutants_of("m.py", f"{line}\n")]


@pytest.mark.parametrize(
    "line",
    ["x: int = f()", "x = 'a' + b", "x = folder / NAME", "def f(x: Literal[3]): ..."],
)
def test_what_is_no_matter_of_tests_stays(line):
    assert mutants.mutants_of("m.py", f"{line}\n") == []


def test_a_mutant_is_found_where_lines_have_moved():
    (mutant,) = mutants.mutants_of("m.py", "y = c\nx = a == b\n")
    assert mutants.place(mutant, "y = c\nz = d\nx = a == b\n") == "y = c\nz = d\nx = (a != b)\n"
    assert mutants.place(mutant, "x = a is b\n") is None
