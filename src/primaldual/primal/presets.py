"""Problems by name: the spec grammar ``part(args)+part(args)``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from primaldual.errors import ArgumentError, CheckpointError, SpecError, did_you_mean
from primaldual.primal.chain import Chain
from primaldual.primal.parts import Part
from primaldual.primal.plugins import load_word, offered
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.subsets import Subset
from primaldual.primal.transforms import Transform
from primaldual.primal.unions import Union
from primaldual.primal.words import NAMED, PARTS, signature

OWN = "one of your own needs primaldual.register, on the command line --import MODULE"

LONGEST = 10_000
"""Characters of a spec: enough for the scales of thousands of heads."""

_PART = re.compile(r"\s*([a-z_]\w*)\s*(?:\(([^()]*)\))?\s*", re.IGNORECASE)
_WORDS: dict[str, object] = {"true": True, "false": False, "none": "none"}


def preset(spec: str | PrimalProblem) -> PrimalProblem:
    """Read a spec such as ``"bn(beta=0.8)+sh(1,1,2,4)"``.

    Args:
        spec: parts joined by ``+``, each a name of :data:`PARTS` with optional arguments, positional or
            ``name=value``; values are numbers, words, true, false or sizes like ``8x8``. What no part
            says stays at softmax's choice. Transforms of several kinds follow one another, left first.
            Subsets joined by ``|`` are a :class:`Union`, as in ``window(8)|sh(4)+bn``; a last ``disjoint=true``
            is its argument.
            A PrimalProblem is returned as it is.

    Raises:
        SpecError: an unknown part or argument, a bad value, or two parts for the same choice.
        UnsupportedError: a transform that mixes queries after another one.

    Example:
        >>> preset("bn(beta=0.8)+sh(1,1,2,4)").spec()
        'bn(beta=0.8)+sh(1,1,2,4)'
    """
    if isinstance(spec, PrimalProblem):
        return spec
    if not isinstance(spec, str):
        raise SpecError(f"attention must be a spec string or a PrimalProblem; got {type(spec).__name__}")
    if len(spec) > LONGEST:
        raise SpecError(
            f"attention must be a spec of at most {LONGEST} characters; got {len(spec)}: {spec[:40]}…"
        )
    return PrimalProblem(**read_parts(spec))


def read_parts(spec: str) -> dict[str, Any]:
    """The parts that a spec names, by the choice that they make; several transforms become a Chain.

    Raises:
        SpecError: as :func:`preset`.
    """
    chosen: dict[str, list[tuple[str, Part]]] = {}
    for text in split_parts(_spelled_out(spec), "+"):
        part = _read_union(text, spec) if "|" in text else _read_part(text, spec)
        former = chosen.setdefault(part.choice, [])
        for other, rival in former:
            if not isinstance(part, Transform) or type(part) is type(rival):
                kind = " of each kind" if isinstance(part, Transform) else ""
                raise SpecError(
                    f"spec {spec!r} has two parts for the {part.choice}: {other!r} and {text.strip()!r}; "
                    f"accepted is one{kind}"
                )
        former.append((text.strip(), part))
    parts = {field: [part for _, part in given] for field, given in chosen.items()}
    return {
        field: given[0]
        if len(given) == 1
        else Chain(*(part for part in given if isinstance(part, Transform)))
        for field, given in parts.items()
    }


def faithful_spec(attention: str | PrimalProblem) -> str:
    """The attention as text that :func:`preset` reads back, for saving.

    Raises:
        CheckpointError: it does not, because a part of the problem has no name in specs.
    """
    if isinstance(attention, str):
        return attention
    spec = attention.spec()
    try:
        faithful = repr(preset(spec)) == repr(attention)
    except ValueError:
        faithful = False
    if not faithful:
        raise CheckpointError(
            f"attention {spec!r} cannot be saved, because its spec does not rebuild it; use pickle instead"
        )
    return spec


def split_parts(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside parentheses.

    Example:
        >>> split_parts("bn,sh(1,2)", ",")
        ['bn', 'sh(1,2)']
    """
    pieces, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == separator and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return pieces


