"""Texts of a fixed number of tokens, from files of sentences."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import torch
from torch import Tensor

SOURCES = {
    "film reviews": ("sentence_polarity.zip", ("rt-polarity.pos", "rt-polarity.neg")),
    "plots and quotes": ("subjectivity.zip", ("plot.tok.gt9.5000", "quote.tok.gt9.5000")),
}
"""Zip files of NLTK's data, and the files in them: a sentence on each line."""


def texts(folder: Path, source: str, tokenizer: object, length: int, seed: int) -> Tensor:
    """Token ids (texts, length): sentences in random order, joined and cut, between the two special tokens."""
    archive, members = SOURCES[source]
    lines: list[str] = []
    with zipfile.ZipFile(folder / archive) as opened:
        for name in opened.namelist():
            if name.rpartition("/")[2] in members:
                lines += opened.read(name).decode("latin-1").splitlines()
    random.Random(seed).shuffle(lines)
    rows, current = [], []
    for line in lines:
        current += tokenizer(line, add_special_tokens=False)["input_ids"]
        if len(current) >= length - 2:
            rows.append([tokenizer.cls_token_id, *current[: length - 2], tokenizer.sep_token_id])
            current = []
    return torch.tensor(rows)
