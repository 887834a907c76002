"""Check of the gradients of parameters and buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close_gradients, gradients, repeatable
from primaldual.testing.inputs import cases, masks, refuses, tensors


class _Form(nn.Module):
    """One form of a problem as ``forward``, which is what functional_call calls."""

    def __init__(self, problem: PrimalProblem, name: str) -> None:
        super().__init__()
        self.problem = problem
        self.form = name

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        outputs: Tensor = getattr(self.problem, self.form)(query, key, value, mask, causal)
        return outputs


def check_parameters(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Attend = dense in the gradients of every parameter and buffer, and these equal finite differences."""
    leaves = parameter_leaves(problem)
    if not leaves:
        return
    forms = [_Form(problem, name) for name in ("attend", "dense")]
    for keys, sizes in cases(problem, heads, length, fixed_length):
        query, key, value = (
            tensor.detach() for tensor in tensors(heads, head_dim, keys, **sizes, device=device)
        )
        for name, mask in masks(2, heads, query.shape[2], keys, device).items():
            for is_causal in (False, True):
                if refuses(problem, query.shape[2], keys, mask, is_causal):
                    continue
                found, wanted = (
                    gradients(
                        functional_call(form, leaves, (query, key, value, mask, is_causal)),
                        list(leaves.values()),
                    )
                    for form in forms
                )
                scene = f"{problem.spec()}, {keys} keys, {sizes}, mask {name}, is_causal {is_causal}"
                close_gradients(found, wanted, [name.removeprefix("problem.") for name in leaves], scene)
    size = length if fixed_length else 5
    query, key, value = (tensor.detach() for tensor in tensors(heads, head_dim, size, batch=1, device=device))
    for is_causal in (False, True):

        def attention(*given: Tensor, is_causal: bool = is_causal) -> Tensor:
            named = dict(zip(leaves, given, strict=True))
            outputs: Tensor = functional_call(forms[0], named, (query, key, value, None, is_causal))
            return outputs

        try:
            torch.autograd.gradcheck(
                attention, tuple(leaves.values()), fast_mode=True, nondet_tol=repeatable(device)
            )
        except RuntimeError as error:
            scene = f"{problem.spec()}, is_causal {is_causal}, gradients of {', '.join(leaves)}"
            raise AssertionError(f"{scene} differ from finite differences: {error}") from error


def parameter_leaves(problem: PrimalProblem) -> dict[str, Tensor]:
    """Parameters and floating buffers as float64 leaves, by their name below ``problem``.

    The averages that a problem in training writes are left out: they are not inputs of its outputs.
    """
    buffers = [] if problem.transform.observes else list(problem.named_buffers())
    return {
        f"problem.{name}": tensor.detach().double().clone().requires_grad_()
        for name, tensor in [*problem.named_parameters(), *buffers]
        if tensor.is_floating_point() and tensor.numel()
    }
