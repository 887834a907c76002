"""Attentions that are timed side by side, and the tensors that they get."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.cuda.timing import Call
from primaldual import preset
from primaldual.kernels.gpu.linear import linear_attention

HEADS, HEAD_DIM = 16, 64
SIZES = (1024, 8), (4096, 2), (16384, 1)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def tensors(length: int, batch: int) -> list[Tensor]:
    """Query, key, value and a gradient in bfloat16, heads last in memory."""
    torch.manual_seed(0)
    made = [torch.randn(batch, length, HEADS, HEAD_DIM, device="cuda") for _ in range(4)]
    return [tensor.bfloat16().transpose(1, 2) for tensor in made]


def contenders(is_causal: bool) -> dict[str, Attend]:
    """The attentions, by name; those of flash-linear-attention where it is installed."""
    problem = preset("linear")
    found: dict[str, Attend] = {
        "sdpa": lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=is_causal),
        "kernels": lambda q, k, v: linear_attention(q, k, v, is_causal=is_causal),
        "attend": lambda q, k, v: problem.attend(q, k, v, is_causal=is_causal),
    }
    return {**found, **fla_contenders()} if is_causal else found


def fla_contenders() -> dict[str, Attend]:
    """Peers that take features as they are: what elu + 1 costs is not in their times."""
    try:
        from fla.ops import linear_attn
    except Exception:  # other versions of Triton may fail in other ways
        return {}

    def peer(name: str) -> Attend:
        function = getattr(linear_attn, name)
        return lambda q, k, v: function(*(inputs.transpose(1, 2) for inputs in (q, k, v)), normalize=True)[
            0
        ].transpose(1, 2)

    return {f"fla {name}": peer(f"{name}_linear_attn") for name in ("chunk", "fused_chunk")}


def forward(attend: Attend, inputs: list[Tensor]) -> Call:
    """A call without gradients."""

    def call() -> None:
        with torch.no_grad():
            attend(*inputs)

    return call


def training(attend: Attend, inputs: list[Tensor], gradient: Tensor) -> Call:
    """Outputs and all gradients."""

    def call() -> None:
        out = attend(*inputs)
        torch.autograd.grad(
            out, inputs, gradient if out.shape == gradient.shape else gradient.transpose(1, 2)
        )

    return call


def recorded(call: Call) -> torch.cuda.CUDAGraph:
    """A call as a CUDA graph, which keeps its memory."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph
