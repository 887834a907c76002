"""One generated case: an attention, its tensors and their mask, all from one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from benchmarks.generated_cases.arguments import Place
from benchmarks.generated_cases.specs import draw_spec
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.inputs import prepared

LENGTHS = (0, 1, 2, 3, 5, 7, 11, 16, 17, 23, 31, 64, 67, 97, 131)

SHORT = 31
"""The longest length of attentions whose definition forms a matrix or pools of every query."""

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor,
    "transposed": lambda tensor: tensor.mT.contiguous().mT,
    "heads last": lambda tensor: tensor.transpose(1, 2).contiguous().transpose(1, 2),
    "sliced": lambda tensor: torch.cat([tensor, tensor], -1)[..., : tensor.shape[-1]],
    "every other": lambda tensor: torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2],
    "padded rows": lambda tensor: torch.cat([tensor, tensor], 2)[:, :, : tensor.shape[2]],
    "expanded": lambda tensor: tensor[:1].expand_as(tensor),
}
"""Memory layouts; "expanded" repeats the first sequence."""


@dataclass(frozen=True, eq=False)
class Case:
    """What `primaldual` is asked for.

    Attributes:
        number: that everything follows from.
        problem: bound, with parameters off their first values, float64, rounded to ``dtype``.
        inputs: query, key, value, float64, finite, rounded to ``dtype``.
        mask: bool, broadcasts to (batch, heads, Nq, Nk), or None.
        is_causal: whether a query sees later keys.
        dtype: that the attention is computed in.
        layouts: memory layouts of query, key, value.
        garbage: what stands where no query may look, instead of finite numbers.
        with_gradients: whether gradients are compared too.
    """

    number: int
    problem: PrimalProblem
    inputs: tuple[Tensor, Tensor, Tensor]
    mask: Tensor | None
    is_causal: bool
    dtype: torch.dtype
    layouts: tuple[str, str, str]
    garbage: float
    with_gradients: bool

    def __str__(self) -> str:
        shapes = " ".join(str(tuple(tensor.shape)) for tensor in self.inputs)
        mask = None if self.mask is None else tuple(self.mask.shape)
        return (
            f"case {self.number}: {self.problem.spec()}, {shapes}, mask {mask}, is_causal {self.is_causal}, "
            f"{self.dtype}, {', '.join(self.layouts)}, {self.garbage} where hidden"
        )


def draw_case(number: int) -> Case:
    """The case of a number; the same for ever.

    Example:
        >>> draw_case(3).problem.spec() == draw_case(3).problem.spec()
        True
    """
    random = Random(number)
    generator = torch.Generator().manual_seed(number)
    kv_heads = random.choice([1, 1, 2, 3])
    heads = kv_heads * random.choice([1, 1, 2, 3])
    batch = random.choice([0, 1, 2, 2, 3]) if random.random() < 0.3 else 2
    grid, prefix = None, 0
    if random.random() < 0.2:
        grid, prefix = (random.randint(1, 5), random.randint(1, 5)), random.choice([0, 0, 1, 2])
    head_dim = random.choice([1, 2, 3, 5, 8, 16])
    value_dim = random.choice([1, 3, 8, head_dim, head_dim])
    drawn_problem = preset(draw_spec(random, Place(heads, grid, prefix)))
    head_dim *= drawn_problem.solver.key_parts
    problem = prepared(drawn_problem, heads, head_dim, number)
    lengths = [length for length in LENGTHS if length <= SHORT or not _costly(problem)]
    key_length = query_length = random.choice(lengths)
    if grid is not None:
        key_length = query_length = prefix + grid[0] * grid[1]
    elif random.random() < 0.4:
        query_length = random.choice(lengths)
    dtype = random.choice([torch.float64] * 5 + [torch.float32] * 3 + [torch.bfloat16, torch.float16])
    shapes = ((batch, heads, query_length, head_dim), (batch, kv_heads, key_length, head_dim))
    drawn = [
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in (*shapes, (*shapes[1][:3], value_dim))
    ]
    drawn[1] = drawn[1] * torch.linspace(0.5, 1.5, head_dim, dtype=torch.float64) + random.choice(
        [0.0, 0.7, 3.0]
    )
    layouts = tuple(random.choice(list(LAYOUTS)) for _ in range(3))
    query, key, value = (
        LAYOUTS[name](tensor.to(dtype).double()).contiguous()
        if name == "expanded"
        else tensor.to(dtype).double()
        for name, tensor in zip(layouts, drawn, strict=True)
    )
    mask = draw_mask(random, generator, (batch, heads, query_length, key_length))
    return Case(
        number,
        problem.to(dtype).double(),
        (query, key, value),
        mask,
        random.random() < 0.5 or problem.solver.ordered,
        dtype,
        (layouts[0], layouts[1], layouts[2]),
        random.choice([0.0, torch.nan, torch.inf, 1e4]),
        random.random() < 0.6,
    )


def _costly(problem: PrimalProblem) -> bool:
    return problem.subset.by_feature or problem.solver.by_row


def draw_mask(random: Random, generator: torch.Generator, sizes: tuple[int, int, int, int]) -> Tensor | None:
    """None, padding on either side, holes, or any pattern, broadcast or whole; some rows may see nothing.

    Args:
        random: where choices come from.
        generator: where patterns come from.
        sizes: batch, heads, queries and keys.
    """
    batch, heads, queries, keys = sizes
    counts = torch.randint(0, keys + 1, (batch, 1, 1, 1), generator=generator)
    places = torch.arange(keys)
    return random.choice(
        [
            None,
            None,
            places < counts,
            places >= counts,
            torch.rand(batch, 1, 1, keys, generator=generator) > 0.3,
            (torch.rand(1, 1, 1, keys, generator=generator) > 0.3).expand(batch, heads, queries, keys),
            torch.rand(batch, heads, 1, keys, generator=generator) > 0.3,
            torch.rand(queries, keys, generator=generator) > 0.4,
            torch.rand(batch, 1, queries, keys, generator=generator) > 0.4,
            torch.rand(batch, heads, queries, keys, generator=generator) > 0.8,
        ]
    )
