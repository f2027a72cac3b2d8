import pickle

from transferflow import errors
from transferflow.errors import Problem, SpecError, TransferflowError


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
