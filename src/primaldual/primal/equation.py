"""The primal and the dual of a problem, written out."""

from __future__ import annotations

from primaldual.errors import ArgumentError
from primaldual.primal.choices import Choices
from primaldual.primal.parts import Part


def equation(choices: Choices, style: str) -> str:
    """Primal, parts and dual of a problem in style "text" or "latex".

    Raises:
        ArgumentError: another style.
    """
    solver = choices.solver
    if style in ("text", "latex"):
        stated = [part for part in choices if part is not solver]  # whose formula is that of the coefficients
        lines = [line for part in stated for line in part.formula(style) or _named(part, style)]
        written = _text if style == "text" else _latex
        return written(lines, solver.objective(style), *solver.coefficient(style))
    raise ArgumentError(f'style must be "text" or "latex"; got {style!r}')


def _named(part: Part, style: str) -> list[str]:
    """The name of a part that states no formula; nothing of a default."""
    if not part.spec():
        return []
    line = f"{part.choice.replace('_', ' ')}: {part.spec()}"
    return [rf"\text{{{line.replace('_', ' ')}}}" if style == "latex" else line]


def _text(lines: list[str], objective: str, symbol: str, coefficient: str) -> str:
    where = [("where    " if row == 0 else "         ") + line for row, line in enumerate(lines)]
    return "\n".join(
        [
            f"primal   min over W, b of  {objective}",
            "         f(x) = W Φ(T(x)) / h(x) + b",
            *where,
            f"dual     f(x) = Σ_j [Φ(T(x))·Φ(T(k_j)) / h(x)] {symbol} + b",
            f"         {coefficient}",
        ]
    )


def _latex(lines: list[str], objective: str, symbol: str, coefficient: str) -> str:
    rows = [
        rf"\min_{{W,b}}\ & {objective}," + r"\qquad f(x) = \frac{W\,\Phi(T(x))}{h(x)} + b",
        *(r"& " + line for line in lines),
        rf"f(x) &= \sum_j \frac{{\Phi(T(x))\cdot\Phi(T(k_j))}}{{h(x)}}\, {symbol} + b,\qquad {coefficient}",
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"
