"""Cut heads out of transformers' attention layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations import hf_layer_attributes as attributes
from primaldual.integrations.pruning import check_prunable, keep_inputs, keep_outputs

OUTPUTS = ("o_proj", "out_proj", "out_lin", "o", "c_proj", "dense")
WIDTHS = ("all_head_size", "inner_dim", "split_size")


def prune_heads(
    owner: nn.Module, module: nn.Module, keep: Sequence[int], heads: int, kv_heads: int, head_dim: int
) -> None:
    """Keep some heads in a layer's projections, and in the numbers that its forward reads.

    Raises:
        ArgumentError: no heads, or some that the layer does not have.
        UnsupportedError: projections that are not known, or heads that share keys with heads that stay.
    """
    if not keep or min(keep) < 0 or max(keep) >= heads:
        raise ArgumentError(f"keep must name heads among 0 to {heads - 1}; got {list(keep)}")
    groups = heads // kv_heads
    kept_keys = sorted({head // groups for head in keep})
    if len(kept_keys) * groups != len(keep):
        raise UnsupportedError(
            f"keep must hold all or none of the {groups} heads that share a key head; got {list(keep)}"
        )
    output = _output(owner, module)
    packed = getattr(module, "c_attn", None)
    if packed is not None:
        cross = getattr(module, "q_attn", None)
        inner = [(packed, keep, 3)] if cross is None else [(packed, keep, 2), (cross, keep, 1)]
    else:
        query, key, value = (
            _child(module, names) for names in (attributes.QUERIES, attributes.KEYS, attributes.VALUES)
        )
        inner = [(query, keep, 1), (key, kept_keys, 1), (value, kept_keys, 1)]
    _check(module, [projection for projection, _, _ in inner], output, heads, kv_heads, head_dim)
    for projection, kept, packs in inner:
        keep_outputs(projection, kept, head_dim, packs)
    keep_inputs(output, keep, head_dim)
    _set(module, attributes.HEADS, len(keep))
    _set(module, attributes.KV_HEADS, len(kept_keys))
    _set(module, WIDTHS, len(keep) * head_dim)
    if "embed_dim" in attributes.names_used(module):
        _set(module, ("embed_dim",), len(keep) * head_dim)


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module:
    for name in names:
        child = getattr(module, name, None)
        if isinstance(child, nn.Module):
            return child
    raise UnsupportedError(
        f"heads can only be cut out of a layer that has one of the projections {names}; {type(module).__name__} has none"
    )


def _output(owner: nn.Module, module: nn.Module) -> nn.Module:
    """The projection behind the heads: in the layer, or beside it as in BERT."""
    for name in OUTPUTS:
        child = getattr(module, name, None)
        if isinstance(child, nn.Module):
            return child
    for parent in owner.modules():
        if any(child is module for child in parent.children()):
            beside = getattr(getattr(parent, "output", None), "dense", None)
            if isinstance(beside, nn.Module):
                return beside
    raise UnsupportedError(
        f"the output projection of {type(module).__name__} is unknown, so no head can be removed"
    )


def _check(
    module: nn.Module, inner: list[nn.Module], output: nn.Module, heads: int, kv_heads: int, head_dim: int
) -> None:
    check_prunable(*inner, output)
    known = {id(parameter) for part in (*inner, output) for parameter in part.parameters()}
    if isinstance(problem := getattr(module, "problem", None), nn.Module):
        known |= {id(parameter) for parameter in problem.parameters()}
    for name, parameter in module.named_parameters():
        if id(parameter) not in known and parameter.numel() != head_dim:
            raise UnsupportedError(
                f"{type(module).__name__} has parameters {name}, and which of them belong to which head is unknown"
            )
    expected = {heads * head_dim, kv_heads * head_dim} | {packs * heads * head_dim for packs in (2, 3)}
    for projection in inner:
        rows = (
            projection.out_features if isinstance(projection, nn.Linear) else getattr(projection, "nf", None)
        )
        if rows not in expected:
            raise UnsupportedError(
                f"a projection of {type(module).__name__} has {rows} outputs, which are not {heads} heads of {head_dim}"
            )


def _set(module: nn.Module, names: tuple[str, ...], number: int) -> None:
    for name in names:
        if isinstance(getattr(module, name, None), int):
            setattr(module, name, number)