def _spelled_out(spec: str) -> str:
    """The spec with named layers replaced by what they stand for.

    Example:
        >>> _spelled_out("mesanet(0.1)+window(2)")
        'dot+constant+ridge(0.1)+window(2)'
    """
    words = []
    for text in split_parts(spec, "+"):
        match = _PART.fullmatch(text)
        name = match.group(1).lower() if match else None
        words.append(_expanded(name, match.group(2) or "", spec) if match and name in NAMED else text)
    return "+".join(words)


def _expanded(name: str, arguments: str, spec: str) -> str:
    try:
        return NAMED[name](arguments)
    except ArgumentError as error:
        raise SpecError(f"spec {spec!r}: {error}") from None


def _read_union(text: str, spec: str) -> Union:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    words, options = split_parts(text, "|"), dict[str, Any]()
    if option := re.fullmatch(r"\s*disjoint\s*=\s*(\w+)\s*", words[-1]):
        options["disjoint"] = _read_value(option.group(1), spec)
        words.pop()
    parts = [_read_part(word, spec) for word in words]
    for word, part in zip(words, parts, strict=True):
        if not isinstance(part, Subset):
            accepted = ", ".join(name for name, kind in PARTS.items() if issubclass(kind, Subset))
            raise SpecError(
                f"spec {spec!r} has {word.strip()!r} in a union, which is not a subset; accepted are {accepted}"
            )
    try:
        return Union(*(part for part in parts if isinstance(part, Subset)), **options)
    except ArgumentError as error:
        raise SpecError(f"spec {spec!r}: {error}") from None


def _read_part(text: str, spec: str) -> Part:
    match = _PART.fullmatch(text)
    if match is None:
        raise SpecError(
            f"spec {spec!r} has {text.strip()!r}, which is not a part: accepted is name or name(arguments)"
        )
    name, inside = match.group(1).lower(), match.group(2)
    if not _known(name, spec):
        accepted = dict.fromkeys([*PARTS, *NAMED, *offered()])
        raise SpecError(
            f"spec {spec!r} has unknown part {name!r}{did_you_mean(name, accepted)} ({OWN}); accepted are "
            f"{', '.join(accepted)}"
        )
    positional: list[object] = []
    named: dict[str, object] = {}
    for argument in filter(None, map(str.strip, (inside or "").split(","))):
        word, equals, value = argument.partition("=")
        if not equals and named:
            raise SpecError(f"spec {spec!r}: positional {argument!r} follows a named argument of {name}")
        if equals and word.strip() in named:
            raise SpecError(f"spec {spec!r} gives {word.strip()} of {name} twice; accepted is one value")
        if equals:
            named[word.strip()] = _read_value(value, spec)
        else:
            positional.append(_read_value(word, spec))
    build: Callable[..., Part] = PARTS[name]
    accepted_names = inspect.signature(build).parameters
    hint = "".join(did_you_mean(word, accepted_names) for word in named if word not in accepted_names)
    try:
        inspect.signature(build).bind(*positional, **named)
        return build(*positional, **named)
    except (TypeError, ValueError) as error:
        raise SpecError(f"spec {spec!r}: {name}: {error}{hint}; accepted is {signature(name)}") from None


def _known(name: str, spec: str) -> bool:
    try:
        return load_word(name)
    except SpecError as error:
        raise SpecError(f"spec {spec!r}: {error}") from error


def _read_value(text: str, spec: str) -> object:
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            continue
    if size := re.fullmatch(r"(\d+)x(\d+)", word):
        return int(size.group(1)), int(size.group(2))
    if re.fullmatch(r"[a-z_]\w*", word):
        return word
    raise SpecError(
        f"spec {spec!r} has the value {text.strip()!r}; accepted are numbers, words and sizes like 8x8"
    )
