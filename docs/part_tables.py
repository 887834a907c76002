"""The tables of parts in README.md and docs/all_of_primaldual.md, from the table of words."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from docs.preset_pages import cell, page_name, shown_spec

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
        f"| [`{shown_spec(word)}`](docs/presets/{page_name(word)}) | {cell(summary(word))} | {cell(cost(word))} |"
        for word in PARTS
    ]
    rows += [
        f"| [`{name}`](docs/presets/{page_name(re.findall(r'[a-z_]+(?=[(])', spec)[-1])}) | named: `{cell(spec)}` | |"
        for name, spec in ((name, preset(name).spec()) for name in NAMED)
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


LAYERS = {
    "softmax attention": "softmax",
    "linear attention": "linear",
    "random features (Performer)": "random(64)",
    "Attention-BN": "bn",
    "whitened attention": "whiten",
    "Elliptical attention": "elliptical",
    "Attention-SH": "sh(1,1,2,4)",
    "sliding window": "window(8)",
    "mixture of block attention (MoBA)": "top(4,8,last=true)",
    "pooled past beside a window (NSA's compression)": "window(8)|sh(4)",
    "learned pooling": "gated(4)",
    "heavily compressed attention (DeepSeek-V4)": "hca(128,128)",
    "attention sink (gpt-oss)": "sink(0.5)",
    "ALiBi": "alibi",
    "Forgetting Transformer": "forget",
    "Twicing": "twicing",
    "scaled attention": "scaled(0.5)",
    "RPC-Attention": "rpc(4,4)",
    "Differential Transformer": "differential",
    "kernel ridge regression": "ridge(0.5)",
    "support vector regression": "svr(1,0.1)",
    "MesaNet": "mesanet",
    "DeltaNet": "deltanet",
    "Gated DeltaNet": "gated_deltanet",
    "DeltaFormer": "deltaformer",
    "local linear attention": "lla(1)",
    "Parallax": "parallax",
}
"""Layers by the names of the literature, with their specs."""


def family() -> str:
    """A row for each named layer: what it chooses, and the page and the test of the part that makes it."""
    titles = ["Φ", "h", "T", "subset", "weights", "solver", "order"]
    defaults = PrimalProblem().parts()
    rows = []
    for layer, spec in LAYERS.items():
        parts = preset(spec).parts()
        chosen = [
            "·" if type(part) is type(default) and not part.spec() else f"`{cell(part.spec())}`"
            for part, default in zip(parts, defaults, strict=True)
        ]
        own = [part for part, default in zip(parts, defaults, strict=True) if type(part) is not type(default)]
        made_by = own[-1] if own else parts[0]
        if isinstance(made_by, Union) and made_by.parts()[-1].name != "sh":
            made_by = made_by.parts()[-1]
        first = re.split(r"\W", made_by.spec())[0]
        page = "window_sh.md" if isinstance(made_by, Union) else page_name(first or "softmax")
        module = type(made_by).__module__.split(".")[-1]
        places = [f"primal/test_{module}", f"kernels/test_{first}", "primal/test_feature_maps"]
        test = next(path for place in places if (ROOT / (path := f"tests/{place}.py")).exists())
        rows.append(
            f"| [{layer}](presets/{page}) | `{cell(spec)}` | {' | '.join(chosen)} | [test](../{test}) |"
        )
    head = ["| layer | spec | " + " | ".join(titles) + " | test |", "|---" * (len(titles) + 3) + "|"]
    return "\n".join([*head, *rows])


TABLES = {
    "docs/family.md": ("family", family),
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
    return cell(text or (inspect.getdoc(kind) or "").splitlines()[0].rstrip(".").replace("``", "`"))
