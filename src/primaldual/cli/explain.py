"""``primaldual explain``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError, PrimalDualError

if TYPE_CHECKING:
    import torch


class Mask(StrEnum):
    """What a mask distinguishes."""

    none = "none"
    padding = "padding"
    pairs = "pairs"


class Dtype(StrEnum):
    """Formats of the tensors."""

    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(StrEnum):
    """Where the tensors lie."""

    cpu = "cpu"
    cuda = "cuda"


_SIZES = "Sizes"
_MOST = 10**12


def explain(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help='An attention, such as "bn(beta=0.8)+sh".')],
    length: Annotated[
        int,
        typer.Option("--length", "-n", min=1, max=_MOST, help="Queries and keys.", rich_help_panel=_SIZES),
    ] = 1024,
    heads: Annotated[
        int, typer.Option(min=1, max=_MOST, help="Attention heads.", rich_help_panel=_SIZES)
    ] = 8,
    head_dim: Annotated[
        int, typer.Option(min=1, max=_MOST, help="Width of a head.", rich_help_panel=_SIZES)
    ] = 64,
    batch: Annotated[int, typer.Option(min=1, max=_MOST, help="Sequences.", rich_help_panel=_SIZES)] = 1,
    causal: Annotated[bool, typer.Option("--causal", help="Queries attend no later key.")] = False,
    mask: Annotated[
        Mask,
        typer.Option(help="padding: one mask for all queries; pairs: one for each."),
    ] = Mask.none,
    dtype: Annotated[Dtype, typer.Option(help="Format of the tensors.")] = Dtype.float32,
    device: Annotated[Device, typer.Option(help="Where the tensors lie; it is not used.")] = Device.cpu,
    as_json: options.AsJson = False,
) -> None:
    """Print which form computes an attention, what it costs, and why no other form serves.

    A form is a way to compute the same numbers: the first of a table that does not refuse is taken.

    Examples:
    $ primaldual explain bn --length 4096
    $ primaldual explain "bn+sh(1,1,2,4)" --heads 4 --causal
    $ primaldual explain "linear+window(64)" -n 2048 --mask padding
    $ primaldual explain softmax --mask pairs --json
    """
    import torch

    from primaldual.cli.explain_view import explanation_json, explanation_view
    from primaldual.cli.screen import Screen
    from primaldual.primal.presets import preset

    problem = preset(spec)
    shape = (batch, heads, length, head_dim)
    facts = {
        "batch": batch,
        "heads": heads,
        "length": length,
        "head_dim": head_dim,
        "causal": causal,
        "mask": mask.value,
        "dtype": dtype.value,
        "device": device.value,
    }
    try:
        found = problem.explain(
            shape,
            mask=_mask(mask, batch, length),
            is_causal=causal,
            dtype=getattr(torch, dtype.value),
            device=device.value,
        )
    except PrimalDualError as error:
        raise ArgumentError(
            f"{error} (from --heads {heads}, --head-dim {head_dim}, --length {length})"
        ) from error
    if as_json:
        print(explanation_json(found, facts))
        return
    screen = Screen()
    for part in [*explanation_view(found, facts)]:  # all or nothing
        screen.print(part)


def _mask(mask: Mask, batch: int, length: int) -> torch.Tensor | None:
    """A mask of that kind; what it holds does not matter, so pairs take no memory."""
    import torch

    if mask is Mask.none:
        return None
    shape = (batch, 1, 1, length) if mask is Mask.padding else (1, 1, length, length)
    return torch.ones((), dtype=torch.bool).expand(shape)
