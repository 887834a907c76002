from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.sequences.listops import ListOps, written
from primaldual.sequences.token_sets import bounds_of

MEANINGS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(median(values)),
    "[SM": lambda values: sum(values) % 10,
}


def read_tree(text):
    """Value, depth and numbers of arguments of a written tree, by a stack; shares no code with the generator."""
    stack, deepest, arguments = [[]], 1, []
    for word in text.split():
        if word == "]":
            operator, *values = stack.pop()
            arguments.append(len(values))
            stack[-1].append(MEANINGS[operator](values))
        elif word in MEANINGS:
            stack.append([word])
        else:
            stack[-1].append(int(word))
            deepest = max(deepest, len(stack))
    [[value]] = stack
    return value, deepest, arguments


@pytest.fixture(scope="module")
def trees():
    drawn = ListOps().draw(np.random.default_rng(0), 1500)
    return [
        (written(drawn.tokens[start:end]), int(value))
        for (start, end), value in zip(bounds_of(drawn.lengths)[:, 0], drawn.values, strict=True)
    ]


def test_every_value_is_that_of_an_independent_evaluator(trees):
    assert len(trees) > 300
    for text, value in trees:
        assert read_tree(text)[0] == value


def test_trees_obey_the_rules(trees):
    counts = []
    for text, _ in trees:
        _, deepest, arguments = read_tree(text)
        assert 500 < len(text.split()) < 2000
        assert deepest <= 10
        counts += arguments
    assert set(counts) == set(range(2, 11))


class AllLengths(ListOps):
    """Keeps every tree: lengths prefer many arguments."""

    min_length = 0


def test_arguments_operators_and_digits_are_uniform():
    rules, generator = AllLengths(max_length=10**6, max_depth=3), np.random.default_rng(0)
    text = written(rules.draw(generator, 5000).tokens).split()
    for words in (["[MIN", "[MAX", "[MED", "[SM"], [str(digit) for digit in range(10)]):
        found = np.array([text.count(word) for word in words])
        assert np.abs(found / found.mean() - 1).max() < 0.05
    roots = np.bincount(rules._arguments(generator, 9000)[0])
    assert roots[:2].tolist() == [0, 0]
    assert np.abs(roots[2:] / 1000 - 1).max() < 0.15


def test_a_quarter_of_the_nodes_above_the_largest_depth_are_operators():
    first, second, last = AllLengths(max_length=10**6, max_depth=3)._arguments(np.random.default_rng(0), 4000)
    assert (first > 0).all()
    assert (second > 0).mean() == pytest.approx(0.25, abs=0.01)
    assert (last == 0).all()


@pytest.mark.parametrize(
    ("name", "value", "least"), [("max_length", 15, 16), ("max_depth", 1, 2), ("max_arguments", True, 2)]
)
def test_values_out_of_range_are_refused(name, value, least):
    with pytest.raises(ArgumentError, match=f"{name} must be an integer of at least {least}; got {value}"):
        ListOps(**{name: value})


def test_none_may_be_kept():
    assert len(ListOps().draw(np.random.default_rng(0), 1).values) in (0, 1)
    assert len(ListOps(max_length=16, max_depth=2).draw(np.random.default_rng(0), 0).values) == 0
