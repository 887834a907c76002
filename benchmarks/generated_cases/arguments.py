"""Arguments drawn at random for every word of a spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Grid = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """Where a part is to serve.

    Attributes:
        heads: query heads.
        grid: sides of the image that positions form, None = a sequence.
        prefix: lone positions in front.
    """

    heads: int
    grid: Grid | None
    prefix: int

    @property
    def lone(self) -> str:
        """The argument for the lone positions, behind others."""
        return f",prefix={self.prefix}" if self.prefix else ""

    @property
    def sides(self) -> str:
        """The argument for the image, behind others."""
        return f",grid={self.grid[0]}x{self.grid[1]}" if self.grid else ""


Draw = Callable[[Random, Place], str]


def _one_of(*accepted: object) -> Draw:
    return lambda random, place: str(random.choice(accepted))


def _scales(random: Random, place: Place) -> str:
    return ",".join(str(random.choice([1, 1, 2, 3, 4, 7])) for _ in range(place.heads))


def _suffix(random: Random, place: Place) -> str:
    return f",suffix={random.choice([1, 2])}" if place.grid is None and random.random() < 0.3 else ""


def _sh(random: Random, place: Place) -> str:
    given = _scales(random, place) + place.sides + place.lone + _suffix(random, place)
    return given + random.choice(["", ",weighted=true"])


def _anchored(random: Random, place: Place) -> str:
    if place.grid is None and random.random() < 0.4:
        return _scales(random, place) + ",kept=0.4"
    return _scales(random, place) + place.sides + place.lone + _suffix(random, place)


def _bn(random: Random, place: Place) -> str:
    del place
    fixed = f"beta={random.choice([0.0, 0.5, 1.0])},scale={random.choice(['inv_std', 'none'])}"
    others = ["", "gain=0.2", "gain=0.3,per=feature", "learnable=true", "running=true"]
    return random.choice([fixed, random.choice(others)])


def _conv(random: Random, place: Place) -> str:
    causal = f"{random.choice([1, 3, 5])},causal={random.choice(['true', 'false'])}"
    return random.choice([causal, "3,queries=true"]) + place.lone


def _conv2d(random: Random, place: Place) -> str:
    return str(random.choice([1, 3])) + place.sides + place.lone


def _top(random: Random, place: Place) -> str:
    del place
    return f"{random.choice([1, 2, 3])},{random.choice([1, 3, 8])}{random.choice(['', ',last=true'])}"


def _alibi(random: Random, place: Place) -> str:
    slopes = ",".join(str(random.choice([0.0, 0.1, 1.0])) for _ in range(place.heads))
    return random.choice(["", slopes])


ARGUMENTS: dict[str, Draw] = {
    "softmax": _one_of("", "", "scale=0.1", "scale=1", "scale=2"),
    "linear": _one_of(""),
    "taylor": _one_of(0, 1, 2, 3),
    "random": _one_of(1, 5, 16),
    "dot": _one_of(""),
    "cosine": _one_of(""),
    "polynomial": _one_of(1, 2, 3),
    "constant": _one_of(""),
    "sink": _one_of("", 0.3, "-1", "0.5,learnable=false"),
    "alibi": _alibi,
    "forget": _one_of(""),
    "lla": _one_of(1, 0.1, 0.5),
    "parallax": _one_of(""),
    "bn": _bn,
    "whiten": _one_of("", 0.5, 1),
    "elliptical": _one_of(""),
    "clip": _one_of("", 0.3, 1.5),
    "conv": _conv,
    "conv2d": _conv2d,
    "window": _one_of(0, 1, 3, 8),
    "top": _top,
    "sh": _sh,
    "gated": _one_of(1, 2, 3, 7),
    "anchored": _anchored,
    "boost": _one_of(1, 2, "2,residual=keys", "3,residual=keys"),
    "delta": _one_of(0.5, 0.9, 1),
    "deltaformer": _one_of(0.5, 0.8, "1,residual=keys"),
    "ridge": _one_of(0.5, 1, 10),
    "svr": _one_of("", "0.5,0", "10,0.3"),
    "scaled": _one_of("", 0.5),
    "rpc": _one_of("1,1", "2,1", "2,0.2,steps=textbook"),
    "differential": _one_of("", 0.3),
    "twicing": _one_of("", "residual=keys"),
    "mesanet": _one_of("", 0.5),
    "deltanet": _one_of("", 0.5),
    "gated_deltanet": _one_of("", 0.5),
    "hca": _one_of("2,1", "3,3", "4,5", "7,16"),
}
"""Every word that a spec may name, the library's parts and the layers of the literature, and what draws its arguments."""


def draw_word(word: str, random: Random, place: Place) -> str:
    """A word with arguments, as specs write it.

    Example:
        >>> draw_word("conv", Random(0), Place(2, None, 1)), draw_word("dot", Random(0), Place(2, None, 0))
        ('conv(3,queries=true,prefix=1)', 'dot')
    """
    given = ARGUMENTS[word](random, place)
    return f"{word}({given})" if given else word
