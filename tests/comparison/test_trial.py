"""Trials on a few cases of made data: what is trained, what is scored, what is kept."""

import argparse
from collections import Counter, defaultdict
from statistics import mean

import numpy as np
import pytest
from benchmarks.comparison import __main__ as command
from benchmarks.comparison import images, listops, text
from benchmarks.comparison import trial as trials
from benchmarks.comparison.cost import costs_of
from benchmarks.comparison.task import Task
from benchmarks.comparison.trial import outcome, score_of
from benchmarks.kept_cells import keep, read
from PIL import Image

from primaldual.sequences.run_settings import RunSettings
from primaldual.sequences.tasks import parts_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small data in the layout that the benchmark reads."""
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for number in range(40):
            place = tmp_path / "cifar10" / part / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            shade = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(shade).save(place / f"{number}.png")
    letters = generator.choice(list("to be or not\n"), 10_000)
    (tmp_path / "tinyshakespeare.txt").write_text("".join(letters))
    monkeypatch.setattr(images, "TRAINED", 20)
    monkeypatch.setattr(images, "VALIDATED", 10)
    monkeypatch.setattr(text, "STEPS", 2)
    monkeypatch.setattr(listops, "STEPS", 2)
    monkeypatch.setattr(listops, "CASES", 40)
    monkeypatch.setattr(listops, "VALIDATED", 5)
    monkeypatch.setattr(trials, "LOOKED_AT", 4)
    return tmp_path


PREPARED = {"images": images.cifar, "listops": listops.short, "text": text.shakespeare}


@pytest.fixture(params=PREPARED.values(), ids=PREPARED)
def prepare(request):
    return request.param


def test_a_trial_is_the_same_again_and_pairs_share_what_they_can(prepare, folder):
    found = outcome(prepare("softmax", 3, 1e-2, folder), explore=True)
    assert found == pytest.approx(
        {**outcome(prepare("softmax", 3, 1e-2, folder), explore=True), "seconds": found["seconds"]}
    )
    assert {"entropy", "head_distance", "head_likeness"} < set(found)
    one, other = (prepare(attention, 3, 1e-2, folder) for attention in ("softmax", "bn(gain=0.2)"))
    shared = one.model.state_dict().keys() & other.model.state_dict().keys()
    assert all((one.model.state_dict()[name] == other.model.state_dict()[name]).all() for name in shared)
    assert one.training.fingerprint() == other.training.fingerprint()
    assert one.settings == other.settings


@pytest.mark.parametrize(("explore", "scored"), [(True, "validation"), (False, "test")])
def test_the_test_part_is_scored_in_final_runs_alone(prepare, folder, explore, scored):
    trial = prepare("softmax", 0, 1e-2, folder)
    found = outcome(trial, explore)["score"]
    assert found == pytest.approx(score_of(trial, getattr(trial, scored)), abs=1e-5)
    assert len({part.fingerprint() for part in (trial.training, trial.validation, trial.test)}) == 3


def test_another_seed_draws_other_images(folder):
    first, again, other = (images.cifar("softmax", seed, 1e-2, folder) for seed in (0, 0, 1))
    assert first.training.fingerprint() == again.training.fingerprint() != other.training.fingerprint()
    assert first.test.fingerprint() == other.test.fingerprint()


def test_a_step_has_gradients_of_every_weight(prepare, folder):
    trial = prepare("softmax", 0, 1e-2, folder)
    trial.step()
    assert all(weight.grad is not None for weight in trial.model.parameters())


def test_costs_are_beside_softmax(folder):
    task = Task("text", "", 1, 3, 1e-2, text.shakespeare, ("softmax", "linear"))
    found = costs_of(task, folder, rounds=3)
    assert found["softmax"]["time"] == (1.0, 1.0, 1.0)
    again = costs_of(task, folder, rounds=3)
    assert found["softmax"]["bytes"] == pytest.approx(again["softmax"]["bytes"], rel=0.02)
    assert found["linear"]["bytes"] > found["softmax"]["bytes"]


def test_finished_cells_are_kept_and_not_run_again(folder, monkeypatch):
    task = Task("text", "", 1, 3, 1e-2, text.shakespeare, ("softmax", "linear"))
    monkeypatch.setattr(command, "TASKS", {"text": task})
    out = folder / "out.json"
    keep(out, "text|softmax|0.01|0", {"score": -9.0})
    command.run(argparse.Namespace(explore=False, seeds=1, data_dir=folder, out=out))
    found = read(out)
    assert set(found) == {"text|softmax|0.01|0", "text|linear|0.01|0"}
    assert found["text|softmax|0.01|0"] == {"score": -9.0}
    assert -9 < found["text|linear|0.01|0"]["score"] < 0


def test_what_a_first_word_tells_is_counted(folder):
    parts = parts_of(RunSettings("listops", max_length=listops.SHORT, cases=listops.CASES, data_dir=folder))
    counts = defaultdict(Counter)
    for case, label in enumerate(parts.training.labels.tolist()):
        counts[parts.training.sequence(case, 0)[0]][label] += 1
    likeliest = {
        word: {label for label, count in found.items() if count == max(found.values())}
        for word, found in counts.items()
    }
    tested = [
        (parts.test.sequence(case, 0)[0], label) for case, label in enumerate(parts.test.labels.tolist())
    ]
    most = mean(label in likeliest[word] for word, label in tested)
    least = mean(likeliest[word] == {label} for word, label in tested)
    found = listops.known_without_nesting(folder)
    assert least <= found["first word"] <= most
    totals = Counter(parts.training.labels.tolist())
    frequent = [label for label, count in totals.items() if count == max(totals.values())]
    assert found["class"] in {mean(label == one for _, label in tested) for one in frequent}
