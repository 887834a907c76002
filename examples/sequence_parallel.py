"""Split a sequence over processes, and compare outputs and gradients of an encoder with those of one process.

torchrun --nproc_per_node 2 examples/sequence_parallel.py --attention "bn+sh(1,1,2,4)" --length 4096
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import distributed as dist

from primaldual.nn.encoder import Encoder
from primaldual.parallel import sharded, traffic

HEADS, HEAD_DIM = 4, 16


def compare(attention: str, length: int) -> tuple[float, float]:
    """The largest differences of outputs and of gradients from those of one process, in float64.

    Every process calls it, with a stretch of the tokens that is its own.
    """
    torch.manual_seed(0)
    width = HEADS * HEAD_DIM
    model = Encoder(2, width, HEADS, 2 * width, attention=attention).double()
    parameters, tokens = tuple(model.parameters()), torch.randn(1, length, width, dtype=torch.float64)
    stretch = tokens.tensor_split(dist.get_world_size(), 1)[dist.get_rank()]
    with sharded(model):
        outputs = model(stretch)
    gradients = torch.autograd.grad(outputs.square().sum(), parameters)
    for gradient in gradients:
        dist.all_reduce(gradient)
    whole = model(tokens)
    expected = torch.autograd.grad(whole.square().sum(), parameters)
    wanted = whole.tensor_split(dist.get_world_size(), 1)[dist.get_rank()]
    of_gradients = max((a - b).abs().max().item() for a, b in zip(gradients, expected, strict=True))
    return (outputs - wanted).abs().max().item(), of_gradients


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--attention", default="bn+sh(1,1,2,4)")
    parser.add_argument("--length", type=int, default=1024)
    options = parser.parse_args(arguments)
    of_outputs, of_gradients = compare(options.attention, options.length)
    if dist.get_rank():
        return
    lengths = [len(part) for part in torch.arange(options.length).tensor_split(dist.get_world_size())]
    moved = traffic(options.attention, lengths, HEADS, HEAD_DIM)
    print(f"{options.attention} on {dist.get_world_size()} processes, {options.length} tokens")
    print(f"largest difference: outputs {of_outputs:.1e}, gradients {of_gradients:.1e}")
    print(
        f"a process receives {moved.total:,} bytes in float32; gathering all keys {moved.gathered_total:,}, a ring "
        f"{moved.ring_total:,}"
    )


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main()
    dist.destroy_process_group()
