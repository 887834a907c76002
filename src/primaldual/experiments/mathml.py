"""LaTeX of the equations as MathML, which browsers typeset without any script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

from primaldual.errors import UnsupportedError

_TOKEN = re.compile(
    r"\\text\{(?P<text>(?:[^{}]|\{[^{}]*\})*)\}|\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?|[^\s]",
    re.DOTALL,
)

_LETTERS = "Phi Φ Sigma Σ alpha α beta β gamma γ varepsilon ε epsilon ϵ kappa κ mu μ sigma σ phi φ lambda λ omega ω top ⊤"
_OPERATORS = (
    "cdot · times × le ≤ leq ≤ ge ≥ geq ≥ in ∈ ldots … dots … lceil ⌈ rceil ⌉ lfloor ⌊ rfloor ⌋ odot ⊙ ast ∗ "
    "to → approx ≈ pm ± mid ∣ ne ≠ neq ≠ langle ⟨ rangle ⟩ star ⋆ | ‖ { { } }"
)
_SPACES = ", 0.17em : 0.22em ; 0.28em ! 0em quad 1em qquad 2em"
_FUNCTIONS = "exp min max log tanh"
_SIZES = "big Big bigl bigr bigg Bigl Bigr displaystyle textstyle"
_ACCENTS = {"tilde": "~", "hat": "^", "bar": "¯"}
_VARIANTS = {"mathrm": "normal", "operatorname": "normal", "mathbf": "bold", "mathbb": "double-struck"}
_FENCES = {"|": "|", "(": "(", ")": ")", "[": "[", "]": "]", ".": "", r"\|": "‖", r"\{": "{", r"\}": "}"}
_CHARACTERS = {"-": "−", "*": "∗"}


def _symbols() -> dict[str, str]:
    """MathML of every command without an argument."""

    def pairs(table: str) -> Iterable[tuple[str, str]]:
        words = table.split()
        return zip(words[::2], words[1::2], strict=True)

    return {
        **{name: f"<mi>{symbol}</mi>" for name, symbol in pairs(_LETTERS)},
        **{name: f'<mo stretchy="false">{symbol}</mo>' for name, symbol in pairs(_OPERATORS)},
        **{name: f'<mspace width="{width}"/>' for name, width in pairs(_SPACES)},
        **{name: f"<mi>{name}</mi>" for name in _FUNCTIONS.split()},
        **dict.fromkeys(_SIZES.split(), ""),
        " ": '<mspace width="0.3em"/>',
        "sum": "<mo>∑</mo>",
        "prod": "<mo>∏</mo>",
    }


_SYMBOLS: Mapping[str, str] = _symbols()


def mathml(latex: str) -> str:
    """A ``<math>`` element for the LaTeX subset that equations use.

    Raises:
        UnsupportedError: a command outside the subset; the message names it.

    Example:
        >>> mathml(r"x^2")
        '<math display="block"><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    body = latex.strip()
    aligned = re.fullmatch(r"\\begin\{aligned\}(.*)\\end\{aligned\}", body, re.DOTALL)
    content = _table(aligned.group(1)) if aligned else _Parser(body).row()
    return f'<math display="block">{content}</math>'


def _table(body: str) -> str:
    rows = []
    for line in re.split(r"\\\\", body):
        cells = [_Parser(cell).row() for cell in re.split(r"(?<!\\)&", line)]
        aligned = (
            f'<mtd style="text-align: {side}">{cell}</mtd>'
            for side, cell in zip(("right", "left") * len(cells), cells, strict=False)
        )
        rows.append(f"<mtr>{''.join(aligned)}</mtr>")
    return f'<mtable displaystyle="true">{"".join(rows)}</mtable>'


class _Parser:
    """Recursive descent over tokens; every method returns MathML."""

    def __init__(self, source: str) -> None:
        self._tokens = [(match.group(), match.group("text")) for match in _TOKEN.finditer(source)]
        self._at = 0

    def row(self, *ends: str) -> str:
        """Atoms until one of ``ends``, which is consumed, or the end of the source."""
        atoms = []
        while (token := self._peek()) is not None:
            if token in ends:
                self._at += 1
                break
            atoms.append(self._scripted())
        return "".join(atoms)

    def _peek(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _scripted(self) -> str:
        limits = self._peek() in {r"\sum", r"\min", r"\max"}
        base = self._atom()
        scripts: dict[str, str] = {}
        while (mark := self._peek()) in {"_", "^"}:
            self._at += 1
            scripts[str(mark)] = self._argument()
        if not scripts:
            return base
        both = ("munderover", "munder", "mover") if limits else ("msubsup", "msub", "msup")
        if len(scripts) == 2:
            return f"<{both[0]}>{base}{scripts['_']}{scripts['^']}</{both[0]}>"
        name = both[1] if "_" in scripts else both[2]
        return f"<{name}>{base}{next(iter(scripts.values()))}</{name}>"

    def _atom(self) -> str:
        if self._at >= len(self._tokens):
            raise UnsupportedError("an equation ends where an argument should follow")
        token, text = self._tokens[self._at]
        self._at += 1
        if text is not None:
            return _words(text)
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>"
        if token.startswith("\\"):
            return self._command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        return f'<mo stretchy="false">{escape(_CHARACTERS.get(token, token))}</mo>'

    def _argument(self) -> str:
        """One atom; of a number without braces only the first digit, as in TeX."""
        token = self._peek() or ""
        if token.isdigit() and len(token) > 1:
            self._tokens[self._at : self._at + 1] = [(token[0], None), (token[1:], None)]
        return self._atom()

    def _command(self, name: str) -> str:
        if name in _SYMBOLS:
            return _SYMBOLS[name]
        if name in {"frac", "tfrac", "dfrac"}:
            return f"<mfrac>{self._argument()}{self._argument()}</mfrac>"
        if name in _ACCENTS:
            return f'<mover accent="true">{self._argument()}<mo>{_ACCENTS[name]}</mo></mover>'
        if name in _VARIANTS:
            letters = re.sub(r"<[^>]*>", "", self._argument())
            return f'<mi mathvariant="{_VARIANTS[name]}">{letters}</mi>'
        if name == "sqrt":
            return f"<msqrt>{self._argument()}</msqrt>"
        if name != "left":
            raise UnsupportedError(f"the equation command \\{name} has no MathML form here")
        return self._fenced()

    def _fenced(self) -> str:
        opening = self._fence()
        inside = self.row(r"\right")
        return f"<mrow>{opening}{inside}{self._fence()}</mrow>"

    def _fence(self) -> str:
        token = str(self._peek())
        self._at += 1
        symbol = _FENCES.get(token, "")
        return f'<mo fence="true" stretchy="true">{symbol}</mo>' if symbol else ""


def _words(text: str) -> str:
    """Text mode, with ``$...$`` inside it."""
    parts = text.split("$")
    words = []
    for index, part in enumerate(parts):
        if index % 2:
            words.append(_Parser(part).row())
        elif part:
            spaced = re.sub(r"^ | $", "\u00a0", part)
            words.append(f"<mtext>{escape(spaced)}</mtext>")
    return "".join(words)
