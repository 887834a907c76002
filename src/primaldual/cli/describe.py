"""``primaldual equation`` and ``primaldual presets``."""

from __future__ import annotations

from typing import Annotated

import typer


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
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from primaldual.primal.presets import PARTS

    table = Table(title="Parts of a spec, joined by +", title_justify="left")
    table.add_column("part", style="bold")
    table.add_column("chooses")
    table.add_column("meaning")
    for name, part in PARTS.items():
        table.add_row(name, part.field.replace("_", " "), escape(part.summary))
    console = Console()
    console.print(table)
    console.print(
        'For example: softmax, bn, sh, bn+sh, "bn(beta=0.8)+sh(1,1,2,4)", linear+window(8)', highlight=False
    )
