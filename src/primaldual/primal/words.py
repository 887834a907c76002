"""The words of specs: a table of parts, and what is said of each."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import TypeVar, get_args, get_type_hints

from torch.nn import Module

from primaldual.errors import ArgumentError
from primaldual.primal.anchored_heads import AnchoredHeads
from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.boosting import Boost, Scaled
from primaldual.primal.clipping import Clip
from primaldual.primal.convolutions import Convolution, Convolution2d
from primaldual.primal.delta import Delta, DeltaFormer
from primaldual.primal.differential import Differential
from primaldual.primal.elliptical import Elliptical
from primaldual.primal.feature_maps import EluPlusOne, Exponential, TruncatedTaylor
from primaldual.primal.forget import Forget
from primaldual.primal.gated_pools import GatedPools
from primaldual.primal.inner_products import Cosine, Dot, Polynomial
from primaldual.primal.normalizers import Constant, Sink
from primaldual.primal.orders import LocalLinear, Parallax
from primaldual.primal.pair_weights import Alibi
from primaldual.primal.parts import Part, written
from primaldual.primal.patterns import Window
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.random_features import RandomFeatures
from primaldual.primal.ridge import Ridge
from primaldual.primal.robust_components import RobustComponents
from primaldual.primal.support_vectors import SupportVectors
from primaldual.primal.top_blocks import TopBlocks
from primaldual.primal.whitening import Whitening

PARTS: dict[str, type[Part]] = {
    "softmax": Exponential,
    "linear": EluPlusOne,
    "taylor": TruncatedTaylor,
    "random": RandomFeatures,
    "dot": Dot,
    "cosine": Cosine,
    "polynomial": Polynomial,
    "constant": Constant,
    "sink": Sink,
    "alibi": Alibi,
    "forget": Forget,
    "lla": LocalLinear,
    "parallax": Parallax,
    "bn": BatchNormalization,
    "whiten": Whitening,
    "elliptical": Elliptical,
    "clip": Clip,
    "conv": Convolution,
    "conv2d": Convolution2d,
    "window": Window,
    "top": TopBlocks,
    "sh": PooledHeads,
    "gated": GatedPools,
    "anchored": AnchoredHeads,
    "boost": Boost,
    "delta": Delta,
    "deltaformer": DeltaFormer,
    "ridge": Ridge,
    "svr": SupportVectors,
    "scaled": Scaled,
    "rpc": RobustComponents,
    "differential": Differential,
}
"""The words of a spec. A part of this table is read from specs, examined by the contract, and in every list of
parts; all else that is said of it comes from its class."""


def hca(arguments: str) -> str:
    """The spec of heavily compressed attention: a window, all keys pooled by gates, and a sink.

    Args:
        arguments: ``"rate,window"``; "" = 128 and 128.

    Raises:
        ArgumentError: other arguments than two whole numbers above 0.

    Example:
        >>> hca("64,32")
        'window(31)|gated(64)+sink'
    """
    given = [text.strip() for text in (arguments.strip() or "128,128").split(",")]
    if len(given) != 2 or not all(text.isdecimal() and int(text) for text in given):
        raise ArgumentError(
            f"hca takes its rate and its window, two whole numbers above 0; got {arguments!r}"
        )
    return f"window({int(given[1]) - 1})|gated({given[0]})+sink"


NAMED: dict[str, Callable[[str], str]] = {
    "twicing": "boost(2,{})".format,
    "mesanet": "dot+constant+ridge({})".format,
    "deltanet": "cosine+constant+delta({})".format,
    "gated_deltanet": "cosine+constant+forget+delta({})".format,
    "hca": hca,
}
"""Published layers by name: the spec that each stands for, given its arguments as text."""

P = TypeVar("P", bound=Part)


def register(part: type[P]) -> type[P]:
    """Make a part of your own a word of specs, for as long as the process lives; usable as a decorator.

    The word is the class's ``name``, otherwise the name of the class in small letters. Specs, saved models and
    the command line (``--import MODULE``) read it from then on, as they read the library's own.
    Workers of grids import the class's module themselves. A class that is defined anew, as when a cell of a notebook runs
    again, replaces the former one of its name with a warning.

    Args:
        part: a class whose arguments a spec can state: numbers, words, true, false and sizes.

    Returns:
        The class.

    Raises:
        ArgumentError: no Part, a word that a spec cannot hold, or one that another class has.

    Example:
        >>> from primaldual import preset
        >>> @register
        ... class Cubic(EluPlusOne):
        ...     name = "cubic_example"
        ...
        ...     def features(self, inputs):
        ...         return inputs**3
        >>> preset("cubic_example+window(2)").spec()
        'cubic_example+window(2)'
        >>> del PARTS["cubic_example"]  # nobody else should read it
    """
    if not (inspect.isclass(part) and issubclass(part, Part)):
        raise ArgumentError(f"part must be a class of a Part, such as a FeatureMap; got {part!r}")
    if part.name is None:
        part.name = part.__name__.lower()
    word = part.name
    if (
        not re.fullmatch(r"[a-z_]\w*", word, re.ASCII)
        or word != word.lower()
        or word in ("true", "false", "none")
    ):
        raise ArgumentError(
            f"the name of {part.__name__} must be a word of small letters, digits and underscores; got {word!r}"
        )
    other = PARTS.get(word)
    if other is not None and _address(other) != _address(part):
        raise ArgumentError(
            f"the word {word!r} is that of {'.'.join(_address(other))}; name {part.__name__} otherwise"
        )
    if other is not None and other is not part:
        warnings.warn(
            f"the word {word!r} stands for a new class {'.'.join(_address(part))} from now on; problems that were made "
            "before keep the former one",
            stacklevel=2,
        )
    PARTS[word] = part
    return part


def own_modules() -> tuple[str, ...]:
    """Modules of registered parts that are not this library's; a worker imports them to read the same specs."""
    modules = {own_module(part) for part in PARTS.values()} - {None, "__main__"}
    return tuple(sorted(filter(None, modules)))


