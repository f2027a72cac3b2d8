import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from skimage import data as photos

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.cache import CacheFolder
from transferflow.data.loading.loader import Loader, build_loader
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.transforms.evaluation import build_eval_transform
from transferflow.data.transforms.training import build_train_transform
from transferflow.errors import DataError
from transferflow.spec.sections.augmentation import Augmentation

PHOTOS = {"astronaut": photos.astronaut(), "chelsea": photos.chelsea(), "coffee": photos.coffee()}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Parts of three photos, a class each, with masks and boxes of the same parts."""
    root = tmp_path / "photos"
    for name, photo in PHOTOS.items():
        for number in range(9):
            part = np.ascontiguousarray(photo[10 * number :][:90, 20 * number :][:, : 80 + number])
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part).save(path)
            mask = (part[..., 0] > 128).astype(np.uint8)
            mask[:5] = 255
            mask_path = root / "masks" / name / f"{number}.png"
            mask_path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(mask_path)
    return root


@pytest.fixture
def make(folder, snapshot_of, data_section, truth_of, tmp_path) -> Callable[..., Loader]:
    """Build a loader over the photos; without `prepare`, over the snapshot before."""
    snapshots = []

    def build(kind="classification", *, split="train", train=True, cache=True, augmentation=None, **options):
        fields = {"image_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}}
        if kind == "segmentation":
            fields |= {"format": "mask_folder", "images": ".", "classes": ["dark", "bright"]}
        else:
            fields |= {"format": "image_folder", "classes": list(PHOTOS)}
        task_options = options.pop("task_options", {})
        truth = truth_of(kind, **task_options)
        moving = truth.moving
        root = folder
        if kind == "classification":
            root = _without_masks(folder, tmp_path)
        if options.pop("prepare", True):
            snapshots.append(snapshot_of(root, kind, options=task_options, **fields))
        section = data_section(root=str(root), **fields)
        mode = "letterbox" if moving else "crop"
        base = build_eval_transform(section, mode, mean=(0.5,) * 3, std=(0.25,) * 3)
        transform = base
        if augmentation is not None:
            parsed = TypeAdapter(Augmentation).validate_python(augmentation)
            transform = build_train_transform(parsed, base, moving)
        return build_loader(
            snapshots[-1],
            split,
            transform=transform,
            truth=truth,
            train=train,
            cache=CacheFolder(tmp_path / "cache", 1.0) if cache else None,
            **{"batch_size": 4, "seed": 0, "workers": 0} | options,
        )

    return build


def _without_masks(folder: Path, tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    if not root.exists():
        for name in PHOTOS:
            (root / name).mkdir(parents=True)
            for file in (folder / name).iterdir():
                (root / name / file.name).write_bytes(file.read_bytes())
    return root


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert [batch.ids for batch in first] == [batch.ids for batch in second]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_batches_do_not_depend_on_workers_or_cache(make, kind):
    options = {"augmentation": {"preset": "different_domain"}}
    if kind == "classification":
        options["augmentation"]["mixup"] = 0.4
    reference = list(make(kind, **options).epoch(3))
    for workers, cache in product((0, 2), (True, False)):
        assert_equal(reference, list(make(kind, workers=workers, cache=cache, **options).epoch(3)))


def test_workers_that_stay_know_the_epoch(make):
    alone, workers = (make(workers=n, augmentation={"preset": "similar_domain"}) for n in (0, 2))
    for epoch in (0, 1, 0):
        assert_equal(list(alone.epoch(epoch)), list(workers.epoch(epoch)))


def test_an_epoch_that_began_to_be_read_is_the_same(make, monkeypatch):
    """The workers read it while something else is done: the loop validates, or goes on from elsewhere."""
    options = {"augmentation": {"preset": "similar_domain"}, "epochs": 4}
    alone, workers = (make(workers=n, **options) for n in (0, 2))
    begun = []
    monkeypatch.setattr(
        Loader, "_begin", lambda self, place, plain=Loader._begin: (begun.append(place), plain(self, place))
    )
    assert len(list(workers.epoch(0, 0, 1))) == 1  # a look at the first batch is no epoch
    for number in (0, 1):
        assert_equal(list(alone.epoch(number)), list(workers.epoch(number)))
    keys = list(workers.plan.of(7))
    assert [raw.places for raw in workers.read(keys)] == [[place for _, place in chunk] for chunk in keys]
    assert_equal(list(alone.epoch(2)), list(workers.epoch(2)))
    assert_equal(list(alone.epoch(3, 2)), list(workers.epoch(3, 2)))  # goes on within the one that has begun
    assert_equal(list(alone.epoch(0)), list(workers.epoch(0)))
    assert_equal(list(alone.epoch(3)), list(workers.epoch(3)))
    assert begun == [(1, 0, None), (2, 0, None), (3, 0, None), (1, 0, None)]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(make, workers):
    loader = make(workers=workers)
    for number in range(2):
        before = torch.random.get_rng_state()
        assert len(list(loader.epoch(number))) == len(loader)
        assert torch.equal(torch.random.get_rng_state(), before)


def test_each_epoch_has_its_own_order_and_variation(make):
    loader = make(augmentation={"preset": "similar_domain"})
    first, again, second = (list(loader.epoch(epoch)) for epoch in (0, 0, 1))
    assert_equal(first, again)
    assert [b.ids for b in first] != [b.ids for b in second]
    images = {i: x for b in first for i, x in zip(b.ids, b.images, strict=True)}
    others = {i: x for b in second for i, x in zip(b.ids, b.images, strict=True)}
    assert not all(torch.equal(images[i], others[i]) for i in images.keys() & others.keys())


def test_the_variation_of_an_image_does_not_depend_on_the_others(make):
    options = {"augmentation": {"preset": "different_domain"}}
    by_id = [
        {
            i: x
            for b in make(batch_size=size, **options).epoch(2)
            for i, x in zip(b.ids, b.images, strict=True)
        }
        for size in (3, 5)
    ]
    shared = by_id[0].keys() & by_id[1].keys()
    assert len(shared) > 10
    assert all(torch.equal(by_id[0][i], by_id[1][i]) for i in shared)


def test_the_order_is_known_before_an_image_is_read(make):
    loader = make(augmentation={"preset": "similar_domain"})
    for epoch in (0, 4):
        assert [tuple(loader.dataset.rows[p].id for _, p in keys) for keys in loader.plan.of(epoch)] == [
            batch.ids for batch in loader.epoch(epoch)
        ]


def test_the_seed_changes_the_order(make):
    assert [b.ids for b in make(seed=0).epoch(0)] != [b.ids for b in make(seed=1).epoch(0)]


def test_evaluation_keeps_the_manifests_order_and_every_image(make):
    loader = make(split="train", train=False, batch_size=5)
    batches = list(loader.epoch(0))
    ids = [i for batch in batches for i in batch.ids]
    assert ids == [row.id for row in loader.dataset.rows]
    assert len(batches) == len(loader)
    assert [len(b) for b in batches[:-1]] == [5] * (len(batches) - 1)


def test_a_last_training_batch_of_one_image_is_left_out(make):
    images = len(make().dataset.rows)
    train, evaluation = make(batch_size=images - 1), make(batch_size=images - 1, train=False)
    assert [len(batch) for batch in train.epoch(0)] == [images - 1]
    assert len(train) == 1
    assert [len(batch) for batch in evaluation.epoch(0)] == [images - 1, 1]
    left_out = {tuple({r.id for r in train.dataset.rows} - set(next(train.epoch(e)).ids)) for e in range(6)}
    assert len(left_out) > 1


def test_targets_are_class_numbers(make):
    for batch in make().epoch(0):
        assert batch.targets.dtype == torch.int64
        assert [list(PHOTOS)[t] for t in batch.targets] == [i.split("/")[0] for i in batch.ids]
        assert (batch.images.dtype, batch.images.shape[1:]) == (torch.float32, (3, 32, 32))


def test_mixing_gives_soft_targets(make):
    for batch in make(augmentation={"preset": "none", "mixup": 0.5}).epoch(0):
        assert batch.targets.shape == (len(batch), 3)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(len(batch)))


def test_several_labels_become_ones(tmp_path, paint, snapshot_of, data_section, truth_of):
    for number in range(10):
        paint(tmp_path / f"{number}.png", number)
    lines = ["path,label,split"] + [
        f"{n}.png,{'a|b' if n % 2 else 'b'},{('train', 'train', 'val', 'test')[n % 4]}" for n in range(10)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    fields = {"format": "csv", "file": "labels.csv", "image_size": 16}
    options = {"multilabel": True}
    snapshot = snapshot_of(tmp_path, "classification", options=options, **fields)
    transform = build_eval_transform(
        data_section(root=str(tmp_path), **fields), "crop", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    loader = build_loader(
        snapshot,
        "train",
        transform=transform,
        batch_size=8,
        seed=0,
        workers=0,
        truth=truth_of("classification", **options),
        train=False,
        cache=None,
    )
    (batch,) = loader.epoch(0)
    expected = [[float("a" in row.labels), 1.0] for row in read_rows(snapshot, "train")]
    assert batch.targets.tolist() == expected


def test_numbers_are_one_per_image(tmp_path, paint, snapshot_of, data_section, truth_of):
    for number in range(6):
        paint(tmp_path / f"{number}.png", number)
    lines = ["path,label,split"] + [f"{n}.png,{n / 4},{('train', 'val', 'test')[n // 2]}" for n in range(6)]
    (tmp_path / "numbers.csv").write_text("\n".join(lines))
    fields = {"format": "csv", "file": "numbers.csv", "image_size": 16}
    snapshot = snapshot_of(tmp_path, "regression", **fields)
    data = data_section(root=str(tmp_path), **fields)
    loader = build_loader(
        snapshot,
        "val",
        transform=build_eval_transform(data, "crop", mean=(0.5,) * 3, std=(0.5,) * 3),
        batch_size=8,
        seed=0,
        workers=0,
        truth=truth_of("regression"),
        train=False,
        cache=None,
    )
    (batch,) = loader.epoch(0)
    assert batch.targets.dtype == torch.float32
    assert batch.targets.tolist() == [0.5, 0.75]
    assert snapshot.class_counts == {split: {"label": 2} for split in ("train", "val", "test")}


def test_masks_carry_the_ignore_index_in_the_padding(make):
    for batch in make("segmentation", train=False).epoch(0):
        assert (batch.targets.dtype, batch.targets.shape[1:]) == (torch.uint8, (32, 32))
        assert set(batch.targets.unique().tolist()) <= {0, 1, 255}
        assert (batch.targets[..., -1] == 255).all()


def test_another_ignore_index(make, folder):
    for file in (folder / "masks").rglob("*.png"):
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.where(mask == 255, 7, mask).astype(np.uint8)).save(file)
    for batch in make("segmentation", task_options={"ignore_index": 7}, train=False).epoch(0):
        assert set(batch.targets.unique().tolist()) <= {0, 1, 7}
        assert (batch.targets[:, 0] == 7).all()
        assert (batch.targets[..., -1] == 7).all()


def test_boxes_are_scaled_with_the_image(tmp_path, snapshot_of, data_section, truth_of):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text("names: [thing, other]\n")
    for number in range(20):
        pixels = np.full((40, 80, 3), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        text = "" if number % 4 == 0 else "1 0.5 0.5 0.25 0.5\n"
        (tmp_path / "labels" / f"{number}.txt").write_text(text)
    fields = {"format": "yolo", "image_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}}
    snapshot = snapshot_of(tmp_path, "detection", **fields)
    data = data_section(root=str(tmp_path), **fields)
    transform = build_eval_transform(data, "letterbox", mean=(0.5,) * 3, std=(0.5,) * 3)
    loader = build_loader(
        snapshot,
        "train",
        transform=transform,
        batch_size=4,
        seed=0,
        workers=0,
        truth=truth_of("detection"),
        train=True,
        cache=CacheFolder(tmp_path / "cache", 1.0),
    )
    with_boxes = {row.id for row in loader.dataset.rows if row.boxes}
    seen = 0
    for batch in loader.epoch(0):
        for image_id, target in zip(batch.ids, batch.targets, strict=True):
            assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
            if image_id in with_boxes:
                torch.testing.assert_close(target["boxes"], torch.tensor([[12.0, 4.0, 20.0, 12.0]]))
                assert target["labels"].tolist() == [1]
                seen += 1
            else:
                assert target["boxes"].shape == (0, 4)
    assert 0 < seen < len(loader.dataset.rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_went_bad_is_named_without_a_traceback(make, workers):
    loader = make(cache=False, workers=workers)
    row = loader.dataset.rows[3]
    row.absolute_path.write_bytes(b"")
    with pytest.raises(DataError, match="has changed since the data was prepared") as error:
        list(loader.epoch(0))
    assert row.path in error.value.problems[0].where
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("cache", [True, False])
def test_pixels_that_nobody_checked_are_not_trained_on(make, cache):
    """They were, and stayed in the cache under the hash of the true ones."""
    options = {"split": "val", "train": False}
    rows = make(cache=False, **options).dataset.rows
    first, second = (row.absolute_path for row in rows[:2])
    true = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match="has changed") as error:
        list(make(cache=cache, prepare=False, **options).epoch(0))
    assert error.value.problems[0].where == rows[0].path
    assert "`--verify`" in error.value.problems[0].hint
    first.write_bytes(true)
    assert list(make(cache=cache, prepare=False, **options).epoch(0))


def test_a_mask_is_known_by_its_content(make):
    options = {"split": "val", "train": False}
    row = make("segmentation", cache=False, **options).dataset.rows[0]
    mask = row.absolute_mask
    true, status = mask.read_bytes(), mask.stat()
    mask.write_bytes(true[:-1] + bytes([true[-1] ^ 1]))  # of the same size, and of the same time
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match="has changed") as error:
        make("segmentation", prepare=False, **options)
    assert error.value.problems[0].where == row.mask
    mask.write_bytes(true)
    expected = list(make("segmentation", prepare=False, **options).epoch(0))
    os.utime(mask)
    row.absolute_path.unlink()
    assert_equal(list(make("segmentation", prepare=False, **options).epoch(0)), expected)


def test_the_cache_serves_when_the_files_are_gone(make):
    expected = list(make(train=False).epoch(0))
    loader = make(train=False)
    for row in loader.dataset.rows:
        row.absolute_path.unlink()
    assert_equal(list(loader.epoch(0)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_from_a_batch_on_reads_no_image_before_it(make, workers):
    expected = list(make(cache=False, workers=0).epoch(3))
    loader = make(cache=False, workers=workers)
    before, after = expected[:2], expected[2:]
    needed = {image for batch in after for image in batch.ids}
    for row in loader.dataset.rows:
        if row.id not in needed:
            row.absolute_path.unlink()
    assert all(before)
    assert_equal(list(loader.epoch(3, 2)), expected[2:])
    assert list(loader.epoch(3, len(loader))) == []
