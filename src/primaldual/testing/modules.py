"""Checks of a problem as a module: copies, torch.compile, torch.export."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import Tensor, nn

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close, close_gradients, gradients, repeatable
from primaldual.testing.inputs import tensors


def check_module(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Train = eval, and copies through state_dict, pickle and deepcopy give the same outputs.

    A transform that keeps running statistics differs between the modes by intent; its copies are compared in eval.
    """
    inputs = tensors(heads, head_dim, length, device=device)
    out = problem.train().attend(*inputs)
    if problem.transform.observes:
        out = problem.eval().attend(*inputs)
    loaded = copy.deepcopy(problem)
    loaded.load_state_dict(problem.state_dict())
    others = {
        "in evaluation": problem.eval(),
        "after load_state_dict": loaded,
        "copied": copy.deepcopy(problem),
        "pickled": _pickled(problem),
    }
    same = repeatable(device)
    for name, other in others.items():
        close(other.attend(*inputs), out, f"{problem.spec()}, {name}", rtol=same, atol=same)


def _pickled(problem: PrimalProblem) -> PrimalProblem:
    try:
        found: PrimalProblem = pickle.loads(pickle.dumps(problem))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"{problem.spec()} cannot be pickled: {error}; pickle finds functions and classes that are defined at the "
            "top of a module, under their own names"
        ) from error
    return found


class _Attention(nn.Module):
    def __init__(self, problem: PrimalProblem, is_causal: bool) -> None:
        super().__init__()
        self.problem = problem
        self.is_causal = is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.problem.attend(query, key, value, is_causal=self.is_causal)


def check_compile(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """torch.compile makes one graph, with the same outputs and gradients."""
    for is_causal in (False, True):
        module = _Attention(problem, is_causal)
        inputs = tensors(heads, head_dim, length, device=device)
        torch.compiler.reset()
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)(*inputs)
        eager = module(*inputs)
        scene = f"{problem.spec()}, compiled, is_causal {is_causal}"
        close(compiled, eager, scene, rtol=1e-9, atol=1e-10)
        found, wanted = gradients(compiled, inputs), gradients(eager, inputs)
        close_gradients(found, wanted, ("query", "key", "value"), scene)


def check_export(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """torch.export with dynamic batch and length gives the same outputs at other sizes."""
    dynamic = torch.export.Dim.DYNAMIC
    sizes = {0: dynamic} if fixed_length else {0: dynamic, 2: dynamic}
    length, *others = (length, length) if fixed_length else (19, 11, 41)
    inputs = tuple(
        tensor.detach() for tensor in tensors(heads, head_dim, length, dtype=torch.float32, device=device)
    )
    module = _Attention(problem, False)
    with torch.no_grad():
        exported = torch.export.export(module, inputs, dynamic_shapes=(sizes, sizes, sizes)).module()
        for other in others:
            given = [
                tensor.detach()
                for tensor in tensors(heads, head_dim, other, batch=3, dtype=torch.float32, device=device)
            ]
            scene = f"{problem.spec()}, exported at length {length}, used at {other}"
            close(exported(*given), module(*given), scene, rtol=1e-4, atol=1e-5)