def own_module(part: type[Part]) -> str | None:
    """The module of a part that is not this library's; None for one that is."""
    module = part.__module__
    return None if module.split(".")[0] == "primaldual" else module


def _address(part: type[Part]) -> tuple[str, str]:
    return part.__module__, part.__qualname__


def signature(word: str) -> str:
    """A word with its arguments and their defaults, as specs write them.

    Example:
        >>> signature("taylor"), signature("window"), signature("sh")
        ('taylor(order=2)', 'window(radius)', 'sh(scales..., grid=RxC, prefix=0, suffix=0, weighted=false)')
    """
    build = PARTS[word].__init__
    hints, given = get_type_hints(build), []
    for name, parameter in list(inspect.signature(build).parameters.items())[1:]:
        if build is Module.__init__:  # the class states none of its own
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            given.append(f"{name}...")
        elif parameter.default is parameter.empty:
            given.append(name)
        elif parameter.default is None:
            sizes = any(get_args(kind) for kind in get_args(hints[name]))
            given.append(f"{name}={'RxC' if sizes else name.upper()}")
        else:
            given.append(f"{name}={written(parameter.default)}")
    return f"{word}({', '.join(given)})" if given else word


def summary(word: str) -> str:
    """What the part behind a word is, in one line.

    Example:
        >>> summary("linear")
        'linear attention: elu(x) + 1 features'
    """
    kind = PARTS[word]
    return vars(kind).get("summary") or (inspect.getdoc(kind) or "").splitlines()[0].rstrip(".")


def cost(word: str) -> str:
    """What an attention with the part behind a word costs, "" where its class does not say.

    Example:
        >>> cost("linear")
        'O(N)'
    """
    return vars(PARTS[word]).get("cost", "")


def examples(word: str) -> tuple[str, ...]:
    """Specs of the part behind a word, for the contract and for tables.

    Example:
        >>> examples("softmax"), examples("taylor")
        (('softmax',), ('taylor(2)', 'taylor(4)'))
    """
    return vars(PARTS[word]).get("examples") or (word,)
