"""What decodes on a GPU: steps of problems, eager and as graphs, and SDPA over a cache that is full."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from primaldual import CapturedStep, PrimalProblem, preset
from primaldual.kernels.gpu.decode_step import DecodeStep
from primaldual.kernels.gpu.decode_table import CachedHeads
from primaldual.primal.decoding.state import DecodingState

BATCH, HEADS, HEAD_DIM, CACHED = 8, 16, 64, 4096

REWIND = 16
"""Steps after which a timed state goes back to its first length."""

BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}

Call = Callable[[], object]


def spec_of(spec: str, heads: int) -> str:
    """The spec with its scales repeated for so many heads.

    Example:
        >>> spec_of("bn+sh(1,2)", 4)
        'bn+sh(1,2,1,2)'
    """
    before, word, scales = spec.partition("sh(")
    if not word:
        return spec
    numbers = scales.rstrip(")").split(",")
    return f"{before}sh({','.join(numbers * (heads // len(numbers)))})"


def draw(length: int, dtype: torch.dtype, heads: int = HEADS, kv_heads: int | None = None) -> list[Tensor]:
    """Query, key and value of random tokens, heads last in memory as layers give them."""
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = [(BATCH, length, each, HEAD_DIM) for each in (heads, kv_heads or heads, kv_heads or heads)]
    return [
        torch.randn(shape, generator=generator, device="cuda", dtype=dtype).transpose(1, 2)
        for shape in shapes
    ]


def started(
    spec: str, tokens: list[Tensor], prompt: int, capacity: int, heads: int = HEADS
) -> tuple[PrimalProblem, DecodingState]:
    """A problem, and its state after a prompt."""
    query, key, value = tokens
    problem = preset(spec_of(spec, heads)).bind(heads, HEAD_DIM).cuda()
    state = problem.init_state(
        BATCH, heads, HEAD_DIM, kv_heads=key.shape[1], capacity=capacity, dtype=query.dtype, device="cuda"
    )
    problem.step(state, query[:, :, :prompt], key[:, :, :prompt], value[:, :, :prompt])
    return problem, state


def as_graph(call: Call) -> Call:
    """The call as a CUDA graph."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def rewound(call: Call, state: DecodingState, positions: Tensor) -> Call:
    """The call, after some of which the state goes back, so that it stays about as long."""
    count, first = [0], positions.clone()

    def again() -> None:
        call()
        count[0] += 1
        if count[0] % REWIND == 0:
            positions.copy_(first)
            state.common = CACHED

    return again


def ours(spec: str) -> dict[str, Call]:
    """Steps of a problem: eager, as a graph, and by CapturedStep, which copies its inputs and counts."""
    tokens = draw(CACHED, torch.bfloat16)
    problem, state = started(spec, tokens, CACHED, CACHED + 64)
    token = [tensor[:, :, :1].clone() for tensor in tokens]
    with torch.no_grad():
        fixed = state.fixed_step()
        assert fixed is not None, f"{spec}: no kernels serve it"
        graph = as_graph(lambda: fixed(*token))
        fixed.positions.fill_(CACHED)
        captured = CapturedStep(problem, state)
        captured(*token)
        fixed.positions.fill_(CACHED)
        state.common = CACHED
    calls: dict[str, Call] = {
        f"{spec}, eager": lambda: problem.step(state, *token),
        f"{spec}, graph": graph,
        f"{spec}, CapturedStep": lambda: captured(*token),
    }
    return {name: rewound(call, state, fixed.positions) for name, call in calls.items()}


def theirs(backend: str) -> dict[str, Call]:
    """SDPA of one query over a cache that is full."""
    query = draw(1, torch.bfloat16)[0]
    keys, values = (tensor.contiguous() for tensor in draw(CACHED, torch.bfloat16)[1:])

    def attend() -> Tensor:
        with sdpa_kernel(BACKENDS[backend]):
            return scaled_dot_product_attention(query, keys, values)

    return {f"SDPA {backend}, eager": attend, f"SDPA {backend}, graph": as_graph(attend)}


def default_sdpa() -> dict[str, Call]:
    """The same by the backend that PyTorch takes."""
    query = draw(1, torch.bfloat16)[0]
    keys, values = (tensor.contiguous() for tensor in draw(CACHED, torch.bfloat16)[1:])

    def attend() -> Tensor:
        return scaled_dot_product_attention(query, keys, values)

    return {"SDPA, eager": attend, "SDPA, graph": as_graph(attend)}


def tuned(splits: int, block: int) -> dict[str, Call]:
    """Softmax with other parts of the keys than those chosen, as a graph."""
    shape = (BATCH, HEADS, CACHED + 64, HEAD_DIM)
    keys, values = torch.randn(2, *shape, device="cuda", dtype=torch.bfloat16).unbind(0)
    heads = list(range(HEADS))
    caches = [CachedHeads(keys, values, None, None, None, None, None, 1, 0, heads, heads)]
    step = DecodeStep(caches, [CACHED] * BATCH, HEAD_DIM**-0.5, splits=splits, block=block)
    token = draw(1, torch.bfloat16)
    graph = as_graph(lambda: step(*token))
    step.positions.fill_(CACHED)
    count = [0]

    def again() -> None:
        graph()
        count[0] += 1
        if count[0] % REWIND == 0:
            step.positions.fill_(CACHED)

    return {f"{splits} splits, blocks of {block}": again}
