"""How many digits `attend` loses beside the definition, in float32, bfloat16 and float16.

The error of `attend` (outputs, and gradients of query, key and value) over the error of `dense` in the same dtype, both
against `dense` in float64 on the same rounded inputs. The bar is 10 in float32 and 3 in bfloat16 and float16
(`primaldual.testing.rounding`). Run:

    python -m benchmarks.precision [--dtype float32] [--spec bn] [--family step] [--json FILE]
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from primaldual import preset
from primaldual.testing.families import FAMILIES, Inputs, draw, representable
from primaldual.testing.rounding import BARS, PARTS, measure_rounding

HEADS, HEAD_DIM, LENGTH = 4, 16, 150

SPECS = (
    "bn",
    "bn(beta=0.6)",
    "bn+sh(1,2,4,4)",
    "bn+window(5)",
    "bn+window(40)",
    "conv(3)+bn",
    "conv(3,causal=true)+bn",
)
BIDIRECTIONAL = ("linear+bn",)
LONG, SINGLE = "random, 600 keys", "one key"


def families() -> dict[str, Inputs]:
    drawn = {name: draw(name, (2, HEADS, LENGTH, HEAD_DIM)) for name in FAMILIES}
    drawn[SINGLE] = draw("random", (2, HEADS, 1, HEAD_DIM))
    drawn[LONG] = draw("random", (1, HEADS, 600, 4))  # small, because the definition copies keys per query
    return drawn


def cases(arguments: argparse.Namespace) -> Iterator[tuple[torch.dtype, str, bool, str, Inputs]]:
    drawn = families()
    for dtype in BARS:
        for spec in (*SPECS, *BIDIRECTIONAL):
            for is_causal in (False,) if spec in BIDIRECTIONAL else (False, True):
                for family, inputs in drawn.items():
                    if (
                        representable(family, dtype)
                        and arguments.dtype in (None, str(dtype).removeprefix("torch."))
                        and arguments.spec in (None, spec)
                        and (arguments.family or "") in family
                    ):
                        yield dtype, spec, is_causal, family, inputs


def measure(dtype: torch.dtype, spec: str, is_causal: bool, family: str, inputs: Inputs) -> dict:
    found = measure_rounding(preset(spec).bind(HEADS, inputs.query.shape[-1]), inputs, dtype, is_causal)
    ratio = max(found.ratios.values())
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "spec": spec,
        "is_causal": is_causal,
        "family": family,
        "ratios": found.ratios,
        "attend_errors": found.attend,
        "dense_errors": found.dense,
        "attend_nonfinite": found.attend_nonfinite,
        "dense_nonfinite": found.dense_nonfinite,
        "met": ratio <= BARS[dtype] and not found.attend_nonfinite and not found.dense_nonfinite,
    }


def line(row: dict) -> str:
    ratios = " ".join(f"{row['ratios'][part]:9.3g}" for part in PARTS)
    counts = f"{row['attend_nonfinite']:6d} {row['dense_nonfinite']:6d}"
    causal = "causal" if row["is_causal"] else ""
    missed = "" if row["met"] else "  missed"
    return f"{row['dtype']:9} {row['spec']:23} {causal:7} {row['family']:27} {ratios} {counts}{missed}"


def summary(rows: list[dict]) -> Iterator[str]:
    for dtype, bar in BARS.items():
        mine = [row for row in rows if row["dtype"] == str(dtype).removeprefix("torch.")]
        if mine:
            worst = max(mine, key=lambda row: max(row["ratios"].values()))
            causal = ", causal" if worst["is_causal"] else ""
            yield (
                f"{worst['dtype']}: worst ratio {max(worst['ratios'].values()):.3g} ({worst['spec']}{causal}, "
                f"{worst['family']}), bar {bar:g}, {sum(not row['met'] for row in mine)} of {len(mine)} missed, "
                f"not finite: attend {sum(row['attend_nonfinite'] for row in mine)}, "
                f"dense {sum(row['dense_nonfinite'] for row in mine)}"
            )


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\r", end="", file=sys.stderr, flush=True)


def plain(value: object) -> object:
    """JSON has no inf and NaN: they become text."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=[str(dtype).removeprefix("torch.") for dtype in BARS])
    parser.add_argument("--spec", choices=[*SPECS, *BIDIRECTIONAL])
    parser.add_argument("--family", help=f"part of a name: {'; '.join([*FAMILIES, SINGLE, LONG])}")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    chosen = list(cases(arguments))
    if not chosen:
        parser.error("no case has this dtype, spec and family")
    head = " ".join(f"{part.replace('gradient', 'grad'):>9}" for part in PARTS)
    print(f"{'dtype':9} {'spec':23} {'':7} {'family':27} {head} {'attend':>6} {'dense':>6}  (NaN, inf)")
    rows = []
    for number, case in enumerate(chosen, 1):
        show_progress(f"{number} of {len(chosen)}")
        rows.append(measure(*case))
        show_progress(" " * 20)
        print(line(rows[-1]), flush=True)
    print(*summary(rows), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(plain(rows), indent=1) + "\n")
    return int(not all(row["met"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
