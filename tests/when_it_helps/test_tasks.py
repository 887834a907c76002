"""Labels follow from the signal, and from nothing else."""

import numpy as np
import pytest
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.tasks.images import Fashion, digits
from benchmarks.when_it_helps.tasks.patterns import Patterns
from benchmarks.when_it_helps.tasks.recall import Recall
from benchmarks.when_it_helps.tasks.series import Series
from benchmarks.when_it_helps.tasks.task import EXPLORATION, drawn

from primaldual.errors import DataError

CASES = 400


def generator():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "draw",
    [
        Recall(),
        Recall(gain=1.0),
        Recall(offset=3.0),
        Recall(spread=8),
        Recall(spread=4, gain=1.0, offset=3.0),
    ],
)
def test_the_item_with_the_key_that_is_asked_for_holds_the_label(draw):
    tokens, labels = draw(generator(), CASES)
    keys, values = tokens[:, : draw.width], tokens[:, draw.width : draw.width + draw.values]
    distance = np.abs(keys[:, :, : -draw.spread] - keys[:, :, -1:]).sum(1)
    found = np.take_along_axis(values, distance.argmin(1)[:, None, None], axis=2)[:, :, 0]
    assert (found.argmax(1) == labels).all()


def test_recall_without_the_key_is_chance():
    draw = Recall()
    tokens, labels = draw(generator(), 4000)
    most_frequent = tokens[:, draw.width : -1, : -draw.spread].sum(2).argmax(1)
    shown = tokens[:, draw.width : -1, 0].argmax(1)
    assert abs((shown == labels).mean() - (1 + 7 / 4) / 8) < 0.03  # one of eight items, the others at random
    assert (most_frequent == labels).mean() < 0.55
    assert not tokens[:, draw.width :, -draw.spread :][:, :-1].any()  # whoever asks shows no value


def test_the_last_tokens_are_marked():
    draw = Recall(spread=3)
    marks = draw(generator(), 5)[0][:, -1]
    assert (marks[:, -3:] == 1).all()
    assert not marks[:, :-3].any()


def test_every_key_occurs_once_and_is_repeated_by_neighbours():
    draw = Recall(spread=4)
    keys = draw(generator(), 3)[0][:, : draw.width, : -draw.spread]
    runs = keys.reshape(3, draw.width, draw.items, draw.spread)
    np.testing.assert_array_equal(runs, np.repeat(runs[..., :1], draw.spread, axis=3))
    assert len(np.unique(runs[0, :, :, 0].T.round(6), axis=0)) == draw.items


def _strongest_run(draw, tokens):
    """The pattern whose mean over a run is largest somewhere."""
    patterns = np.linalg.qr(generator().normal(size=(draw.channels, draw.channels)).T)[0].T[: draw.classes]
    scores = np.einsum("kc,ncl->nkl", patterns, tokens)
    sums = np.cumsum(scores, axis=2)
    return (sums[:, :, draw.run :] - sums[:, :, : -draw.run]).max(2).argmax(1)


@pytest.mark.parametrize("scattered", [False, True])
def test_the_pattern_of_a_run_is_the_label(scattered):
    draw = Patterns(strength=20.0, scattered=scattered)
    tokens, labels = draw(generator(), CASES)
    assert (_strongest_run(draw, tokens) == labels).mean() > 0.99


def test_patterns_without_strength_are_chance():
    draw = Patterns(strength=0.0)
    tokens, labels = draw(generator(), 2000)
    assert abs((_strongest_run(draw, tokens) == labels).mean() - 1 / draw.classes) < 0.05


def test_scattered_patterns_occur_as_often_as_the_one_of_the_run():
    draw = Patterns(strength=1e6, scattered=True)
    tokens, _ = draw(generator(), 3)
    counts = np.sort((np.abs(tokens).max(1) > 100).sum(1))
    np.testing.assert_array_equal(counts, draw.run * draw.classes)


def test_a_seed_gives_the_same_data_and_another_seed_others():
    load = drawn("recall", Recall(), 20, 10)
    one, again, other = load(3), load(3), load(4)
    assert one[0].fingerprint() == again[0].fingerprint() != other[0].fingerprint()
    assert len(one[0].X) == 20
    assert len(one[1].X) == 10


def test_exploration_reads_no_test_digit():
    (learned, validated), (_, test) = digits(EXPLORATION), digits(0)
    kept = set(test.case_fingerprints())
    assert not kept & {*learned.case_fingerprints(), *validated.case_fingerprints()}
    assert not {*learned.case_fingerprints()} & {*validated.case_fingerprints()}


def test_exploration_reads_no_test_series():
    train, test = Series("JapaneseVowels", None)(0)
    learned, validated = Series("JapaneseVowels", None)(EXPLORATION)
    explored = {*learned.case_fingerprints(), *validated.case_fingerprints()}
    assert explored == set(train.case_fingerprints())
    assert not explored & set(test.case_fingerprints())


def test_images_that_are_absent_are_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        Fashion("Fashion-MNIST", tmp_path)(0)


def test_every_task_has_softmax_first_and_seeds_that_are_not_those_of_exploration():
    for task in all_tasks().values():
        assert task.attentions[0] == "softmax"
        assert max(task.seeds) < EXPLORATION
        assert len(set(task.attentions)) == len(task.attentions)
