"""The primal and the dual of a problem, written out."""

from __future__ import annotations

from primaldual.errors import ArgumentError
from primaldual.primal.choices import Choices


def equation(choices: Choices, style: str) -> str:
    """Primal, parts and dual of a problem in style "text" or "latex".

    Raises:
        ArgumentError: another style.
    """
    lines = [line for part in choices for line in part.formula(style)]
    if style == "text":
        return _text(lines)
    if style == "latex":
        return _latex(lines)
    raise ArgumentError(f'style must be "text" or "latex"; got {style!r}')


def _text(lines: list[str]) -> str:
    where = [("where    " if row == 0 else "         ") + line for row, line in enumerate(lines)]
    return "\n".join(
        [
            "primal   min over W, b of  ½ ‖W‖² + C Σ_j |y_j − f(k_j)|_ε",
            "         f(x) = W Φ(T(x)) / h(x) + b",
            *where,
            "dual     f(x) = Σ_j [Φ(T(x))·Φ(T(k_j)) / h(x)] v_j + b",
            "         v_j = (α_j − α̃_j) / h(k_j)",
        ]
    )


def _latex(lines: list[str]) -> str:
    rows = [
        r"\min_{W,b}\ & \tfrac12\|W\|_F^2 + C\sum_j \left|y_j - f(k_j)\right|_\varepsilon,"
        r"\qquad f(x) = \frac{W\,\Phi(T(x))}{h(x)} + b",
        *(r"& " + line for line in lines),
        r"f(x) &= \sum_j \frac{\Phi(T(x))\cdot\Phi(T(k_j))}{h(x)}\, v_j + b,"
        r"\qquad v_j = \frac{\alpha_j - \tilde\alpha_j}{h(k_j)}",
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"
