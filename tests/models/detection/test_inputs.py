import torch
from torch import nn

from transferflow.models.detection.inputs import PreparedInput, apply_float32_outputs, to_torchvision_targets


def test_images_are_padded_to_the_divisor_and_keep_their_size():
    images, targets = PreparedInput(32)([torch.ones(3, 40, 64)] * 2, None)
    assert images.tensors.shape == (2, 3, 64, 64)
    assert images.image_sizes == [(40, 64)] * 2
    assert images.tensors[:, :, :40].eq(1).all()
    assert images.tensors[:, :, 40:].eq(0).all()
    assert targets is None


def test_boxes_without_area_are_left_out_and_labels_make_room_for_the_background():
    boxes = torch.tensor([[0.0, 0, 5, 5], [3.0, 3, 3, 9], [1.0, 1, 2, 2]])
    target = {"boxes": boxes, "labels": torch.tensor([0, 1, 2])}
    with_background = to_torchvision_targets([target], True)[0]
    assert with_background["labels"].tolist() == [1, 3]
    assert with_background["boxes"].tolist() == [[0, 0, 5, 5], [1, 1, 2, 2]]
    assert to_torchvision_targets([target], False)[0]["labels"].tolist() == [0, 2]


def test_outputs_are_cast_whatever_holds_them():
    class Nested(nn.Module):
        def forward(self, x):
            return {"a": [x], "b": (x, None)}

    module = Nested()
    apply_float32_outputs(module)
    found = module(torch.ones(1, dtype=torch.bfloat16))
    assert found["a"][0].dtype == torch.float32
    assert found["b"][0].dtype == torch.float32
    assert found["b"][1] is None
