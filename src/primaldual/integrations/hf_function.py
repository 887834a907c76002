"""The functions that transformers' models call as their attention."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from primaldual.errors import UnsupportedError
from primaldual.integrations import hf_layer_attributes as attributes
from primaldual.integrations.embedded_image import EmbeddedImage
from primaldual.integrations.hf_cache import StateLayer, layer_of
from primaldual.integrations.hf_masks import sort_mask
from primaldual.integrations.hf_padding import arrange
from primaldual.integrations.laid_out import laid_out
from primaldual.integrations.position_dependence import PositionDependence, check_lengths
from primaldual.integrations.previous_values import previous_inputs
from primaldual.kernels.modes import in_graph
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import Inputs

NAME = "primaldual"
"""The attention implementation of converted models."""

IMAGE = "_primaldual_image"
"""The attribute of a converted layer that tells how the tokens of an image lie."""

Outcome = tuple[Tensor, Tensor | None]


def converted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> Outcome:
    """Attend as ``module.problem`` says; a layer without one attends as its model did before.

    Args:
        module: the attention layer.
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        attention_mask: bool (True = attend) or additive float, (batch or 1, heads or 1, Nq, Nk); None = as
            ``is_causal`` says.
        dropout: probability of dropping an attention weight.
        scaling: the factor on the scores; None = 1 / sqrt(D).
        is_causal: None = as the layer says.
        **kwargs: what else a model passes; what changes the scores is refused.

    Returns:
        (batch, Nq, heads, Dv), and the attention map (batch, heads, Nq, Nk) where it is asked for, else None.

    Raises:
        ShapeError: tokens of an image that are not as many as its patches and lone tokens.
        UnsupportedError: an unsupported feature, see :data:`primaldual.integrations.hf_layer_attributes.REFUSED`.
    """
    problem = getattr(module, "problem", None)
    if isinstance(problem, Attention):
        image = getattr(module, IMAGE, None)
        if isinstance(image, EmbeddedImage):
            problem = laid_out(problem, query.shape[1], image.layout(key.shape[2]))
        return solve(problem, module, query, key, value, attention_mask, dropout, scaling, is_causal, kwargs)
    return _former(module)(
        module,
        query,
        key,
        value,
        attention_mask,
        dropout=dropout,
        scaling=scaling,
        is_causal=is_causal,
        **kwargs,
    )


def solve(
    problem: Attention,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    is_causal: bool | None,
    extras: dict[str, Any],
) -> Outcome:
    """A problem on the tensors of a layer; arguments as in :func:`converted_attention`."""
    _check_extras(extras)
    cached, key = layer_of(key)
    query, key = in_own_units(query, module, scaling).to(value.dtype), key.to(value.dtype)
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    inputs = previous_inputs(module, problem, value, cached is not None or query.shape[2] != key.shape[2])
    if query.shape[0] != key.shape[0]:
        query = query.expand(key.shape[0], -1, -1, -1)
    if cached is not None:
        return _over_states(
            cached, problem, module, query, key, value, attention_mask, dropout, causal, extras, inputs
        )
    found = sort_mask(attention_mask, causal, query.shape[2], key.shape[2])
    lengths = extras.get("cu_seq_lens_q")
    if lengths is not None and len(lengths) > 2 and found.pairs is None:
        raise UnsupportedError(
            f"cu_seq_lens_q packs {len(lengths) - 1} documents that the mask does not keep apart: give position_ids "
            "that restart with every document, without attention_mask and cache"
        )
    if (
        found.is_whole(query.shape[2], key.shape[2])
        and not _wants_weights(extras)
        and not extras.get("sliding_window")
    ):
        # Arranging and checking would take longer than a short attention itself.
        out = problem.attend(query, key, value, None, found.is_causal, dropout, inputs=inputs)
        return out.transpose(1, 2).contiguous(), None
    positions = PositionDependence.of(problem, query.shape[1])
    if not positions.count:
        found = found.without_padding_behind()
    if causal:
        _check_sliding_window(problem, query.shape[1], found.length, extras.get("sliding_window"))
    if in_graph() and positions.from_query and found.pairs is not None and query.shape[2] != found.length:
        raise UnsupportedError(
            f"{problem.spec()} needs to know where {query.shape[2]} queries stand among {found.length} keys, which a "
            "compiled graph with a cache of fixed size does not tell: process the prompt without compilation"
        )
    check_lengths(problem, positions, query.shape[2], found.length, causal)
    parts = arrange(positions, query, key, value, found, inputs)
    wanted = _wants_weights(extras)
    if parts and parts[0][0] is None:
        whole = parts[0][2]
        out = whole.outputs(problem, dropout)
        weights = whole.weights(problem) if wanted else None
        return out.transpose(1, 2).contiguous(), weights
    out = value.new_zeros(*query.shape[:3], value.shape[3])
    weights = value.new_zeros(*query.shape[:3], key.shape[2]) if wanted else None
    for row, places, part in parts:
        if part.query.shape[2]:
            out[row][:, places] = part.outputs(problem, dropout)[0]
            if weights is not None:
                weights[row][:, places] = part.weights(problem)[0]
    return out.transpose(1, 2).contiguous(), weights


def _check_extras(extras: dict[str, Any]) -> None:
    for name, feature in attributes.REFUSED.items():
        if extras.get(name) is not None:
            raise UnsupportedError(
                f"{name} must be None, because {feature} cannot be stated as a regression; got one"
            )


def _over_states(
    cached: StateLayer,
    problem: Attention,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    causal: bool,
    extras: dict[str, Any],
    inputs: Inputs | None,
) -> Outcome:
    """The outputs of new tokens, of which a decoding state keeps what the problem needs."""
    if dropout:
        raise UnsupportedError("dropout must be 0 over a cache of decoding states: call model.eval()")
    if attention_mask is None and not causal and query.shape[2] > 1:
        raise UnsupportedError(
            "is_causal must be True over a cache of decoding states, which takes tokens in order; got False"
        )
    if _wants_weights(extras):
        raise UnsupportedError(
            "output_attentions must be False over a cache of decoding states, which keeps no maps"
        )
    _check_sliding_window(problem, query.shape[1], cached.get_seq_length(), extras.get("sliding_window"))
    out = cached.attend(problem, module, query, key, value, attention_mask, inputs)
    return out.transpose(1, 2).contiguous(), None


def in_own_units(query: Tensor, module: nn.Module, scaling: float | None) -> Tensor:
    """Queries in the units that the layer's scale of scores expects: some layers scale them first and pass 1."""
    usual = query.shape[-1] ** -0.5
    declared = attributes.score_scale(module) or usual
    factor = (usual if scaling is None else scaling) / declared
    return query if math.isclose(factor, 1.0, rel_tol=1e-6) else query * factor


