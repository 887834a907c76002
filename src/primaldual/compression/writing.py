"""The files of a compressed model: its weights, the report as numbers, the Pareto plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from primaldual.compression.result import Compression
from primaldual.integrations.saving import save
from primaldual.reporting.files import write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NUMBERS_NAME = "compression.json"


def numbers_of(found: Compression) -> dict[str, Any]:
    """The report for JSON."""
    names = (
        "budget", "measure", "share", "min_length", "work", "projections", "similarity", "unseen", "latency",
    )  # fmt: skip
    return {name: getattr(found, name) for name in names} | {
        "scales": {path: list(scales) for path, scales in found.scales.items()},
        "curve": [vars(point) for point in found.curve],
    }


def write_compression(
    found: Compression, model: nn.Module, folder: Path, facts: Mapping[str, Any]
) -> list[Path]:
    """Write ``compression.json``, ``pareto.svg`` if there is a curve, and the model.

    A transformers model goes to ``model/`` with a model card, any other to ``model.pt`` by
    :func:`primaldual.integrations.saving.save`.

    Args:
        found: the report.
        model: compressed.
        folder: made if it is missing.
        facts: what else the JSON file tells.

    Returns:
        The files, or folders, that were written.

    Raises:
        ArgumentError: a file that cannot be written.
        CheckpointError: likewise of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / NUMBERS_NAME]
    write_text(written[0], json.dumps({**facts, **numbers_of(found)}, indent=2) + "\n")
    if found.curve:
        written.append(found.save_figure(folder / "pareto.svg"))
    save_pretrained = getattr(model, "save_pretrained", None)
    if save_pretrained is not None:
        from primaldual.integrations.hf_saving import marked
        from primaldual.integrations.hf_saving import save as save_with_card

        if marked(model.config):
            save_with_card(cast("PreTrainedModel", model), folder / "model")
        else:
            save_pretrained(folder / "model")
        return [*written, folder / "model"]
    save(model, folder / "model.pt")
    return [*written, folder / "model.pt"]
