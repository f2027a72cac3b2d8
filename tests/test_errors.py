import pickle

import pytest

from transferflow import errors
from transferflow.errors import Problem, SpecError, TransferflowError
from transferflow.limits import MAX_MESSAGE, MAX_PROBLEMS


def test_message_has_all_four_parts():
    error = TransferflowError(
        "unknown group", where="freeze.until", found="layer9", allowed="layer1", hint="pick one"
    )
    text = str(error)
    assert text.splitlines()[0] == "freeze.until: unknown group"
    assert all(part in text for part in ("found: layer9", "allowed: layer1", "hint: pick one"))


def test_errors_cross_process_boundaries():
    error = SpecError.from_problems([Problem("a", "x.yaml:1:2"), Problem("b")])
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, SpecError)
    assert back.problems == error.problems
    assert str(back) == str(error)


def test_the_tree_in_the_docstring_names_every_error():
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    for kind in kinds:
        if issubclass(kind, TransferflowError):
            assert kind.__name__ in (errors.__doc__ or "")


def test_a_reason_that_libraries_wrapped_is_one_line():
    refused = ConnectionRefusedError(111, "Connection refused")
    pool = RuntimeError("HTTPConnectionPool(host='h', port=9): Max retries exceeded (Caused by …)")
    pool.reason = RuntimeError("<object at 0x7f>: Failed to establish a new connection")
    pool.reason.__cause__ = refused
    outer = OSError(pool)
    wrapped = ValueError(f"API request failed with {pool}")
    wrapped.__cause__ = outer
    assert errors.root_reason(wrapped) == "[Errno 111] Connection refused"
    assert errors.root_reason(KeyError()) == "KeyError"
    assert errors.root_reason(KeyError("id")) == "KeyError: 'id'"
    assert errors.root_reason(ValueError("\n the first\nsecond")) == "the first"
    assert len(errors.root_reason(ValueError("x y" * 999))) == 300


def test_a_reason_that_goes_in_a_circle_ends():
    one, two = ValueError("one of"), ValueError("two of")
    one.__cause__, two.__cause__ = two, one
    assert errors.root_reason(one) in ("one of", "two of")


PARTS = ("what", "where", "found", "allowed", "hint")


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_a_message_steers_leaks_or_goes_on_for_ever(part):
    text = "https://me:hunter2@host\x1b[2J " + "x" * 10_000_000
    problem = Problem(**{"what": "bad", part: text})
    assert getattr(problem, part).startswith(r"https://***@host\x1b[2J xxx")
    assert len(str(problem)) < 2 * MAX_MESSAGE


def test_a_name_with_a_new_line_is_no_message_of_its_own():
    problem = Problem("bad", where="a\nerror: b", found="c\nerror: d", hint="e\nerror: f")
    assert not any(line.startswith("error") for line in str(problem).splitlines())


def test_an_error_carries_a_bounded_number_of_problems():
    problems = [Problem(f"problem {number}") for number in range(100_000)]
    error = SpecError.from_problems(problems)
    assert len(error.problems) == MAX_PROBLEMS
    assert error.problems[-1].what == "there are more problems"
    assert SpecError.from_problems(problems[:MAX_PROBLEMS]).problems == tuple(problems[:MAX_PROBLEMS])
