"""Bytes and time of a token that a converted GPT-2 generates over decoding states, over those of the plain model.

The model has GPT-2's width and heads, 2 layers and random weights; the plain one uses transformers' own cache. Both take a
token in turns, on one thread; the figure is the median ratio of processor time, with quartiles. Run:

    python -m benchmarks.bench_transformers_cache [--lengths 1024 4096] [--tokens 24]
"""

import argparse
import statistics
import time

import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

import primaldual as pdl
from primaldual.integrations.hf_attention import make_cache

SCALES = "sh(1,1,1,2,2,2,4,4,4,8,8,8)"
SPECS = ("softmax", "bn", SCALES, f"bn+{SCALES}", "window(128)", "linear")


def model(spec: str | None) -> GPT2LMHeadModel:
    """The plain model, or the same one converted."""
    torch.manual_seed(0)
    sizes = {"n_embd": 768, "n_head": 12, "n_layer": 2, "n_positions": 8192}
    made = GPT2LMHeadModel(GPT2Config(**sizes, vocab_size=64, bos_token_id=0, eos_token_id=63)).eval()
    if spec is not None:
        pdl.convert(made, spec, verbose=False)
    return made


@torch.no_grad()
def compare(spec: str, length: int, tokens: int) -> tuple[float, list[float]]:
    """Bytes held, and quartiles of times, over those of the plain model."""
    plain, changed, ids = model(None), model(spec), torch.randint(1, 60, (1, length))
    whole, states = DynamicCache(config=plain.config), make_cache(changed)
    name = next(iter(states.argument))
    plain(ids, **{name: whole})
    changed(ids, **states.argument)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in whole.layers)
    share, ratios = states.nbytes / held, []
    for place in range(tokens):
        token = ids[:, place : place + 1]
        begin = time.process_time()
        plain(token, **{name: whole})
        middle = time.process_time()
        changed(token, **states.argument)
        ratios.append((time.process_time() - middle) / (middle - begin))
    return share, statistics.quantiles(ratios, n=4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--tokens", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for length in given.lengths:
        for spec in SPECS:
            share, (low, middle, high) = compare(spec, length, given.tokens)
            print(f"{length} {spec}: bytes {share:.3f}, time {middle:.2f} ({low:.2f}-{high:.2f})", flush=True)


if __name__ == "__main__":
    main()
