"""What was packed comes back with its type, its values and its layout."""

import numpy as np
import pytest
import torch

from transferflow.training.activations.packing import pack, rows_of, stack, unpack


def restored(*batches):
    rows = zip(*(rows_of(batch) for batch in batches), strict=True)
    blobs = [pack(str(number), tensors) for number, tensors in enumerate(rows)]
    found = [unpack(np.frombuffer(blob.raw, np.uint8), blob.note) for blob in blobs]
    return [stack(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batches_come_back(dtype, layout):
    maps = torch.randn(3, 4, 5, 6).to(dtype).contiguous(memory_format=layout)
    tokens = torch.randn(3, 7, 2).to(dtype)
    for found, expected in zip(restored(maps, tokens), (maps, tokens), strict=True):
        assert torch.equal(found, expected)
        assert found.dtype == dtype
        assert found.stride() == expected.stride()


def test_truths_without_a_box_come_back():
    blob = pack("a", [torch.ones(2), torch.empty(0, 4), torch.empty(0, dtype=torch.int64)])
    found = unpack(np.frombuffer(blob.raw, np.uint8), blob.note)
    assert [tuple(tensor.shape) for tensor in found] == [(2,), (0, 4), (0,)]
    assert found[2].dtype == torch.int64


@pytest.mark.parametrize(
    "note", [[0, 0, 1, 3], [0, 0, 1, 1], [9, 0, 1, 2], [0, 0, 2, 2], [0, 0, 1, -2], [0, 0]], ids=str
)
def test_a_note_of_other_bytes_is_refused(note):
    with pytest.raises(ValueError, match=r"note|bytes|unpack"):
        unpack(np.zeros(8, np.uint8), note)
