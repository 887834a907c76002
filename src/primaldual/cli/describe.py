"""``primaldual equation`` and ``primaldual presets``."""

from __future__ import annotations

from typing import Annotated

import typer

ORDER = ("feature_map", "normalizer", "transform", "subset")


def equation(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help='An attention, such as "bn(beta=0.8)+sh".')],
    latex: Annotated[bool, typer.Option("--latex", help="LaTeX instead of text.")] = False,
) -> None:
    """Print the primal problem of an attention and the attention that follows from it.

    Examples:
    $ primaldual equation softmax
    $ primaldual equation "bn(beta=0.8)+sh(1,1,2,4)" --latex
    """
    from primaldual.primal.presets import preset

    print(preset(spec).equation("latex" if latex else "text"))


def presets() -> None:
    """List the parts that an attention spec is made of.

    Examples:
    $ primaldual presets
    """
    from itertools import groupby

    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    from primaldual.primal.presets import PARTS, cost, signature, summary

    console = Console(highlight=False)
    console.print("Parts of a spec, joined by +")
    words = sorted(PARTS, key=lambda word: ORDER.index(PARTS[word].choice))
    for choice, alike in groupby(words, key=lambda word: PARTS[word].choice):
        console.print(f"\n[bold]{choice.replace('_', ' ')}[/]")
        for word in alike:
            console.print(Padding(f"[cyan]{escape(signature(word))}[/]", (0, 0, 0, 2)))
            price = f"\n[dim]cost: {escape(cost(word))}[/]" if cost(word) else ""
            console.print(Padding(escape(summary(word)) + price, (0, 0, 0, 6)))
    console.print()
    console.print(
        'For example: softmax, bn, sh, bn+sh, "bn(beta=0.8)+sh(1,1,2,4)", linear+window(8)', highlight=False
    )
