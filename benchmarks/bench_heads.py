"""Head redundancy of every preset in small trained classifiers, and values beside eigenvectors; then the page.

OMP_NUM_THREADS=1 python -m benchmarks.bench_heads        # trains what the file of results lacks
python -m benchmarks.bench_heads --page                   # writes docs/heads_of_presets.md from it
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from docs.preset_facts import PRESETS
from torch import nn

from primaldual.analysis import head_report, value_alignment
from primaldual.data import load
from primaldual.errors import PrimalDualError
from primaldual.estimators import AttentionClassifier
from primaldual.primal.words import PARTS, examples
from primaldual.reporting.files import write_text

RESULTS = Path(__file__).parent / "results" / "heads.json"
PAGE = Path(__file__).parents[1] / "docs" / "heads_of_presets.md"
DATA, SEEDS, EPOCHS = "BasicMotions", (0, 1, 2), 15
MEASURES = ("accuracy", "distance", "likeness", "entropy", "at first", "trained")
NAMED = [facts.spec for facts in PRESETS]
SPECS = (
    *NAMED,
    *(examples(word)[0] for word in PARTS if word not in re.findall(r"[a-z]\w*", " ".join(NAMED))),
)

Numbers = dict[str, float]

HEAD = f"""# Heads of every preset, trained

How alike are the heads that training leaves? `AttentionClassifier` with one layer of 4 heads of 8, {EPOCHS} epochs, on
{DATA}, which comes with aeon: 40 series of 100 steps, 6 channels, 4 classes. Mean ± deviation over {len(SEEDS)} seeds, on
ten of the 40 test series (accuracy: all), CPU, float32. One small data set and short training: the table shows what the
measures say of each attention, not which attention is best.

* **distance**: mean L2 distance between the attention maps of two heads; small = redundant. Where weights do not add up to
  1 it has another unit.
* **likeness**: mean linear CKA of the outputs of two heads; 1 = the same up to rotation and scale.
* **entropy**: of the weights, over the log of the number of keys. Empty where weights are negative or do not add up to 1.
* **eigenvectors**: share of the values' coefficients in the leading eigenvectors of the centred kernel of the keys, over the
  share of random ones: 1 = chance, 12.4 = all (6.1 in heads that pool by 2, 3 by 4). Before training (at first) and
  after. Empty where every query has keys or coefficients of its own.

| attention | accuracy | distance | likeness | entropy | eigenvectors, at first | trained |
|---|---|---|---|---|---|---|
"""

TAIL = """
**Eigenvectors.** The claim that trained values are eigenvectors of the centred kernel matrix (arXiv 2406.13762) is contested
(arXiv 2505.07908 examined ten models and found no alignment). `value_alignment` measures it on any model. Values and keys
are maps of the same tokens, so that they are far from random before any training: what training adds is the difference of
the last two columns, VERDICT.

```python
import torch
from primaldual.analysis import value_alignment
from primaldual.models import TimeSeriesTransformer

found = value_alignment(TimeSeriesTransformer(3, 12, 2), torch.randn(2, 12, 3))
for alignment in found.values():
    print(alignment.captured / alignment.chance_captured, alignment.cosines.mean(-1), alignment.chance_cosine)
```

Written by `python -m benchmarks.bench_heads --page`.
"""


def measured(spec: str, seed: int, epochs: int = EPOCHS) -> Numbers:
    """Accuracy and head measures of one training.

    Raises:
        PrimalDualError: an attention that has no meaning here, such as one that needs an order in time.
    """
    train, test = load(DATA, "train"), load(DATA, "test")
    sizes = {"embed_dim": 32, "num_heads": 4, "num_layers": 1, "feedforward_dim": 64, "random_state": seed}
    started = AttentionClassifier(spec, epochs=1, learning_rate=1e-12, **sizes).fit(train.X, train.y)
    classifier = AttentionClassifier(spec, epochs=epochs, **sizes).fit(train.X, train.y)
    inputs = classifier.prepare(list(test.X[::4]))
    report = head_report(classifier.model_, inputs, ablate=False).layers[0]
    first, second = torch.triu_indices(4, 4, offset=1)
    return {
        "accuracy": float(classifier.score(test.X, test.y)),
        "distance": report.redundancy,
        "likeness": float(report.likeness[first, second].mean()),
        "entropy": float(report.entropy.mean()),
        "at first": captured(started.model_, inputs),
        "trained": captured(classifier.model_, inputs),
    }


def captured(model: nn.Module, inputs: tuple[Any, ...]) -> float:
    """Share of the leading eigenvectors over that of chance; NaN where the heads have no single regression."""
    try:
        (alignment,) = value_alignment(model, *inputs).values()
    except PrimalDualError:
        return math.nan
    return float((alignment.captured / alignment.chance_captured).mean())


def cell(numbers: Sequence[float]) -> str:
    known = [number for number in numbers if not math.isnan(number)]
    return f"{mean(known):.2f} ± {stdev(known):.2f}" if len(known) > 1 else ""


def page(results: dict[str, Any]) -> str:
    """The page, from numbers by spec and seed, or the reason for which there are none."""
    rows, refused, added = [], [], []
    for spec in SPECS:
        found = results[spec]
        if isinstance(found, str):
            refused.append(f"* `{spec}`: {found}")
            continue
        columns = {name: [run[name] for run in found.values()] for name in MEASURES}
        added.append(mean(columns["trained"]) - mean(columns["at first"]))
        rows.append(f"| `{spec}` | ".replace("|sh", "\\|sh") + " | ".join(map(cell, columns.values())) + " |")
    known = [number for number in added if not math.isnan(number)]
    verdict = f"{min(known):+.2f} to {max(known):+.2f} over these {len(known)} attentions"
    left_out = "\nLeft out:\n\n" + "\n".join(refused) + "\n" if refused else ""
    return HEAD + "\n".join(rows) + "\n" + left_out + TAIL.replace("VERDICT", verdict)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="write the page from the results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in () if options.page else SEEDS:
        for spec in SPECS:
            if isinstance(results.setdefault(spec, {}), str) or str(seed) in results[spec]:
                continue
            try:
                results[spec][str(seed)] = measured(spec, seed)
            except PrimalDualError as error:
                results[spec] = str(error)
            print(spec, seed, flush=True)
            write_text(RESULTS, json.dumps(results, indent=1))
    if options.page:
        write_text(PAGE, page(results))


if __name__ == "__main__":
    main()
