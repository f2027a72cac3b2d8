"""The table of `plan --rates`: whole at any width, a column for each change."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from transferflow.cli.rates_table import rates_table
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts
from transferflow.training.job import OptimizerSettings
from transferflow.training.rate_plan import RateRow, rate_table

SIZE_224 = {"format": "image_folder", "root": "photos", "image_size": 224}


@pytest.fixture
def rates_of(build_spec):
    """Rates of a torchvision backbone under layer-wise decay."""

    def _rates_of(name: str, epochs: int, schedule: str, **sections) -> tuple[RateRow, ...]:
        backbone = {"source": "torchvision", "name": name, "weights": "none"}
        optimizer = {"lr": 1e-3, "layer_decay": 0.5}
        spec = build_spec(backbone=backbone, optimizer=optimizer, training={"epochs": epochs}, **sections)
        parts = build_parts(spec, ("a", "b"), pretrained=False, device="meta")
        plan = compile_training_plan(spec, parts)
        settings = OptimizerSettings("adamw", schedule=schedule)
        return rate_table(plan.rates, plan.freeze, settings, epochs, 10)

    return _rates_of


def printed(rows: tuple[RateRow, ...], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(rates_table(rows, width), soft_wrap=False)
    return capture.get().splitlines()


def read_cells(lines: list[str]) -> dict[tuple[str, str], str]:
    """Text of each cell by row and column title, over all pages."""
    found: dict[tuple[str, str], str] = {}
    header: list[str] = []
    for line in lines:
        if line.startswith("┃"):
            header = [cell.strip() for cell in line.strip("┃").split("┃")]
        elif line.startswith("│"):
            label, *cells = [cell.strip() for cell in line.strip("│").split("│")]
            found |= {(label, title): cell for title, cell in zip(header[1:], cells, strict=True)}
    return found


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny", "vit_b_16"])
def test_every_rate_of_every_epoch_is_whole(rates_of, name, width):
    rows = rates_of(name, 5, "cosine", data=SIZE_224)
    lines = printed(rows, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    cells = read_cells(lines)
    assert len(cells) == len(rows)
    for row in rows:
        ends = [float(number) for number in cells[row.block, f"epoch {row.epoch + 1}"].split(" → ")]
        assert ends == pytest.approx([row.lr_start, row.lr_end], rel=0.05)


def test_epochs_that_are_alike_share_a_column(rates_of):
    phases = [{"epochs": 2, "train": ["head"]}, {"epochs": 3, "train": ["layer4", "head"], "lr_scale": 0.5}]
    rows = rates_of("resnet18", 6, "constant", freeze={"policy": "phases", "phases": phases})
    cells = read_cells(printed(rows, 80))
    assert {title for _, title in cells} == {"epochs 1 to 2", "epochs 3 to 6"}
    assert cells["head", "epochs 1 to 2"] == "0.001"
    assert cells["head", "epochs 3 to 6"] == "0.0005"
    assert cells["layer4.1", "epochs 1 to 2"] == "frozen"
    assert cells["layer4.1", "epochs 3 to 6"] == "0.00025"  # half of it for the phase, half for the depth
    assert cells["conv1", "epochs 3 to 6"] == "frozen"


def test_a_terminal_too_narrow_for_a_number_breaks_it_and_cuts_nothing(rates_of):
    text = "".join(printed(rates_of("resnet18", 1, "cosine"), 20))
    assert "…" not in text
