"""Models of timm for images of any size, with any attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.inspection.subject import first_line, needed
from primaldual.integrations.conversion import convert

SIZED_MODELS: Mapping[str, Mapping[str, Any]] = {
    "vit_micro": {"embed_dim": 64, "depth": 4, "num_heads": 4},
    "vit_tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "deit_tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
}
"""Vision transformers whose patches follow the size of the image; ``vit_micro`` is ours, for small images."""

_POSITIONS = 0.3
"""Deviation of the first position embeddings of ``vit_micro``: with the 0.02 of timm a short run learns little else."""

_BASES = {"deit_tiny": "deit_tiny_patch16_224"}
_BASE = "vit_tiny_patch16_224"


def build_network(
    name: str, attention: str, classes: int, image_size: int, drop_path: float = 0.0, seed: int = 0
) -> nn.Module:
    """A model of timm with fresh weights and an attention of this library in all its layers.

    Args:
        name: one of `SIZED_MODELS`, or any model of timm whose attention is timm's ``Attention``.
        attention: a spec; scaled heads and convolutions lie on the grid of patches.
        classes: number of outputs.
        image_size: pixels a side.
        drop_path: largest rate of stochastic depth.
        seed: of the weights.

    Raises:
        ArgumentError: no such model, or one that does not take such images.
        UnsupportedError: timm is not installed, or the model has no attention to convert.

    Example:
        >>> model = build_network("vit_micro", "bn+sh(1,1,2,4)", classes=10, image_size=8)
        >>> model(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """
    timm = needed("timm", "vision")
    sizes: dict[str, Any] = {"img_size": image_size, "num_classes": classes, "drop_path_rate": drop_path}
    base = name
    if name in SIZED_MODELS:
        base = _BASES.get(name, _BASE)
        sizes |= {**SIZED_MODELS[name], "patch_size": patch_size(image_size)}
    elif not timm.is_model(name):
        hint = did_you_mean(name, [*SIZED_MODELS, *timm.list_models()])
        raise ArgumentError(
            f"model must be one of {', '.join(SIZED_MODELS)} or a model of timm; got {name!r}{hint}"
        )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            model: nn.Module = timm.create_model(base, pretrained=False, **sizes)
        except (TypeError, AssertionError, ValueError, RuntimeError) as error:
            raise ArgumentError(
                f"model {name} cannot be made for images of {image_size} pixels: {first_line(error)}"
            ) from error
        if name == "vit_micro":
            nn.init.normal_(model.get_parameter("pos_embed"), std=_POSITIONS)
        convert(model, attention, verbose=False)
    return model


def patch_size(image_size: int) -> int:
    """Pixels a side of the patches of `SIZED_MODELS`: some 16 to 200 patches for images of usual sizes.

    Example:
        >>> [patch_size(size) for size in (8, 28, 32, 64, 224)]
        [2, 4, 4, 8, 16]
    """
    return next((patch for most, patch in ((16, 2), (48, 4), (96, 8)) if image_size <= most), 16)
