"""Load the model and the inputs that a command names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from primaldual.data import Reading
from primaldual.data.reading import PLAIN
from primaldual.errors import ArgumentError, CheckpointError
from primaldual.experiments.inspection.subject import Subject
from primaldual.experiments.saved_classifier import is_saved_classifier

_TIMM = "timm:"


def open_subject(
    model: str,
    data: str | None = None,
    cases: int = 16,
    weights: Path | None = None,
    data_dir: Path | None = None,
    tokenizer: str | None = None,
    reading: Reading = PLAIN,
) -> Subject:
    """Load a model and the cases that it is to be looked at with.

    Args:
        model: a folder of a transformers model or of a classifier of this library; ``timm:NAME``; or a name on the
            Hugging Face hub.
        data: a text file for models of texts, a folder of images for models of images, a data set or file of series
            for classifiers; None = sentences that come with the library, noise, and nothing.
        cases: how many cases, at most.
        weights: a file of weights for ``timm:NAME``.
        data_dir: where data sets of series lie.
        tokenizer: folder or name on the hub of the tokenizer of a model of texts; None = beside the model.
        reading: the columns of a ``.csv`` file of series.

    Raises:
        ArgumentError: arguments that do not go together.
        CheckpointError: a folder or file without a model that can be loaded.
        DataError: cases that cannot be read.
        UnsupportedError: a package that is not installed, or a model of something else than texts, images, series.

    Example:
        >>> open_subject("./nowhere")
        Traceback (most recent call last):
        ...
        primaldual.errors.CheckpointError: model ./nowhere: there is no such folder...
    """
    if reading.columns and not is_saved_classifier(Path(model).expanduser()):
        named = ", ".join(reading.columns)
        raise ArgumentError(f"columns ({named}) are for classifiers of series; {model} takes none")
    if tokenizer is not None and model.startswith(_TIMM):
        raise ArgumentError(f"tokenizer is for models of texts; {model} takes images")
    if model.startswith(_TIMM):
        from primaldual.experiments.inspection.timm_models import timm_subject

        return timm_subject(model.removeprefix(_TIMM), data, cases, weights)
    if weights is not None:
        raise ArgumentError("weights go with timm:NAME only; a folder holds its own")
    folder = Path(model).expanduser()
    if folder.is_dir():
        config = _config(folder)
        if is_saved_classifier(folder):
            from primaldual.experiments.inspection.classifiers import classifier_subject

            if tokenizer is not None:
                raise ArgumentError(f"tokenizer is for models of texts; {model} takes series")
            return classifier_subject(folder, data, cases, data_dir, reading)
        if "model_type" not in config:
            raise CheckpointError(
                f"model {folder}: config.json names no model_type; a transformers model or a classifier of primaldual "
                "is accepted, or timm:NAME with --weights"
            )
    elif folder.exists() or _is_path(model):
        there = "is a file" if folder.exists() else "there is no such folder"
        raise CheckpointError(f"model {model}: {there}; accepted: a folder, timm:NAME or a name on the hub")
    from primaldual.experiments.inspection.hub_models import hub_subject

    return hub_subject(model if not folder.is_dir() else str(folder), data, cases, tokenizer)


def _config(folder: Path) -> Mapping[str, Any]:
    """config.json of a model's folder.

    Raises:
        CheckpointError: it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"model {folder}: the folder holds no model, it has no config.json") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"model {path}: cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"model {path}: holds no settings of a model")
    return found


def _is_path(model: str) -> bool:
    """Whether words can only be meant as a path: hub names are NAME or OWNER/NAME."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model or not model
