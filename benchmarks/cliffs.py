"""How much slower than scaled_dot_product_attention each combination of parts, causal flag and mask is.

Every attention is timed against SDPA with the same causal flag and no mask, in turns, on one thread; the figure is the
median ratio of processor time of forward passes. The peak of what a call allocates is given in matrices of N x N
numbers per head in float32. Combinations that a spec refuses are left out. Rows that the file of results has already
are replaced, the others stay. Run:

    python -m benchmarks.cliffs [--length 384] [--spec "conv(3)" ...] [--json cliffs.json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

import primaldual as pdl
from primaldual.errors import UnsupportedError

SPECS = (
    "softmax", "bn", "window(16)", "window(16)+bn", "sh", "bn+sh", "sh(prefix=1)", "bn+sh(prefix=1)", "sh(weighted=true)",
    "sh(grid=16x{rows})", "bn+sh(grid=16x{rows})", "anchored(1,2,3,4)", "anchored(1,2,3,4,kept=0.5)", "anchored(1,2,3,4)+bn",
    "conv(3)", "conv(3,causal=true)", "conv2d(3,grid=16x{rows})", "conv(3)+bn", "conv(3)+sh", "conv(3)+bn+sh",
    "linear", "linear+bn", "linear+sh", "linear+bn+sh", "random(64)", "random(64)+bn", "taylor(2)",
    "window(16)|sh(8)", "window(16)|sh(8)+bn", "sh(2)|sh(4)", "window(16)|sh(8)|disjoint=true", "sink(0)", "sink(0)+bn",
    "sink(0)+window(16)|sh(8)", "alibi", "alibi+bn", "alibi+sh", "forget", "forget+bn", "top(4)", "top(4)+bn", "elliptical",
    "gated(4)", "hca", "parallax", "lla(1)", "whiten", "boost(2)", "scaled(0.5)", "rpc(2,4)", "differential",
    "cosine+constant+delta(0.9)", "deltaformer(0.8)", "dot+constant+ridge(0.5)", "dot+constant+svr(1,0.1)",
)  # fmt: skip
MASKS = ("none", "padding", "pairs")
BATCH, HEADS, WIDTH = 2, 4, 32
LARGE = 7_000_000
"""Numbers of a tensor just below the largest size to which glibc raises its threshold for mmap."""


def masks(length: int) -> dict[str, Tensor | None]:
    """One mask of each kind, True = may attend."""
    chooser = torch.Generator().manual_seed(0)
    pairs = torch.rand(BATCH, 1, length, length, generator=chooser) > 0.3
    return {
        "none": None,
        "padding": (torch.arange(length) < torch.tensor([length, length * 3 // 4])[:, None])[:, None, None],
        "pairs": pairs | torch.eye(length, dtype=torch.bool),
    }


def ratios(
    call: Callable[[], object], base: Callable[[], object], seconds: float, least: int = 3, most: int = 100
) -> list[float]:
    """Ratios of interleaved processor times, at least and at most so many."""
    found: list[float] = []
    started = time.monotonic()
    call()
    base()
    while len(found) < least or (time.monotonic() - started < seconds and len(found) < most):
        begin = time.process_time()
        call()
        middle = time.process_time()
        base()
        found.append((middle - begin) / (time.process_time() - middle))
    return found


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    held = most = 0
    for event in found.profiler.kineto_results.events():  # type: ignore[union-attr] # always there after a profile
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def rows(length: int, specs: list[str], seconds: float) -> Iterator[dict[str, object]]:
    """One result for every combination."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.ones(LARGE)  # from then on malloc keeps freed memory, as in any process that has run a model
    query, key, value = torch.randn(3, BATCH, HEADS, length, WIDTH).unbind(0)
    given = masks(length)
    for spec in specs:
        problem = pdl.preset(spec.format(rows=length // 16)).bind(HEADS, WIDTH)
        inputs = problem.neutral_inputs(query, key, value)
        for is_causal in (False, True):
            for name in MASKS:

                def call(problem=problem, mask=given[name], is_causal=is_causal, inputs=inputs):
                    return problem.attend(query, key, value, mask, is_causal, inputs=inputs)

                def base(is_causal=is_causal):
                    return scaled_dot_product_attention(query, key, value, is_causal=is_causal)

                if _refused(call):
                    continue
                served = problem.explain(query.shape, key.shape, given[name], is_causal).served
                with torch.no_grad():
                    yield {
                        "spec": problem.spec(),
                        "causal": is_causal,
                        "mask": name,
                        "forms": sorted({part.form for part in served}),
                        "ratio": round(statistics.median(ratios(call, base, seconds)), 2),
                        "matrices": round(peak_bytes(call) / (4 * BATCH * HEADS * length * length), 2),
                    }


def _refused(call: Callable[[], object]) -> bool:
    """Whether an attention has no meaning here, such as a solver that reads keys in order without a causal mask."""
    try:
        with torch.no_grad():
            call()
    except UnsupportedError:
        return True
    return False


def merged(old: list[dict[str, object]], new: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows of which later ones take the place of earlier ones of the same combination."""
    return list({(row["spec"], row["causal"], row["mask"]): row for row in [*old, *new]}.values())


def main() -> None:
    """Time every combination and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", type=int, default=384, help="tokens, a multiple of 16")
    parser.add_argument("--spec", nargs="*", default=list(SPECS))
    parser.add_argument("--seconds", type=float, default=0.5, help="for each combination, about")
    parser.add_argument("--json", type=Path, help="where to write the results, as they come")
    arguments = parser.parse_args()
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else []
    results = []
    for row in rows(arguments.length, arguments.spec, arguments.seconds):
        results.append(row)
        print(
            f"{row['ratio']:9.2f} x  {row['matrices']:8.2f} N^2  {row['spec']}"
            f"{' causal' if row['causal'] else ''}, mask {row['mask']}  ({', '.join(row['forms'])})",
            flush=True,
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(merged(known, results), indent=1) + "\n")


if __name__ == "__main__":
    main()
