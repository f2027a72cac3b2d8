"""A training that can kill its own process; for `test_resume.py`.

POINT is `step:EPOCH:STEP` (before its checkpoint, where there is one), `epoch:EPOCH` (after its checkpoint)
or `flush:N` (the Nth file that is flushed to the disk is cut in half). EVERY is the time between checkpoints
within an epoch in seconds.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TinyModel, compile_job
from safetensors.torch import save_file

from transferflow.spec.sections.freeze import FreezePhases, Phase
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.training.job import Checkpointing, OptimizerSettings
from transferflow.training.loop.run import train

PHASES = FreezePhases(
    policy="phases",
    phases=(Phase(epochs=2, train=("layer2*", "head")), Phase(epochs=2, train=("*",), lr_scale=0.5)),
)


class KillAt:
    """Ends the process as a power cut would."""

    def __init__(self, point):
        self.kind, _, place = point.partition(":")
        self.place = tuple(int(number) for number in place.split(":") if number)

    def on_start(self, epochs, steps, first_epoch): ...

    def on_step(self, epoch, step, loss, lr):
        if self.kind == "step" and self.place == (epoch, step):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(self, epoch, values):
        if self.kind == "epoch" and self.place == (epoch,):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_end(self): ...


def kill_in_flush(number):
    flushed = []
    plain = os.fsync

    def flush(handle):
        flushed.append(handle)
        if len(flushed) == number:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        plain(handle)

    os.fsync = flush


def build(name):
    if name == "tiny":
        return TinyModel(), AdamW(lr=0.01), OptimizerSettings("adamw", warmup_epochs=0.5)
    from transferflow.models.backbones.build import build_backbone
    from transferflow.models.classifier import ImageClassifier
    from transferflow.spec.sections.backbone import TorchvisionBackbone

    section = TorchvisionBackbone(source="torchvision", name="resnet18", weights="none")
    backbone = build_backbone(section, channels=3, image_size=32, pretrained=False)
    return ImageClassifier(backbone, 3, dropout=0.3), Sgd(kind="sgd", lr=0.01), OptimizerSettings("sgd")


def main(name, folder, result, point="", every="600"):
    torch.manual_seed(0)
    model, section, optimizer = build(name)
    if point.startswith("flush"):
        kill_in_flush(int(point.split(":")[1]))
    job = compile_job(
        model,
        freeze=PHASES,
        rates_from=section,
        optimizer=optimizer,
        settings={"epochs": 4, "gradient_clip": 1.0, "ema": 0.9},
        folder=Path(folder),
        checkpointing=Checkpointing(float(every)),
        hooks=[KillAt(point)],
    )
    found = train(job)
    save_file(model.state_dict(), result)
    return found.proofs


if __name__ == "__alone__":
    torch.set_num_threads(1)
    main(*globals()["ARGUMENTS"])
