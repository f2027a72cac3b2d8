"""Labels of whole images, as a terminal's table shows them."""

import pytest

from transferflow.tasks.output.labels import LabelOutput

SCORES = {"cat": 0.125, "dog": 0.75, "owl": 0.0625, "fox": 0.0625}


@pytest.mark.parametrize(
    ("labels", "more", "expected"),
    [
        (["dog"], {}, ("dog", "0.750", "cat 0.125, owl 0.062")),
        (["dog", "cat"], {}, ("dog, cat", "0.750", "cat 0.125, owl 0.062")),
        ([], {}, ("(none)", "0.750", "cat 0.125, owl 0.062")),
        (
            ["dog"],
            {"plausible": ["dog", "owl"]},
            ("dog", "0.750", "plausible: dog, owl; cat 0.125, owl 0.062"),
        ),
    ],
)
def test_an_image_in_three_cells(labels, more, expected):
    row = {"image": "a.png", "labels": labels, "score": 0.75, "probabilities": SCORES, **more}
    assert LabelOutput(several=True).cells(row, 3) == expected