def _check_sliding_window(problem: Attention, heads: int, length: int, window: int | None) -> None:
    """Refuse pooled pairs whose first members a cache has dropped."""
    if window is None or length < window:
        return
    if any(part.subset.pools(len(members)) for part, members in problem.problems(heads)):
        raise UnsupportedError(
            f"{problem.spec()} in a layer with a sliding window of {window}: a cache forgets where pools begin; "
            f"got {length} keys"
        )


def _wants_weights(extras: dict[str, Any]) -> bool:
    """Whether the attention maps are asked for: by argument, or by a model that records what its layers return."""
    if extras.get("output_attentions"):
        return True
    collector = getattr(sys.modules.get("transformers.utils.output_capturing"), "_active_collector", None)
    if collector is None or torch.compiler.is_compiling():
        return False
    recorded = collector.get()
    return recorded is not None and any(name.endswith("attentions") for name in recorded)


def _former(module: nn.Module) -> Callable[..., Outcome]:
    """The function of a layer that was not converted, in a model that was."""
    entry = getattr(getattr(module, "config", None), NAME, None)
    name = entry.get("previous") if isinstance(entry, dict) else None
    if isinstance(name, str) and name.startswith(f"{NAME}_") and name in ALL_ATTENTION_FUNCTIONS:
        former: Callable[..., Outcome] = ALL_ATTENTION_FUNCTIONS[name]
        return former
    return sdpa_attention_forward
