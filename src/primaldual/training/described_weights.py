"""Weights that hold the config that they were saved with, so that an edited config file is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

_CONFIG = "config"


def save_described(tensors: Mapping[str, Tensor], target: Path, config: Mapping[str, Any]) -> None:
    """Write tensors in the format of safetensors, with the config among its metadata.

    Args:
        tensors: by name.
        target: the file.
        config: values of JSON by name.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, target, {_CONFIG: json.dumps(config)})


def config_change(weights: Path, config: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """How a config differs from the one that weights were saved with, "" where it does not; older files tell nothing.

    Args:
        weights: a file that was written by `save_described`, or without a config.
        config: as its file says now.
        names: of the settings that must be the same; None = all.

    Example:
        >>> import tempfile, torch
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_described({"weight": torch.zeros(1)}, file, {"attention": "bn"})
        >>> config_change(file, {"attention": "softmax"})
        "its config was changed since model.safetensors was saved: attention is 'softmax', was 'bn'"
        >>> config_change(file, {"attention": "bn"})
        ''
    """
    with safe_open(weights, "pt") as file:
        written = (file.metadata() or {}).get(_CONFIG)
    if written is None:
        return ""
    saved = json.loads(written)
    compared = dict.fromkeys([*saved, *config]) if names is None else names
    changed = [
        f"{name} is {config.get(name)!r:.40}, was {saved.get(name)!r:.40}"
        for name in compared
        if config.get(name) != saved.get(name)
    ]
    return f"its config was changed since {weights.name} was saved: {'; '.join(changed)}" if changed else ""
