"""Vision models of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from primaldual.errors import CheckpointError, did_you_mean
from primaldual.experiments.inspection.images import NOISE_NOTE, image_files, noise, opened
from primaldual.experiments.inspection.subject import Subject, first_line, needed, pieces


def timm_subject(name: str, data: str | None, cases: int, weights: Path | None) -> Subject:
    """A model of timm up to its pooled features, with images or noise.

    Raises:
        CheckpointError: no such model, or weights that do not fit.
        DataError: no images.
        UnsupportedError: timm is not installed.
    """
    timm = needed("timm", "vision")
    if not timm.is_model(name):
        raise CheckpointError(f"timm has no model {name!r}{did_you_mean(name, timm.list_models())}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False, num_classes=0)
    if weights is not None:
        _load(timm, model, weights)
    settings = timm.data.resolve_model_data_config(model)
    notes = [] if weights is not None else ["The weights are random: give a file with --weights."]
    batches: list[Tensor]
    if data is None:
        batches, words = noise(cases, *settings["input_size"])
        notes.append(NOISE_NOTE)
    else:
        needed("torchvision", "vision")
        files, words = image_files(data, cases)
        transform = timm.data.create_transform(**settings, is_training=False)
        cases = len(files)
        batches = [torch.stack([transform(opened(path)) for path in piece]) for piece in pieces(files)]
    origin = f"{name} of timm up to its pooled features, " + (
        "random weights" if weights is None else f"weights from {weights}"
    )
    return Subject(f"timm:{name}", model, origin, batches, cases, words, notes=tuple(notes))


def _load(timm: Any, model: Any, weights: Path) -> None:
    """Fill a model without its classifier from a file that may hold one.

    Raises:
        CheckpointError: the file cannot be read, or lacks weights of the model.
    """
    if not weights.is_file():
        raise CheckpointError(f"weights {weights}: there is no such file")
    try:
        result = timm.models.load_checkpoint(model, str(weights), strict=False, weights_only=True)
    except Exception as error:  # timm, torch and safetensors each raise their own kinds
        raise CheckpointError(
            f"weights {weights}: do not fit or cannot be read ({first_line(error)})"
        ) from None
    if result is not None and result.missing_keys:
        missing = result.missing_keys
        raise CheckpointError(
            f"weights {weights}: lack {len(missing)} of the model's parameters, such as {missing[0]}"
        )
