"""The model card of a converted transformers model: its attentions, their equations, and how to load it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from primaldual.integrations import hf_entry
from primaldual.integrations.descriptions import Description
from primaldual.primal.presets import preset
from primaldual.reporting.files import write_text

PLAIN, NAMELESS = "as before", "a part without a word in specs"
"""Stands in for an attention without an equation."""

CARD, BESIDE = "README.md", "README.primaldual.md"
MARK = "<!-- written by primaldual; a card without this line is kept as it is -->"

OPENING = """---
library_name: transformers
tags: [primaldual, attention]
---
{mark}

# {model} with attention by primaldual

The attention of this model was exchanged: every head below is the support vector expansion of a regression, as
[A Primal-Dual Framework for Transformers and Neural Networks](https://arxiv.org/abs/2406.13781) (Nguyen et al., ICLR 2023)
derives it. Layers that are not listed attend as {model} does.

| layers | heads | attention |
|---|---|---|
{rows}

## Equations
{equations}
## Loading

```python
from transformers import {model}
from primaldual.integrations import hf_attention

model = hf_attention.from_pretrained({model}, "path/to/this/folder")
```

`{model}.from_pretrained` itself refuses the folder, since it would read the weights into softmax attention.

## To be filled in

What the model is for, its licence, what it was trained on after its attention was exchanged, and how it was evaluated.
"""


def card(config: Any, model: str) -> str:
    """The card as Markdown.

    Args:
        config: of a converted model, with those inside it.
        model: name of the model's class.
    """
    layers: dict[tuple[str, str], list[str]] = {}
    for part in hf_entry.configs_in(config):
        entry = hf_entry.entry_of(part)
        within = "" if part is config else f"{part.model_type}: "
        for path in dict.fromkeys([*entry["layers"], *entry["pruned"]]):
            for heads, attention in _attentions(entry["layers"].get(path)):
                layers.setdefault((_kept(entry["pruned"].get(path)) + heads, attention), []).append(
                    within + path
                )
    rows = [
        f"| {', '.join(f'`{path}`' for path in paths)} | {heads} | `{_cell(attention)}` |"
        for (heads, attention), paths in layers.items()
    ]
    specs = dict.fromkeys(attention for _, attention in layers if attention not in (PLAIN, NAMELESS))
    equations = [f"\n`{spec}`:\n\n$$\n{preset(spec).equation('latex')}\n$$\n" for spec in specs]
    return OPENING.format(mark=MARK, model=model, rows="\n".join(rows), equations="".join(equations))


def write_card(config: Any, model: str, folder: Path) -> Path:
    """Write the card of a converted model into its folder, unless somebody else wrote the card that is there.

    Args:
        config: of the model.
        model: name of its class.
        folder: where it is saved.

    Returns:
        The file: README.md, or README.primaldual.md beside a README.md that this library has not written, with a warning.

    Raises:
        CheckpointError: a file that cannot be written.
    """
    target = folder / CARD
    if target.exists() and MARK not in target.read_text(encoding="utf-8", errors="replace"):
        target = folder / BESIDE
        warnings.warn(
            f"{folder / CARD} was not written by primaldual and is kept; the card of the attention is {target}",
            stacklevel=3,
        )
    write_text(target, card(config, model))
    return target


def _attentions(description: Description | None) -> Iterator[tuple[str, str]]:
    """The heads and the spec of every group of a layer."""
    if description is None:
        yield "all", PLAIN
        return
    for group in description.get("groups", [description]):
        heads = ", ".join(map(str, group["heads"])) if "heads" in group else "all"
        yield heads, group["attention"] or NAMELESS


def _kept(heads: list[int] | None) -> str:
    return "" if heads is None else f"{len(heads)} kept ({', '.join(map(str, heads))}): "


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
