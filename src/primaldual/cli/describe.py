"""``primaldual equation`` and ``primaldual presets``."""

from __future__ import annotations

from typing import Annotated

import typer

ORDER = ("feature_map", "normalizer", "transform", "subset", "pair_weights", "solver", "order")


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

    from rich.padding import Padding

    from primaldual.cli.screen import Screen, words
    from primaldual.environment.plugins import plugins
    from primaldual.primal.presets import preset
    from primaldual.primal.words import NAMED, PARTS, cost, signature, summary

    broken = [plugin for plugin in plugins() if plugin.reason]  # the others are in PARTS then
    console = Screen()
    console.print("Parts of a spec, joined by +; several subsets by |")
    ordered = sorted(PARTS, key=lambda word: ORDER.index(PARTS[word].choice))
    for choice, alike in groupby(ordered, key=lambda word: PARTS[word].choice):
        console.print(words("\n", (choice.replace("_", " "), "bold")))
        for word in alike:
            console.print(Padding(words((signature(word), "cyan")), (0, 0, 0, 2)))
            price = f"\ncost: {cost(word)}" if cost(word) else ""
            console.print(Padding(words(summary(word), (price, "dim")), (0, 0, 0, 6)))
    console.print(words("\n", ("named layers", "bold")))
    for word in NAMED:
        console.print(Padding(words((word, "cyan"), f" {preset(word).spec()}"), (0, 0, 0, 2)))
    if broken:
        console.print(words("\n", ("words that cannot be loaded", "bold")))
    for plugin in broken:
        console.print(Padding(words((plugin.word, "cyan"), f" {plugin.reason}"), (0, 0, 0, 2)))
    console.print()
    console.print('For example: softmax, bn, sh, bn+sh, "bn(beta=0.8)+sh(1,1,2,4)", linear+window(8)')
