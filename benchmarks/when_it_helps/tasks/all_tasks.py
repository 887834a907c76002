"""Every task with its settings; chosen on exploration seeds and validation data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.when_it_helps.recipe import Recipe
from benchmarks.when_it_helps.tasks.images import FASHION, Fashion, digits
from benchmarks.when_it_helps.tasks.patterns import Patterns
from benchmarks.when_it_helps.tasks.recall import Recall
from benchmarks.when_it_helps.tasks.series import Series
from benchmarks.when_it_helps.tasks.task import Draw, Task, drawn

SEEDS = tuple(range(5))
BN = ("bn(beta=0)", "bn(beta=0.5)", "bn", "bn(beta=0.5,learnable=true)", "bn(gain=0.2)")
FEWER = ("bn", "bn(gain=0.2)")
"""Where a run takes longer, or nothing depends on the mean that is subtracted."""

PEAKED = ("softmax", "softmax(scale=4)", "bn", "bn(gain=0.2)")
"""Softmax and Attention-BN, each with scores that start small and large."""

DOUBLED = ("recall, gains", "recall, offsets")
"""Where the attention that wins costs more time, softmax is trained for twice as many epochs too."""

Specs = tuple[str, ...]
_TEST = 500


def attentions(mild: str, strong: str) -> tuple[str, ...]:
    """Softmax, Attention-BN, Attention-SH at two schedules, and both together."""
    return ("softmax", *FEWER, mild, strong, f"bn(gain=0.2)+{strong}")


def all_tasks(data_dir: Path | None = None, fashion_dir: Path = FASHION) -> dict[str, Task]:
    """The tasks by name.

    Args:
        data_dir: folder of UEA sets.
        fashion_dir: folder of Fashion-MNIST.
    """
    made = _made()
    longer = [twice_as_long(task) for task in made if task.name in DOUBLED]
    found = [*made, *_images(fashion_dir), *_series(data_dir), *longer]
    return {task.name: task for task in found}


def twice_as_long(task: Task) -> Task:
    """Softmax on the same data with twice the epochs."""
    assert task.recipe is not None
    recipe = replace(task.recipe, epochs=2 * task.recipe.epochs)
    sentence = "The same data; softmax is trained for twice as many epochs."
    return Task(f"{task.name}, twice", sentence, task.load, recipe, ("softmax",), task.seeds)


def _made() -> list[Task]:
    spread, long = attentions("sh(1,1,2,4)", "sh(1,2,4,8)"), attentions("sh(1,1,2,4)", "sh(1,4,8,16)")
    every = ("softmax", *BN, *spread[3:5], "bn+sh(1,2,4,8)", spread[-1])
    after = Recipe(readout="last", norm="after", learning_rate=8e-3)
    before = replace(after, norm="before")
    slower, patterns = replace(before, learning_rate=4e-3), Recipe(epochs=8, learning_rate=4e-3)
    return [
        _drawn(
            "recall",
            "Eight items, each a key and a value in one token; the last token shows a key and asks for its value.",
            Recall(),
            before,
            ("softmax", *FEWER),
            2000,
        ),
        _drawn(
            "recall, gains",
            "The same; every key channel is multiplied by a factor of its own, drawn anew for every sequence.",
            Recall(gain=1.0),
            after,
            every,
            2000,
        ),
        _drawn(
            "recall, offsets",
            "The same; a number is added to every key channel, drawn anew for every sequence.",
            Recall(offset=3.0),
            replace(after, learning_rate=4e-3),
            every,
            2000,
        ),
        _drawn(
            "recall, offsets, norm first",
            "The same with LayerNorm in front of attention.",
            Recall(offset=3.0),
            before,
            ("softmax", "bn(beta=0)", *FEWER),
            2000,
        ),
        _drawn(
            "recall, spread",
            "Each item is repeated over eight neighbouring tokens under noise, and so is the key that asks.",
            Recall(spread=8, noise=1.0),
            slower,
            spread,
            1500,
        ),
        _drawn(
            "patterns",
            "Noise of 256 tokens, of which sixteen neighbouring ones carry one of four patterns.",
            Patterns(),
            patterns,
            long,
            600,
        ),
    ]


def _drawn(name: str, sentence: str, draw: Draw, recipe: Recipe, attentions: Specs, train: int) -> Task:
    return Task(name, sentence, drawn(name, draw, train, _TEST), recipe, attentions, SEEDS)


def _images(fashion_dir: Path) -> list[Task]:
    grid = attentions("sh(1,1,2,4,grid=4x4)", "sh(1,2,2,4,grid=4x4)")
    recipe = Recipe(layers=2, epochs=20, positions=0.3)
    larger = Recipe(width=48, layers=2, epochs=40, learning_rate=1e-3, positions=0.3)
    clothes = "A thousand images of clothes, each 49 patches of 4x4 pixels."
    small, name = "Fashion-MNIST, small positions", "Fashion-MNIST"
    weak = replace(larger, positions=0.02)
    fashion = [
        Task(name, clothes, Fashion(name, fashion_dir, 1000), larger, ("softmax", *FEWER), SEEDS),
        Task(
            small,
            "The same with learned positions that start at deviation 0.02, as in most vision transformers, not 0.3.",
            Fashion(small, fashion_dir, 1000),
            weak,
            PEAKED,
            SEEDS,
        ),
    ]
    digit = "1297 images of digits, each 16 patches of 2x2 pixels."
    return [Task("digits", digit, digits, recipe, grid, SEEDS), *fashion]


def _series(data_dir: Path | None) -> list[Task]:
    few = ("softmax", *FEWER, "sh(1,1,2,4)")
    return [
        Task(name, f"{name} of the UEA archive.", Series(name, data_dir), None, few, SEEDS)
        for name in ("ERing", "JapaneseVowels", "Libras", "Epilepsy", "StandWalkJump")
    ]
