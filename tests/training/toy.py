"""One small training, alike in one process and in several: for the tests of many devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from conftest import BATCH, IMAGES, RandomLoader, TinyModel, compile_job
from safetensors.torch import save_file
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.shares import Share
from transferflow.spec.sections.freeze import FreezePhases, Phase
from transferflow.training.job import EpochLoader
from transferflow.training.loop.run import train
from transferflow.training.ranks import ALONE

PHASES = FreezePhases(
    policy="phases",
    batch_norm="all_frozen",
    phases=(Phase(epochs=1, train=("layer2*", "head")), Phase(epochs=2, train=("*",), lr_scale=0.5)),
)
WEIGHTS = torch.tensor([1.0, 5.0, 0.2])
MODEL = TinyModel()


@dataclass(frozen=True)
class SharedLoader:
    """This process's share of each batch of a loader that makes whole ones."""

    whole: EpochLoader
    share: Share
    batch_size: int

    def __len__(self) -> int:
        return len(self.whole)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        for batch in self.whole.epoch(number, first):
            part, counts = self.share.part(len(batch), self.batch_size)
            yield replace(batch[part], counts=counts)


class Loader(RandomLoader):
    """With a last batch that is smaller, of an odd number of images."""

    def __len__(self):
        return -(-self.images // BATCH)


def weighted(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets, weight=WEIGHTS)}


def counts(batch):
    return {"loss": float(WEIGHTS[batch.targets].sum())}


def build(folder, ranks=ALONE, poison=None, hooks=()):
    """The job of one of several ranks."""
    torch.manual_seed(0)
    MODEL.load_state_dict(TinyModel().state_dict())
    for module in MODEL.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    whole = Loader(images=IMAGES - 3, poison=poison)
    return compile_job(
        MODEL,
        folder=folder,
        freeze=PHASES,
        settings={"epochs": 3, "gradient_clip": 1.0, "ema": 0.9},
        train_loader=SharedLoader(whole, Share(ranks.rank, ranks.world), BATCH),
        losses=weighted,
        loss_counts=counts,
        hooks=hooks,
        ranks=ranks,
    )


def train_and_save(folder, name, ranks=ALONE, by=train, **parts):
    """Train in `folder / name`; rank 0 leaves weights and history beside it."""
    result = by(build(folder / name, ranks, **parts))
    save_file(MODEL.state_dict(), folder / f"{name}-{ranks.rank}.safetensors")
    if ranks.rank == 0:
        proofs = [[proof.first_epoch, proof.tensors, proof.before, proof.after] for proof in result.proofs]
        told = {"history": result.history, "proofs": proofs, "devices": result.devices}
        (folder / f"{name}.json").write_text(json.dumps(told))
    return result
