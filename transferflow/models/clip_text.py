"""CLIP's text tower, through open_clip: class names in, embeddings out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.errors import MissingDependencyError, PlanError, WeightsError
from transferflow.models.backbones.timm_weights import TimmChoice, resolve_timm, timm_file, timm_tags
from transferflow.models.weights.downloads import OnBytes
from transferflow.models.weights.files import HubFile, WeightFile
from transferflow.models.weights.lock import verified_weights
from transferflow.spec.sections.backbone import Backbone, TimmBackbone

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
BATCH = 256
NATIVE_NOTE = "natively QuickGELU"
EXAMPLES = "vit_base_patch16_clip_quickgelu_224 openai or vit_base_patch16_clip_224 laion2b"
_PLAIN, _QUICK = "_clip_", "_clip_quickgelu_"


class TextTower(Protocol):
    """Embeds texts where the image tower embeds images."""

    @property
    def scale(self) -> float:
        """What the cosine is multiplied with (CLIP's inverse temperature)."""
        ...

    @property
    def bias(self) -> float:
        """What is added to it: 0 for CLIP, SigLIP has one."""
        ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, float32 of shape texts x dimensions."""
        ...


@dataclass(frozen=True)
class OpenClipTower:
    """The text tower of an open_clip model."""

    model: torch.nn.Module
    tokenize: object

    @property
    def scale(self) -> float:
        """exp of the learned log scale."""
        return float(_tensor(self.model, "logit_scale").exp())

    @property
    def bias(self) -> float:
        """SigLIP's learned bias."""
        found = getattr(self.model, "logit_bias", None)
        return float(found.detach()) if isinstance(found, Tensor) else 0.0

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, float32 of shape texts x dimensions."""
        encode = getattr(self.model, "encode_text", None)
        if not callable(encode) or not callable(self.tokenize):
            raise WeightsError("the model has no text tower", found=type(self.model).__name__)
        parts = [
            encode(self.tokenize(list(texts[start : start + BATCH]))) for start in range(0, len(texts), BATCH)
        ]
        return F.normalize(torch.cat(parts).float(), dim=-1)


def clip_choice(section: Backbone) -> TimmChoice:
    """The CLIP model that the section names.

    Raises:
        PlanError: If the backbone has no text tower, or computes another activation than its weights know.
    """
    if isinstance(section, TimmBackbone):
        choice = resolve_timm(section.name, section.weights)
        words = f"{choice.name}.{choice.tag}".lower()
        tuned = "_ft_in" in words or words.endswith("_in1k")
        if choice.pretrained and not tuned and ("clip" in words or "siglip" in words):
            if needs_quick_gelu(choice):
                raise _activation_error(choice, "QuickGELU")
            return choice
    raise PlanError(
        "text prompts need a backbone that was trained with texts (CLIP, SigLIP)",
        where="backbone",
        found=f"{section.source} {section.name} {section.weights}",
        allowed=f"source timm with weights such as {EXAMPLES}",
        hint="list them with `transferflow backbones list --source timm --search clip`",
    )


def needs_quick_gelu(choice: TimmChoice) -> bool:
    """Whether timm itself says that the weights were trained with QuickGELU, and the model computes GELU."""
    noted = any(NATIVE_NOTE in str(note) for note in choice.config.notes or ())
    return choice.pretrained and noted and _QUICK not in choice.name


def other_activation(choice: TimmChoice) -> str | None:
    """Name of timm's model that loads the same weights with the other GELU, where there is one."""
    swap = (_QUICK, _PLAIN) if _QUICK in choice.name else (_PLAIN, _QUICK)
    name = choice.name.replace(*swap)
    return name if name != choice.name and choice.tag in timm_tags(name) else None


def check_activation(section: Backbone, image_tower: nn.Module, *, offline: bool = False) -> None:
    """Refuse an image tower that computes another GELU than the one open_clip's description names.

    Raises:
        PlanError: If it does.
        WeightsError: If the description can't be had or read.
    """
    path = verified_weights(text_files(section)[0], offline=offline)
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        quick, by_timm = bool(described.get("quick_gelu")), "timm_model_name" in described["vision_cfg"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path.parent, error) from error
    kinds = {type(module).__name__ for module in image_tower.modules()}
    computed = "QuickGELU" if "QuickGELU" in kinds else "GELU" if "GELU" in kinds else None
    wanted = "QuickGELU" if quick else "GELU"
    # open_clip builds timm's image towers as timm does, whatever `quick_gelu` says; ResNets have ReLU.
    if computed is not None and computed != wanted and not by_timm:
        raise _activation_error(clip_choice(section), wanted)


def text_files(section: Backbone) -> tuple[WeightFile, WeightFile]:
    """open_clip's description of the whole model, and its weights.

    Raises:
        PlanError: If the backbone has no text tower.
    """
    file = timm_file(clip_choice(section))
    if not isinstance(file.location, HubFile):
        raise PlanError("the text tower of these weights is not published", where="backbone", found=str(file))
    repository = file.location.repository
    config = WeightFile(file.source, file.name, f"{file.tag} text config", HubFile(repository, (CONFIG,)))
    weights = WeightFile(
        file.source, file.name, f"{file.tag} text tower", HubFile(repository, WEIGHTS), file.licence
    )
    return config, weights


def load_text_tower(
    section: Backbone, *, offline: bool = False, progress: OnBytes | None = None
) -> TextTower:
    """Load the text tower that belongs to the backbone's weights.

    Raises:
        PlanError: If the backbone has no text tower.
        WeightsError: If its files can't be had or do not fit; nothing stays random.
        MissingDependencyError: If open_clip is not installed.
    """
    config, weights = text_files(section)
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependencyError(
            "text prompts need open_clip", where="head", hint="pip install 'transferflow[clip]'"
        ) from error
    folder = verified_weights(config, offline=offline).parent
    path = verified_weights(weights, offline=offline, progress=progress)
    if path.parent != folder:
        raise WeightsError(
            "config and weights of the text tower are of two revisions",
            where=str(path),
            hint="delete the repository's folder in the Hugging Face cache and fetch it again",
        )
    try:
        model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
        tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    # open_clip and what it builds on raise all kinds of errors for files that do not fit.
    except Exception as error:
        raise _unreadable(folder, error) from error
    return OpenClipTower(model, tokenize)


def embed_classes(tower: TextTower, classes: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """One unit vector per class: the mean over the prompts (Radford et al., arXiv:2103.00020, 3.1.4).

    Args:
        tower: Text tower.
        classes: Class names.
        prompts: Templates; `{}` is the class name.

    Returns:
        float32 of shape classes x dimensions.
    """
    texts = [prompt.replace("{}", name) for name in classes for prompt in prompts]
    vectors = tower.encode(texts).view(len(classes), len(prompts), -1)
    return F.normalize(vectors.mean(1), dim=-1)


def _activation_error(choice: TimmChoice, wanted: str) -> PlanError:
    other = other_activation(choice)
    return PlanError(
        f"the weights were trained with {wanted}, and the model computes another activation",
        where="backbone.name",
        found=f"{choice.name} {choice.tag}",
        allowed=f"take {other}, with the same weights" if other else f"such as {EXAMPLES}",
    )


def _tensor(model: torch.nn.Module, name: str) -> Tensor:
    found = getattr(model, name)
    if not isinstance(found, Tensor):
        raise WeightsError(f"the model has no {name}", found=type(model).__name__)
    return found.detach()


def _unreadable(folder: Path, error: Exception) -> WeightsError:
    text = str(error).strip().splitlines()
    return WeightsError(
        "the text tower can't be built from its files",
        where=str(folder),
        found=f"{type(error).__name__}: {text[0] if text else ''}"[:300],
        hint="SigLIP's tokenizers also need `pip install transformers`; else fetch the files again",
    )
