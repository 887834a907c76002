"""The tables of parts in README.md and docs/all_of_primaldual.md, from the table of words."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from docs.preset_pages import page_name, shown_spec

from primaldual import PARTS, Chain, MaskedKeys, PrimalProblem, Union
from primaldual.primal.parts import Part
from primaldual.primal.presets import preset
from primaldual.primal.words import NAMED, cost, signature, summary

ROOT = Path(__file__).parent.parent
CHOICES = {
    "feature_map": "feature map Φ",
    "normalizer": "normaliser h",
    "transform": "transform T",
    "subset": "subset",
    "pair_weights": "pair weights",
    "solver": "solver",
    "order": "order of the local model",
}
BY_CLASS: dict[type[Part], str] = {
    Chain: "`conv(3)+bn`",
    MaskedKeys: "(by class)",
    Union: "`window(8)\\|sh(4)`",
}
"""Parts that no word names alone, with what stands for a word."""


def attentions() -> str:
    """A row for each word, and one for their combinations."""
    rows = [
        f"| [`{shown_spec(word)}`](docs/presets/{page_name(word)}) | {_cell(summary(word))} | {_cell(cost(word))} |"
        for word in PARTS
    ]
    rows += [
        f"| [`{name}`](docs/presets/{page_name(spec.rpartition('+')[2].partition('(')[0])}) | named: "
        f"`{preset(name).spec()}` | |"
        for name, spec in NAMED.items()
    ]
    words = "any combination of parts; transforms follow one another, left first; `|` joins subsets".replace(
        "|", r"\|"
    )
    combined = f"| `bn+sh`, `linear+bn`, `conv(3)+bn+sh`, … | {words} | |"
    return "\n".join(["| spec | what it is | cost |", "|---|---|---|", *rows, combined])


def choices() -> str:
    """A row for each part, by the choice that it makes: the default, those with a word, those known by their class."""
    rows = []
    for default in PrimalProblem().parts():
        words = {word: kind for word, kind in PARTS.items() if kind.choice == default.choice}
        lines = [] if type(default) in words.values() else [(type(default), "", default)]
        for word, kind in words.items():
            example = preset(shown_spec(word))
            part = next(part for part in example.modules() if type(part) is kind)
            lines.append((kind, f"`{signature(word)}`", part))
        lines += [(kind, shown, None) for kind, shown in BY_CLASS.items() if kind.choice == default.choice]
        for place, (kind, shown, part) in enumerate(lines):
            title = CHOICES[default.choice] if place == 0 else ""
            rows.append(f"| {title} | `{kind.__name__}` | {shown} | {_formula(kind, part)} |")
    return "\n".join(["| choice | class | spec | formula |", "|---|---|---|---|", *rows])


TABLES = {
    "README.md": ("attentions", attentions),
    "docs/all_of_primaldual.md": ("choices", choices),
}


def pages() -> dict[str, str]:
    """The pages that hold a table, with the table as it should be: path from the root -> text.

    Raises:
        ValueError: a page without the two comments between which its table stands.
    """
    written = {}
    for path, (name, table) in TABLES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        begin, end = f"<!-- {name}: written by docs/build.py -->", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{path} must have {begin} and {end} once each")
        before, rest = text.split(begin)
        written[path] = f"{before}{begin}\n{table()}\n{end}{rest.split(end)[1]}"
    return written


def _formula(kind: type[Part], part: Part | None) -> str:
    lines = [] if part is None else part.formula("text")
    text = "; ".join(re.sub(r"\s+", " ", line) for line in lines)
    return _cell(text or (inspect.getdoc(kind) or "").splitlines()[0].rstrip(".").replace("``", "`"))


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
