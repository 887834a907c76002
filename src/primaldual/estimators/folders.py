"""A fitted estimator as a folder: model.safetensors and config.json; no pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from primaldual.errors import CheckpointError
from primaldual.estimators.description import describe
from primaldual.reporting.files import is_free, saving
from primaldual.training.described_weights import config_change, save_described

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FORMAT = "primaldual estimator 1"


def write(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write to a temporary folder beside ``path``, then rename; see ``save`` of the estimators."""
    target = Path(path).expanduser()
    if not (is_free(target) or _is_ours(target)):
        raise CheckpointError(f"path {str(target)!r} exists and is not a saved estimator; it is left alone")
    description = {"format": FORMAT, "estimator": type(estimator).__name__, **describe(estimator)}
    weights = {name: tensor.cpu() for name, tensor in estimator.model_.state_dict().items()}
    text = json.dumps(description, indent=2, allow_nan=False)
    with saving(target) as fresh:
        fresh.mkdir()
        save_described(weights, fresh / WEIGHTS, _without_reports(estimator, description))
        (fresh / CONFIG).write_text(text + "\n", encoding="utf-8")


def _without_reports(kind: Any, description: Mapping[str, Any]) -> dict[str, Any]:
    """A description without the history of training, whose seconds differ from run to run."""
    reports = {name.removesuffix("_") for name in kind._reports}
    return {name: value for name, value in description.items() if name not in reports}


def read(cls: Any, path: str | os.PathLike[str]) -> Any:
    """Build the estimator of class ``cls`` that ``path`` holds; see ``load`` of the estimators."""
    folder = Path(path).expanduser()
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"path {str(folder)!r} is not a saved estimator: it has no {name}")
    try:
        description = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = description.get("format") if isinstance(description, dict) else None
        if kind != FORMAT:
            raise CheckpointError(f"path {str(folder)!r} has format {kind!r}; {FORMAT!r} is accepted")
        if description["estimator"] != cls.__name__:
            raise CheckpointError(
                f"path {str(folder)!r} holds an {description['estimator']}; {cls.__name__} was asked for"
            )
        found = cls._from_description(description, load_file(folder / WEIGHTS))
        if changed := config_change(folder / WEIGHTS, _without_reports(cls, description)):
            raise CheckpointError(f"path {str(folder)!r} is corrupt or does not fit: {changed}")
        return found
    except CheckpointError:
        raise
    except Exception as error:  # json, safetensors and torch each raise their own kinds
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"path {str(folder)!r} is corrupt or does not fit: {type(error).__name__}: {reason}"
        ) from error


def _is_ours(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
