"""Compare generated cases with the definition: ``python -m benchmarks.generated_cases --cases 10000``.

Every fault is printed with the number of its case, which ``--only NUMBER`` runs alone; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter

import torch

from benchmarks.generated_cases.case import draw_case
from benchmarks.generated_cases.checking import check_case
from primaldual.errors import SlowAttentionWarning


def main() -> int:
    """Run the cases; 1 if any is wrong."""
    parser = argparse.ArgumentParser(description="Compare generated cases with the definition.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="number of the one case to run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", SlowAttentionWarning)
    numbers = range(given.first, given.first + given.cases) if given.only is None else [given.only]
    started, refused, wrong, forms = time.monotonic(), 0, 0, Counter[str]()
    for count, number in enumerate(numbers, 1):
        case = draw_case(number)
        outcome = check_case(case)
        refused += bool(outcome.refusal)
        wrong += bool(outcome.faults)
        forms.update(set(outcome.forms))
        if outcome.faults or given.only is not None:
            print(f"\r{case}\n  " + "\n  ".join(outcome.faults or [outcome.refusal or "right"]), flush=True)
        if sys.stderr.isatty() or count % 500 == 0:
            left = (time.monotonic() - started) / count * (len(numbers) - count)
            print(
                f"\r{count} of {len(numbers)}, {wrong} wrong, {left:.0f} s left ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    print(f"\n{len(numbers)} cases, {wrong} wrong, {refused} refused; forms: {dict(forms.most_common())}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
