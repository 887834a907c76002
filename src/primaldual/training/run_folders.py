"""The folder of a run: its config, checkpoints, weights, numbers and report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from primaldual.errors import CheckpointError
from primaldual.reporting.files import check_writable, is_free, saving, write_text
from primaldual.training.described_weights import save_described

CONFIG, _NUMBERS, WEIGHTS = "config.json", "results.json", "model.safetensors"
_LONGEST = 120
"""Characters of the name of a folder."""


@dataclass(frozen=True)
class RunFolder:
    """The place of a run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @classmethod
    def open(cls, path: Path | None, config: Mapping[str, Any]) -> RunFolder:
        """A new folder, or that of the same run.

        Args:
            path: None = named after the config, in runs/images.
            config: of the run.

        Raises:
            ArgumentError: it cannot be written.
            CheckpointError: it holds a run with another config, or something else.
        """
        folder = cls(Path("runs") / "images" / default_name(config) if path is None else path)
        check_writable(folder.path)
        target = folder.path / CONFIG
        if target.exists():
            folder._compare(config)
        elif is_main_process():
            if not (is_free(folder.path) or folder.checkpoints.exists()):
                raise CheckpointError(
                    f"out {folder.path} exists and is not the folder of a run; give a new folder or an empty one"
                )
            write_text(target, json.dumps(config, indent=2) + "\n")
        return folder

    def save(self, model: nn.Module, numbers: Mapping[str, Any]) -> None:
        """Write weights, with the config that ``numbers`` tell, and numbers, each whole or not at all."""
        with saving(self.path / WEIGHTS) as fresh:
            save_described(model.state_dict(), fresh, numbers["config"])
        write_text(self.path / _NUMBERS, json.dumps(numbers, indent=2) + "\n")

    def _compare(self, config: Mapping[str, Any]) -> None:
        try:
            there = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
            names = {**there, **config}
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"config {self.path / CONFIG} cannot be read; delete it to start again"
            ) from error
        different = [
            f"{name} {_shown(there.get(name))} there, {_shown(config.get(name))} now"
            for name in names
            if there.get(name) != config.get(name)
        ]
        if different:
            raise CheckpointError(
                f"out {self.path} holds a run with another config: {'; '.join(different)}; give another --out"
            )


def is_main_process() -> bool:
    """Whether this process writes; of several, the launcher says which one."""
    return int(os.environ.get("RANK", "0")) == 0


def default_name(config: Mapping[str, Any]) -> str:
    """A name for a folder from data, model, attention and seed.

    Example:
        >>> default_name({"data": "a/b", "model": "vit_micro", "attention": "bn+sh(1,2)", "seed": 0})
        'b-vit_micro-bn+sh(1,2)-seed0'
    """
    words = (Path(str(config["data"])).name, config["model"], config["attention"], f"seed{config['seed']}")
    return re.sub(r"[^\w+,().=-]", "_", "-".join(map(str, words)))[:_LONGEST]


def _shown(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:40] + "…"
