"""A GPU whose memory is full, played by losses that refuse more than a few images."""

import logging

import pytest
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.errors import TrainingError
from transferflow.spec.sections.freeze import FreezeNone
from transferflow.training.loop.micro_batches import decide_micro_batch, split_batch
from transferflow.training.loop.run import train

FROZEN_NORM = FreezeNone(policy="none", batch_norm="all_frozen")
WEIGHTS = torch.tensor([1.0, 5.0, 0.2])
SETTINGS = {"epochs": 2, "gradient_clip": 1.0}


def weighted(model, batch):
    """A mean over the weights of the classes, not over images."""
    return {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets, weight=WEIGHTS)}


def counts(batch):
    return {"loss": float(WEIGHTS[batch.targets].sum())}


def at_most(images, losses=weighted, seen=None):
    def refuse(model, batch):
        if seen is not None:
            seen.append(len(batch))
        if len(batch) > images:
            model(batch.images)  # batch norm has seen it
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return losses(model, batch)

    return refuse


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


@pytest.fixture
def trained(build_job, tiny_model, tmp_path):
    """Train the tiny model without dropout; return its weights, the result and its folder."""
    start = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}

    def run(name, **parts):
        tiny_model.load_state_dict(start)
        job = build_job(
            without_dropout(tiny_model),
            settings=SETTINGS,
            folder=tmp_path / name,
            loss_counts=counts,
            **parts,
        )
        result = train(job)
        return {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}, result

    return run


@pytest.mark.parametrize(("most", "sizes"), [(4, [8, 4, 4]), (3, [8, 4, 2, 2, 2, 2]), (1, [8, 4, 2, 1])])
def test_the_gradients_add_up_to_those_of_the_whole_batch(trained, most, sizes):
    """The same weights, up to rounding, though the classes weigh differently in each part."""
    whole, expected = trained("whole", freeze=FROZEN_NORM, losses=weighted)
    seen = []
    parts, result = trained("parts", freeze=FROZEN_NORM, losses=at_most(most, seen=seen))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5)
    assert seen[: len(sizes)] == sizes
    for row, other in zip(result.history, expected.history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
    assert (result.micro_batch, expected.micro_batch) == (min(most, 2) if most < 4 else 4, None)


def test_it_is_said_once_with_what_batch_norm_sees(trained, caplog):
    with caplog.at_level(logging.WARNING):
        trained("parts", losses=at_most(4))
    (line,) = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert "from now on at most 4 images of a batch are computed at a time" in line
    assert "batch size, rates and schedule mean the same; batch norm sees at most 4 images" in line


def test_an_attempt_that_fails_leaves_no_trace_in_running_statistics(trained):
    first, _ = trained("first", losses=at_most(4))
    second, _ = trained("second", losses=at_most(4, seen=[]))
    assert torch.equal(first["stem.1.num_batches_tracked"], torch.tensor(12))  # 2 parts of 3 steps, twice
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_resume_goes_on_in_parts(build_job):
    class Stop:
        def on_start(self, epochs, steps, first_epoch): ...

        def on_step(self, epoch, step, loss, lr):
            if (epoch, step) == (0, 1):
                raise KeyboardInterrupt

        def on_epoch(self, epoch, values): ...

        def on_end(self): ...

    with pytest.raises(Exception, match="stopped after"):
        train(build_job(losses=at_most(4), hooks=[Stop()]))
    seen = []
    result = train(build_job(losses=at_most(4, seen=seen)))
    assert set(seen) == {4}
    assert result.micro_batch == 4


def test_what_does_not_fit_at_all_says_what_to_do(build_job):
    for freeze, least in ((FROZEN_NORM, 1), (FreezeNone(policy="none"), 2)):
        seen = []
        with pytest.raises(TrainingError, match="the GPU's memory is full") as caught:
            train(build_job(losses=at_most(0, seen=seen), freeze=freeze))
        assert min(seen) == least  # batch norm can't train on one image
        assert caught.value.problems[0].found == "CUDA out of memory"
        assert "data.image_size" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("images", "least", "expected"),
    [(32, 1, 16), (5, 1, 3), (2, 1, 1), (1, 1, None), (3, 2, 2), (2, 2, None)],
)
def test_half_as_many_at_a_time(images, least, expected):
    assert decide_micro_batch(images, least=least) == expected


def test_parts_keep_order_and_are_nearly_equal():
    boxes = [{"boxes": torch.full((1, 4), float(n)), "labels": torch.tensor([n])} for n in range(7)]
    batch = Batch(torch.arange(7.0)[:, None, None, None], boxes, tuple("abcdefg"))
    parts = split_batch(batch, 3)
    assert [len(part) for part in parts] == [2, 2, 3]
    assert "".join(image for part in parts for image in part.ids) == "abcdefg"
    assert [int(target["labels"]) for part in parts for target in part.targets] == list(range(7))
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert [len(part) for part in split_batch(batch, None)] == [7]
