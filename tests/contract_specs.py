"""The specs that the contract is run on: the examples that parts state, and combinations of parts."""

import re

from primaldual import PARTS, preset
from primaldual.errors import UnsupportedError
from primaldual.primal.words import examples

HEADS, HEAD_DIM, FIXED_LENGTH = 4, 6, 12
"""Sizes of the contract; a spec that accepts one length only is for ``FIXED_LENGTH`` positions."""

RUNNING = (
    "bn(running=true)",
    "bn(scale=none,running=true)",
    "bn(beta=0.5,learnable=true,running=true)+sh(1,1,2,4)",
    "linear+bn(running=true)",
    "linear+bn(running=true)+sh(1,1,3,3)",
    "conv(3)+bn(running=true)",
    "bn(running=true)+conv(3)+window(3)",
)
"""Running statistics: training and evaluation differ by intent, and each keeps the contract."""

COMBINATIONS = (
    "linear+bn",
    "taylor(2)+bn",
    "constant+bn",
    "bn+window(3)",
    "linear+window(2)",
    "linear+sh(2,2,3,3,weighted=true)",
    "bn+sh(1,1,2,4)",
    "bn+sh(1,1,2,4,suffix=1,weighted=true)",
    "bn(beta=0.7)+sh(2,3,1,2)",
    "linear+sh(1,1,2,2)",
    "linear+bn+sh(1,1,3,3)",
    "constant+sh(2,2,3,3)",
    "conv(3)+bn",
    "conv(3,causal=true)+bn",
    "bn+conv(3)",
    "conv(3)+sh(1,1,2,4)",
    "conv(3,queries=true)+sh(1,1,2,4,prefix=1)",
    "conv(3,causal=true)+bn+sh(1,1,2,4)",
    "conv(3)+bn+window(3)",
    "linear+conv(3)",
    "linear+conv(3,causal=true)",
    "window(1)|sh(1,2,3,4)+bn",
    "sh(2)|sh(3)|disjoint=true",
    "linear+window(2)|sh(2)",
    "sink(0.3)+bn(beta=0.7)+sh(1,1,2,4)",
    "linear+sink(0.3)",
    "bn+elliptical",
    "linear+elliptical+window(3)",
    "bn+window(2)|top(1,4)",
    "window(2)|gated(3)+sink(0.3)",
    "alibi+bn",
    "alibi+sink(0.3)+window(2)|sh(3)",
    "forget+bn",
    "lla(0.5)+window(2)|sh(3)",
    "parallax+alibi+sh(1,1,2,4)",
    "linear+boost(3)",
    "bn+sh(1,1,2,4)+boost(2,residual=keys)",
    "forget+window(2)|sh(3)+boost(2)",
    "sink(0.3)+scaled(0.2)",
    "sink(0.3)+window(4)+rpc(2,2)",
    "bn+rpc(2,2)",
    "rpc(2,2)",
    "sh(1,1,2,4)+rpc(2,2)",
    "linear+window(2)|sh(3)+differential(0.3)",
    "dot+constant+bn+ridge(1)",
    "cosine+constant+forget+delta(0.5)",
    "linear+constant+sh(1,1,2,2)+ridge(10)",
)
"""Parts with one another."""


def words(spec):
    """The words of a spec."""
    return set(re.findall(r"[a-z_]\w*", re.sub(r"\(.*?\)|\|\w+=.*", "", spec)))


def with_every_word(names):
    """A few of the names that together hold every word, those with many new words first."""
    wanted, chosen = set().union(*map(words, names)), set()
    while wanted:
        name = max(names, key=lambda name: len(words(name) & wanted))
        wanted -= words(name)
        chosen.add(name)
    return chosen


def has_fixed_length(spec):
    """Whether an attention accepts one number of positions only, so that it cannot decode."""
    try:
        preset(spec).bind(HEADS, HEAD_DIM).init_state(1, HEADS, HEAD_DIM)
    except UnsupportedError:
        return True
    return False


_EXAMPLES = [spec for word in PARTS for spec in examples(word)]
FIXED = tuple(spec for spec in _EXAMPLES if has_fixed_length(spec))
SPECS = (*(spec for spec in _EXAMPLES if spec not in FIXED), *COMBINATIONS, *RUNNING)

EVERY_WORD = with_every_word(SPECS)
"""The fewest of them that hold every word, about."""
