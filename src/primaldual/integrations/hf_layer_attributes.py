"""What the attributes of transformers' attention layers tell: heads, widths, scale of the scores, layout."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from types import CodeType
from typing import Any

from torch import Tensor, nn

from primaldual.kernels.layout import SEQUENCE, Layout

REFUSED = {
    "softcap": "soft-capped scores",
    "position_bias": "a position bias on the scores",
    "s_aux": "attention sinks",
    "sinks": "attention sinks",
    "indices": "a sparse index of keys",
    "block_indices": "a sparse index of keys",
}
"""Arguments of attention functions that this library does not support, and the features they stand for."""

HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
KV_HEADS = ("num_key_value_heads", "kv_heads", "num_kv_heads")
HEAD_DIM = ("head_dim", "attention_head_size", "qk_head_dim", "key_value_proj_dim", "head_size")
QUERIES = ("q_proj", "query", "q_lin", "q")
KEYS = ("k_proj", "key", "k_lin", "k")
VALUES = ("v_proj", "value", "v_lin", "v")
PREFIX_TOKENS = ("cls_token", "class_embedding", "distillation_token", "register_tokens", "dist_token")


def calls_interface(module: nn.Module) -> bool:
    """Whether the layer's class attends through the functions that can be registered with transformers."""
    code = _code(module)
    return code is not None and {"ALL_ATTENTION_FUNCTIONS", "get_interface"} <= set(code.co_names)


def heads(module: nn.Module) -> int | None:
    """Query heads, None if the layer does not tell."""
    found = _number(module, HEADS)
    if found is None and (width := _width(module, QUERIES)) and (size := head_dim(module)):
        found = width // size
    return found or _number(getattr(module, "config", None), HEADS)


def kv_heads(module: nn.Module) -> int | None:
    """Heads of keys and values, None if the layer does not tell."""
    found = _number(module, KV_HEADS)
    if found is None and (width := _width(module, KEYS)) and (size := head_dim(module)):
        found = width // size
    if found is None and (groups := _number(module, ("num_key_value_groups",))) and (count := heads(module)):
        found = count // groups
    return found or heads(module)


def head_dim(module: nn.Module) -> int | None:
    """Width of queries and keys in a head, None if the layer does not tell."""
    found = _number(module, HEAD_DIM)
    if found is None:
        config = getattr(module, "config", None)
        found = _number(config, HEAD_DIM)
        count = _number(module, HEADS) or _number(config, HEADS)
        width = _number(config, ("hidden_size",))
        if found is None and count and width:
            found = width // count
    return found


def score_scale(module: nn.Module) -> float | None:
    """The factor on the scores, None if it is 1 / sqrt(head_dim)."""
    scale = getattr(module, "scaling", getattr(module, "scale", None))
    size = head_dim(module)
    if not isinstance(scale, int | float) or not size or math.isclose(scale, size**-0.5, rel_tol=1e-6):
        return None
    return float(scale)


def is_cross_attention(module: nn.Module) -> bool:
    """Whether a layer attends the keys of another sequence, as far as it says."""
    if getattr(module, "is_cross_attention", False) is True or "CrossAttention" in type(module).__name__:
        return True
    return getattr(module, "is_decoder", False) is True and getattr(module, "is_causal", None) is False


def unsupported_feature(module: nn.Module) -> str | None:
    """A feature of the layer's scores that this library does not support; None if there is none."""
    cap = getattr(module, "attn_logit_softcapping", None)
    if cap is None:
        cap = getattr(getattr(module, "config", None), "attn_logit_softcapping", None)
    if cap is not None:
        return f"soft-capped scores (attn_logit_softcapping={cap:g})"
    if isinstance(getattr(module, "scaling", None), Tensor):
        return "a learned scale of its scores"
    passed = set(_names(_code(module)))
    for name, feature in REFUSED.items():
        if name in passed and name != "softcap":
            return f"{feature} ({name})"
    return None


def vision_layout(config: Any, prefix: int) -> Layout:
    """The grid of patches of a vision model behind ``prefix`` tokens; a plain sequence for other models."""
    image, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if image is None or patch is None or getattr(config, "num_frames", None) is not None:
        return SEQUENCE
    sides = [_pair(image), _pair(patch)]
    if None in sides or any(side < 1 for pair in sides if pair for side in pair):
        return SEQUENCE
    (rows, columns), (height, width) = (pair for pair in sides if pair)
    grid = (rows // height, columns // width)
    return Layout(grid, prefix) if min(grid) >= 1 else SEQUENCE


def prefix_tokens(model: nn.Module) -> int:
    """Class, distillation and register tokens that the embeddings of a vision model put in front."""
    count = 0
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in PREFIX_TOKENS:
            count += parameter.shape[-2] if parameter.dim() > 1 else 1
    return count


def _pair(side: Any) -> tuple[int, int] | None:
    if isinstance(side, int):
        return side, side
    if isinstance(side, list | tuple) and len(side) == 2:
        return int(side[0]), int(side[1])
    return None


def _number(holder: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = getattr(holder, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _width(module: nn.Module, names: tuple[str, ...]) -> int | None:
    for name in names:
        width = getattr(getattr(module, name, None), "out_features", None)
        if isinstance(width, int):
            return width
    return None


def _code(module: nn.Module) -> CodeType | None:
    forward = inspect.unwrap(type(module).forward)
    return getattr(forward, "__code__", None)


def _names(code: CodeType | None) -> Iterator[str]:
    """Names of keyword arguments and variables in a function's code."""
    if code is None:
        return
    yield from code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, tuple):
            yield from (word for word in constant if isinstance(word, str))


def names_used(module: nn.Module) -> set[str]:
    """Attributes and functions that the layer's forward reads."""
    code = _code(module)
    return set() if code is None else set(code.co_names)
