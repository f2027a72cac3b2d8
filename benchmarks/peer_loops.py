"""The peers of `peers.py`, each run in a process of the peers' own environment: it imports nothing of ours.

    python benchmarks/peer_loops.py plain|lightning|fastai CASE.json

Prints a line of JSON: seconds from the first batch on, validation included, and the last epoch's accuracy.
"""

from __future__ import annotations

import csv
import json
import random
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Case:
    """What is trained, as `peers.py` writes it."""

    root: str
    weights: str
    classes: list[str]
    until: str | None  # last frozen block; `backbone` freezes all of it
    augment: bool
    epochs: int
    batch_size: int
    size: int
    seed: int
    bf16: bool


class Folder(Dataset[tuple[Tensor, int]]):
    """Images of a split, decoded whenever they are asked for."""

    def __init__(self, case: Case, split: str) -> None:
        with (Path(case.root) / "labels.csv").open() as stream:
            self.rows = [row for row in csv.DictReader(stream) if row["split"] == split]
        self.case, self.augment = case, case.augment and split == "train"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        row, size = self.rows[number], self.case.size
        image = Image.open(Path(self.case.root) / row["path"]).convert("RGB")
        if self.augment:
            image = image.resize((size * 8 // 7, size * 8 // 7), Image.Resampling.BICUBIC)
            left, top = (random.randint(0, size // 7) for _ in range(2))
            image = image.crop((left, top, left + size, top + size))
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        return pixels / 127.5 - 1, self.case.classes.index(row["label"])


def build_model(case: Case) -> nn.Sequential:
    """The backbone with the weights that we have, and a linear head."""
    import timm

    backbone = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    backbone.load_state_dict(torch.load(case.weights, weights_only=True))
    return nn.Sequential(backbone, nn.Linear(backbone.num_features, len(case.classes)))


def frozen_modules(case: Case, model: nn.Sequential) -> list[nn.Module]:
    """Modules that do not train."""
    backbone: Any = model[0]
    if case.until is None:
        return []
    if case.until == "backbone":
        return [backbone]
    return [backbone.conv_stem, backbone.bn1, *backbone.blocks[: int(case.until.split(".")[1]) + 1]]


def loader(case: Case, split: str) -> DataLoader[tuple[Tensor, int]]:
    """Batches of a split."""
    return DataLoader(Folder(case, split), case.batch_size, shuffle=split == "train")


def run_plain(case: Case) -> float:
    """A loop as everybody writes it, channels last."""
    model = build_model(case).to(memory_format=torch.channels_last)
    frozen = frozen_modules(case, model)
    for module in frozen:
        module.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    batches, shown, accuracy = loader(case, "train"), loader(case, "val"), 0.0
    for _ in range(case.epochs):
        model.train()
        for module in frozen:
            module.eval()
        for images, targets in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=case.bf16):
                loss = F.cross_entropy(model(images.to(memory_format=torch.channels_last)), targets)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=case.bf16):
            right = [(model(i.to(memory_format=torch.channels_last)).argmax(1) == t).sum() for i, t in shown]
        accuracy = float(sum(right)) / len(shown.dataset)
    return accuracy


def run_lightning(case: Case) -> float:
    """Lightning with its defaults, without logs and checkpoints."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = build_model(case)
            self.frozen = frozen_modules(case, self.model)
            for module in self.frozen:
                module.requires_grad_(False)
            self.accuracy, self.right, self.seen = 0.0, 0, 0

        def on_train_epoch_start(self) -> None:
            for module in self.frozen:
                module.eval()

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            self.right += int((self.model(batch[0]).argmax(1) == batch[1]).sum())
            self.seen += len(batch[1])

        def on_validation_epoch_end(self) -> None:
            self.accuracy, self.right, self.seen = self.right / self.seen, 0, 0

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=1e-3)

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=case.epochs,
        accelerator="cpu",
        precision="bf16-mixed" if case.bf16 else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader(case, "train"), loader(case, "val"))
    return module.accuracy


def run_fastai(case: Case) -> float:
    """fastai's Learner on the same batches; it freezes by parameter groups."""
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy

    model = build_model(case)
    frozen = {id(p) for module in frozen_modules(case, model) for p in module.parameters()}

    def split(whole: nn.Module) -> list[list[nn.Parameter]]:
        parts = [[p for p in whole.parameters() if (id(p) in frozen) is first] for first in (True, False)]
        return [part for part in parts if part]

    batches = DataLoaders(loader(case, "train"), loader(case, "val"), device=torch.device("cpu"))
    learner = Learner(
        batches, model, loss_func=F.cross_entropy, metrics=accuracy, splitter=split, train_bn=False
    )
    if frozen:
        learner.freeze()
    with learner.no_logging():
        learner.fit(case.epochs, 1e-3)
    return float(learner.recorder.values[-1][-1])


def main() -> None:
    """Run one peer."""
    case = Case(**json.loads(Path(sys.argv[2]).read_text()))
    torch.manual_seed(case.seed)
    random.seed(case.seed)
    if sys.argv[1] == "lightning":
        import lightning  # noqa: F401  its import is no training
    elif sys.argv[1] == "fastai":
        import fastai.learner  # noqa: F401
    import timm  # noqa: F401

    run = {"plain": run_plain, "lightning": run_lightning, "fastai": run_fastai}[sys.argv[1]]
    started = time.perf_counter()
    accuracy = run(case)
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "accuracy": accuracy, "memory_gb": peak}))


if __name__ == "__main__":
    main()
