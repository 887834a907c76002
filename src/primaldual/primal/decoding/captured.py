"""CapturedStep: a step of decoding as a CUDA graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.primal.decoding.sizes import check_step

if TYPE_CHECKING:
    from primaldual.primal.decoding.decodable import DecodableProblem
    from primaldual.primal.decoding.fixed_step import FixedStep
    from primaldual.primal.decoding.state import DecodingState


class CapturedStep:
    """Steps of one token of every sequence, replayed as one CUDA graph: :meth:`PrimalProblem.step` without its launches.

    The graph is captured at the first call, and again after the state has changed in another way or its caches have grown.
    The outputs lie in the same tensor each time: clone them to keep them.

    Args:
        problem: whose steps.
        state: of the problem; its sequences have at least one token each when a step is called.

    Example:
        >>> from primaldual import preset
        >>> problem = preset("bn")
        >>> state = problem.init_state(batch=1, heads=2, head_dim=8, capacity=4096)
        >>> step = CapturedStep(problem, state)  # out = step(query, key, value), on a GPU
    """

    def __init__(self, problem: DecodableProblem, state: DecodingState) -> None:
        self._problem = problem
        self._state = state
        self._fixed: FixedStep | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The outputs (batch, heads, 1, Dv) of the next token of every sequence; the state takes it in.

        Raises:
            ShapeError: tensors that do not fit the state, or more than one token.
            UnsupportedError: a state that no kernels serve, see ``docs/decoding.md``.
        """
        self._state.decoders_for(self._problem)
        check_step(self._state.sizes, query, key, value)
        fixed = self._state.fixed_step()
        if fixed is None or query.shape[2] != 1:
            raise UnsupportedError(
                f"{self._state.spec} is captured on a CUDA device for one token of sequences that have one or more each, "
                "as softmax over cached pairs in float32, bfloat16 or float16, with batch normalisation that learns "
                f"nothing; got {query.shape[2]} tokens on {query.device} in {query.dtype} at lengths "
                f"{self._state.lengths}; accepted is PrimalProblem.step"
            )
        with torch.no_grad():
            if fixed is not self._fixed:
                self._capture(fixed, query, key, value)
            else:
                for held, given in zip(self._inputs, (query, key, value), strict=True):
                    held.copy_(given)
            self._graph.replay()
        self._state.took()
        return self._out

    def _capture(self, fixed: FixedStep, query: Tensor, key: Tensor, value: Tensor) -> None:
        self._inputs = [tensor.contiguous().clone() for tensor in (query, key, value)]
        trial = self._state.copy().fixed_step()  # compiles, which a graph cannot hold
        assert trial is not None
        trial(*self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(query.device), torch.cuda.graph(self._graph):
            self._out = fixed(*self._inputs)
        self._fixed = fixed
