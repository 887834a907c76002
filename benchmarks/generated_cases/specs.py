"""Attentions drawn at random: every part, every combination of parts that the library accepts."""

from __future__ import annotations

import re
from random import Random

from benchmarks.generated_cases.arguments import ARGUMENTS, Place, draw_word
from primaldual.errors import PrimalDualError
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.words import PARTS

SHARES = {
    "feature_map": 0.4,
    "normalizer": 0.2,
    "pair_weights": 0.15,
    "solver": 0.08,
    "order": 0.08,
    "subset": 0.55,
}
"""How often a choice beside the first word of a spec is drawn too."""

SIGNED = r"\b(dot|cosine|polynomial\([13]\))"
"""Kernels of either sign."""

OWN = r"constant|sink|mesanet|deltanet|hca"
"""Words that say what the kernels are divided by."""

TRIALS = 12
"""How often a word is tried with others before another one takes its place."""


def draw_spec(random: Random, place: Place) -> str:
    """A spec that the library accepts, around a first word that is each word equally often.

    Args:
        random: where choices come from.
        place: sizes that the parts must fit.
    """
    while True:
        word = random.choice(list(ARGUMENTS))
        for _ in range(TRIALS):
            spec = "+".join([_drawn(word, random, place), *_companions(word, random, place)])
            spec = _normalized(spec)
            if _accepted(spec, place.heads):
                return spec


def _normalized(spec: str) -> str:
    """The spec with h = 1 where kernels may add up to 0, by which nothing can be divided."""
    return spec if re.search(OWN, spec) or not re.search(SIGNED, spec) else f"{spec}+constant"


def _accepted(spec: str, heads: int) -> bool:
    """Whether the library takes the spec, and it has an angle: a key that is the mean of its set has none."""
    try:
        centred = re.search(r"cosine|deltanet", spec) and re.search(r"\b(bn|whiten)\b", spec)
        return not centred and isinstance(preset(spec).bind(heads, 2), PrimalProblem)
    except PrimalDualError:
        return False


def words_of(choice: str) -> list[str]:
    """The words of the parts that make a choice.

    Example:
        >>> words_of("normalizer")
        ['constant', 'sink']
    """
    return [word for word in ARGUMENTS if word in PARTS and PARTS[word].choice == choice]


def _companions(word: str, random: Random, place: Place) -> list[str]:
    own = PARTS[word].choice if word in PARTS else None
    found = [
        _drawn(random.choice(words_of(choice)), random, place)
        for choice, share in SHARES.items()
        if choice != own and random.random() < share
    ]
    others = [other for other in words_of("transform") if other != word]
    count = random.choice([0, 0, 1, 1, 2]) - (own == "transform")
    return found + [draw_word(other, random, place) for other in random.sample(others, max(0, count))]


def _drawn(word: str, random: Random, place: Place) -> str:
    """A word with arguments, a subset sometimes joined with another one."""
    first, subsets = draw_word(word, random, place), words_of("subset")
    if word not in subsets or random.random() < 0.8:
        return first
    second = draw_word(random.choice(subsets), random, place)
    return f"{first}|{second}{random.choice(['', '|disjoint=true'])}"
