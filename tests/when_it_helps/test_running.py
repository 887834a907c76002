"""Cells are kept as they finish, and are not run again."""

import json

import pytest
from benchmarks.when_it_helps import records
from benchmarks.when_it_helps.command import main
from benchmarks.when_it_helps.cost import paired_ratios
from benchmarks.when_it_helps.recipe import Recipe
from benchmarks.when_it_helps.running import Cells, run_task
from benchmarks.when_it_helps.tasks.recall import Recall
from benchmarks.when_it_helps.tasks.task import Task, drawn
from benchmarks.when_it_helps.training import attention_entropy
from benchmarks.when_it_helps.transformer import Transformer

from primaldual.experiments.store import Store

TINY = Task(
    "tiny",
    "A tiny recall.",
    drawn("tiny", Recall(items=2, width=2, values=2), 40, 20),
    Recipe(width=8, heads=2, epochs=2, readout="last"),
    ("softmax", "bn(gain=0.2)"),
    (0, 1),
)


def test_cells_are_kept_and_a_second_run_does_nothing(tmp_path):
    cells, heard = Cells(TINY, TINY.seeds, TINY.attentions), []
    run_task(cells, tmp_path, heard.append)
    results = Store(tmp_path).results(cells.cells)
    assert [(one.method, one.seed) for one in results] == [
        (attention, seed) for seed in (0, 1) for attention in TINY.attentions
    ]
    heard.clear()
    run_task(Cells(TINY, TINY.seeds, TINY.attentions), tmp_path, heard.append)
    assert heard == []


def test_records_survive_the_file_and_name_settings_that_differ(tmp_path):
    cells = Cells(TINY, (0,), ("softmax",))
    run_task(cells, tmp_path, lambda event: None)
    (result,) = Store(tmp_path).results(cells.cells)
    found = records.record(result, {"tiny": TINY})
    assert found.settings == ""
    assert [epoch for epoch, _ in found.entropies] == [0, 1, 2]
    assert {"operations", "head_distance", "train_accuracy"} <= found.measures.keys()
    records.save(tmp_path / "file.json", {"cells": [vars(found)], "costs": {}})
    assert records.read(tmp_path / "file.json")[0] == [json_like(found)]
    other = Task(TINY.name, "", TINY.load, Recipe(width=8, heads=2, readout="last"), TINY.attentions, (0,))
    assert records.record(result, {"tiny": other}).settings == "epochs=2"


def json_like(found):
    return records.Record(**json.loads(json.dumps(vars(found))))


@pytest.mark.parametrize("norm", ["before", "after"])
def test_pooled_heads_cost_fewer_operations(norm):
    models = [Transformer(3, 64, 2, Recipe(norm=norm), spec) for spec in ("softmax", "sh(1,4,8,16)", "bn")]
    softmax, pooled, normalized = (model.operations() for model in models)
    assert pooled < softmax == normalized


def test_small_gains_start_nearer_to_uniform_attention():
    from torch import manual_seed, randn

    found = []
    for spec in ("bn", "bn(gain=0.2)"):
        manual_seed(0)
        found.append(attention_entropy(Transformer(3, 64, 2, Recipe(), spec), randn(4, 64, 3)))
    assert found[0] < 0.9 < found[1]


def test_ratios_are_to_the_baseline_of_the_same_round():
    found = paired_ratios(
        {"softmax": lambda: sum(range(20_000)), "twice": lambda: sum(range(200_000))}, "softmax", 5
    )
    assert found["softmax"] == (1.0, 1.0, 1.0)
    assert found["twice"][0] > 2


def test_an_unknown_task_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--task", "recall gains"])
    assert "did you mean" in capsys.readouterr().err
