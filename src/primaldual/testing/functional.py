"""Checks of second derivatives, torch.func and tracing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from primaldual.errors import PrimalDualError
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close, gradients, refusal
from primaldual.testing.inputs import long_length, masks, tensors

NAMES = ("query", "key", "value")
Loss = Callable[..., Tensor]
"""A number, from query, key and value."""


def check_second_derivatives(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Second derivatives equal those of dense, or an exception refuses them: never zeros without a word."""
    size = length if fixed_length else long_length(problem)
    for name, mask in _masks(heads, size, device).items():
        for is_causal in (False, True):
            inputs = tensors(heads, head_dim, size, batch=1, device=device)
            directions = tuple(
                tensor.detach() for tensor in tensors(heads, head_dim, size, batch=1, seed=5, device=device)
            )
            attend, dense = _losses(problem, mask, is_causal)
            scene = f"{problem.spec()}, mask {name}, is_causal {is_causal}"
            for word, method in (("hvp", _hvp), ("two backward passes", _twice)):
                wanted = method(dense, inputs, directions)
                try:
                    found = method(attend, inputs, directions)
                except (RuntimeError, PrimalDualError):
                    continue
                for part, got, reference in zip(NAMES, found, wanted, strict=True):
                    close(got, reference, f"{scene}, {word}, {part}", rtol=1e-6, atol=1e-7)


def _masks(heads: int, size: int, device: str) -> dict[str, Tensor | None]:
    found = masks(1, heads, size, size, device)
    return {"none": None, "pattern": found["pattern"]}


def _losses(problem: PrimalProblem, mask: Tensor | None, is_causal: bool) -> tuple[Loss, Loss]:
    """Scalar functions of query, key and value with a curvature of their own, of attend and of dense."""

    def loss(form: Callable[..., Tensor]) -> Loss:
        return lambda query, key, value: form(query, key, value, mask, is_causal).sin().sum()

    return loss(problem.attend), loss(problem.dense)


def _hvp(loss: Loss, inputs: tuple[Tensor, ...], directions: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    _, product = torch.autograd.functional.hvp(loss, inputs, directions)
    return product


def _twice(loss: Loss, inputs: tuple[Tensor, ...], directions: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a gradient penalty does: the gradient of a function of the gradient."""
    first = gradients(loss(*inputs), inputs, torch.ones(()), create_graph=True)
    along = torch.stack([(part * way).sum() for part, way in zip(first, directions, strict=True)]).sum()
    return tuple(gradients(along.square(), inputs, torch.ones(())))


def check_torch_func(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """torch.func.grad, vmap, vmap of grad and jvp are right, or refused by an error that names the attention."""
    size = length if fixed_length else long_length(problem)
    samples = [tensor.detach() for tensor in tensors(heads, head_dim, size, batch=6, device=device)]
    query, key, value = (tensor.unflatten(0, (3, 2)) for tensor in samples)
    for name, mask in (("none", None), ("padding", torch.arange(size, device=device) != 1)):
        for is_causal in (False, True):
            attend, _ = _losses(problem, mask, is_causal)
            wanted = _by_loops(problem, (query, key, value), mask, is_causal)
            for word, transform in _transforms(problem, attend, mask, is_causal).items():
                scene = f"{problem.spec()}, mask {name}, is_causal {is_causal}, torch.func: {word}"
                try:
                    with warnings.catch_warnings():
                        # torch warns of its own: of slow vmap rules, and of torch.jit.script in the first jvp.
                        warnings.simplefilter("ignore")
                        found = transform(query, key, value)
                except Exception as error:
                    if refusal(problem, error):
                        continue
                    raise AssertionError(
                        f"{scene}: {type(error).__name__}: {error}; accepted is the right result, or an "
                        f"UnsupportedError whose message names {problem.spec()}"
                    ) from error
                for got, reference in zip(found, wanted[word], strict=True):
                    close(got, reference, scene, rtol=1e-6, atol=1e-6)


def _transforms(
    problem: PrimalProblem, loss: Loss, mask: Tensor | None, is_causal: bool
) -> dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]]:
    """Each takes three batches of query, key and value; grad and jvp use the first, along the second."""
    grad = torch.func.grad(loss, (0, 1, 2))

    def outputs(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (problem.attend(query, key, value, mask, is_causal),)

    def along(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        first, second = (tuple(tensor[row] for tensor in (query, key, value)) for row in (0, 1))
        return (torch.func.jvp(loss, first, second)[1],)

    return {
        "grad": lambda query, key, value: grad(query[0], key[0], value[0]),
        "vmap": torch.func.vmap(outputs),
        "vmap of grad": torch.func.vmap(grad),
        "jvp": along,
    }


def _by_loops(
    problem: PrimalProblem, batches: tuple[Tensor, ...], mask: Tensor | None, is_causal: bool
) -> dict[str, tuple[Tensor, ...]]:
    """The same by dense, without torch.func: by loops and backward passes."""
    loss = _losses(problem, mask, is_causal)[1]
    outputs, slopes = [], []
    for row in range(3):
        leaves = query, key, value = tuple(tensor[row].clone().requires_grad_() for tensor in batches)
        outputs.append(problem.dense(query, key, value, mask, is_causal).detach())
        slopes.append(gradients(loss(query, key, value), leaves, torch.ones(())))
    along = [(slope * tensor[1]).sum() for slope, tensor in zip(slopes[0], batches, strict=True)]
    return {
        "grad": tuple(slopes[0]),
        "vmap": (torch.stack(outputs),),
        "vmap of grad": tuple(torch.stack(parts) for parts in zip(*slopes, strict=True)),
        "jvp": (torch.stack(along).sum(),),
    }


class _Masked(nn.Module):
    def __init__(self, problem: PrimalProblem, is_causal: bool) -> None:
        super().__init__()
        self.problem = problem
        self.is_causal = is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        return self.problem.attend(query, key, value, mask, self.is_causal)


def check_tracing(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """torch.jit.trace honours a mask that it was not traced with, or refuses."""
    inputs = [tensor.detach() for tensor in tensors(heads, head_dim, length, device=device)]
    full = torch.ones(2, 1, 1, length, dtype=torch.bool, device=device)
    part = full.clone()
    part[:, :, :, length // 2 :] = False
    for is_causal in (False, True):
        module = _Masked(problem, is_causal)
        pairs = [(full, part)] if is_causal else [(full, part), (part, full)]
        for traced_with, used_with in pairs:
            shown = "all keys" if traced_with is full else "half of the keys"
            scene = f"{problem.spec()}, is_causal {is_causal}, traced with {shown}, used with another mask"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    with torch.no_grad():
                        traced = torch.jit.trace(module, (*inputs, traced_with), check_trace=False)
                except (RuntimeError, PrimalDualError):
                    continue
                except Exception as error:
                    raise AssertionError(f"{scene}: {type(error).__name__}: {error}") from error
                with torch.no_grad():
                    found, wanted = traced(*inputs, used_with), module(*inputs, used_with)
            # torch.jit.trace computes with numbers from shapes, such as 1 / sqrt(D), in float32.
            close(found, wanted, scene, rtol=1e-5, atol=1e-6)
