"""Tiny texts and models."""

from __future__ import annotations

import torch

from primaldual.language import Bytes, LanguageModel

TEXT = "to be or not to be, that is the question.\n"
SIZES = {"context": 8, "embed_dim": 8, "num_heads": 4, "num_layers": 2, "dropout": 0.0}


def write_text(folder, lines=20):
    path = folder / "poem.txt"
    path.write_text(TEXT * lines)
    return path


def model(alphabet=None, seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel.of(alphabet or Bytes(), {**SIZES, **changes})
