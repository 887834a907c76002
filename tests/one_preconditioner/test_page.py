import json

from benchmarks.one_preconditioner.page import PAGE, difference, page
from benchmarks.one_preconditioner.predictions import PREDICTIONS
from benchmarks.one_preconditioner.records import RESULTS, add, by_seed, read
from benchmarks.one_preconditioner.tasks import ATTENTIONS, TASKS


def test_the_committed_page_is_that_of_the_results():
    assert PAGE.read_text(encoding="utf-8") == page(read(RESULTS))


def test_a_row_has_the_seeds_that_every_attention_has():
    results = {f"recall, mixed|{one}|0.01|{seed}": 0.5 + seed / 10 for one in ATTENTIONS for seed in range(3)}
    del results["recall, mixed|bn|0.01|2"]
    row = next(line for line in page(results).splitlines() if line.startswith("| recall, mixed | 2 |"))
    assert row.count("55.0 ± 7.1") == len(ATTENTIONS)


def test_outcomes_follow_from_intervals():
    results = {
        f"recall, scaled|{attention}|0.01|{seed}": score * (1 + seed / 1000)
        for attention, score in (
            dict.fromkeys(ATTENTIONS, 0.1) | {"softmax": 0.5, "bn": 0.9, "whiten": 0.4}
        ).items()
        for seed in range(3)
    }
    text = page(results)
    assert "| recall, scaled | `bn` above `softmax` | +40.0 (+39.9 to +40.1) | held |" in text
    assert "| recall, scaled | `whiten` above `softmax` | −10.0 (−10.0 to −10.0) | failed: below |" in text
    assert "| recall, mixed | `whiten` above `softmax` | | not run |" in text


def test_differences_are_paired_by_seed():
    results = {"recall, mixed|bn|0.01|0": 0.6, "recall, mixed|bn|0.01|1": 0.7}
    results |= {"recall, mixed|softmax|0.01|1": 0.5, "recall, mixed|softmax|0.01|2": 0.9}
    assert difference(results, "recall, mixed", "bn", "softmax") is None
    assert by_seed(results, "recall, mixed", "bn", "0.01") == {0: 0.6, 1: 0.7}


def test_predictions_name_what_is_run():
    assert {one.task for one in PREDICTIONS} <= set(TASKS)
    assert {spec for one in PREDICTIONS for spec in (one.attention, one.baseline)} <= set(ATTENTIONS)


def test_every_score_is_kept_at_once(tmp_path):
    add(tmp_path / "scores.json", "b|bn|1|0", 0.123456)
    assert add(tmp_path / "scores.json", "a|bn|1|0", 0.5) == {"a|bn|1|0": 0.5, "b|bn|1|0": 0.12346}
    assert list(json.loads((tmp_path / "scores.json").read_text("utf-8"))) == ["a|bn|1|0", "b|bn|1|0"]
