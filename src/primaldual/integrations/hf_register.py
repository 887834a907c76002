"""Attention functions under names that transformers knows, each with its mask function, and tested for leaks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    bidirectional_mask_function,
    causal_mask_function,
    sdpa_mask,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from primaldual.errors import PrimalDualError, UnsupportedError
from primaldual.integrations import hf_layer_attributes as attributes
from primaldual.integrations.attention_sites import check_projected
from primaldual.integrations.hf_function import NAME, Outcome, converted_attention, solve
from primaldual.integrations.hf_names import accept_names, prefix_tokens
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.integrations.previous_values import ATTRIBUTE, Stack
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

USUAL = ("softmax", "linear", "bn", "sh", "bn+sh")


class NamedAttention:
    """An attention function that makes a problem of its spec for every kind of layer that calls it.

    Args:
        spec: of a problem without parameters.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.problems: dict[tuple[Any, ...], PrimalProblem] = {}
        self.lies: dict[int, bool] = {}
        self.stacked = any(need.of_previous for need in preset(spec).token_inputs)

    def __call__(
        self,
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
        """As :func:`primaldual.integrations.hf_function.converted_attention`."""
        problem = self._problem(module, query)
        if self.stacked and ATTRIBUTE not in vars(module):
            raise UnsupportedError(
                f"{NAME}_{self.spec} takes the values of the layer before, which only a built model hands on: build it with "
                "another attn_implementation and then call set_attn_implementation, or convert it"
            )
        return solve(problem, module, query, key, value, attention_mask, dropout, scaling, is_causal, kwargs)

    def _problem(self, module: nn.Module, query: Tensor) -> PrimalProblem:
        heads, head_dim = query.shape[1], query.shape[-1]
        layout = self._layout(getattr(module, "config", None), heads)
        scale = attributes.score_scale(module)
        kind = (heads, head_dim, scale, layout)
        found = self.problems.get(kind)
        if found is None:
            found = preset(self.spec)
            if found.subset.layout == SEQUENCE:
                found.subset.lay_out(layout)
            if scale is not None:
                found.feature_map = found.feature_map.rescaled(scale)
            found = self.problems[kind] = found.bind(heads, head_dim).eval()
        return found

    def _layout(self, config: Any, heads: int) -> Layout:
        """How the tokens of a model lie, where it matters and the spec does not state it."""
        if not self.lies.setdefault(heads, _depends_on_layout(self.spec, heads)):
            return SEQUENCE
        prefix = prefix_tokens(config)
        layout = attributes.vision_layout(config, prefix or 0)
        if layout != SEQUENCE and prefix is None:
            raise UnsupportedError(
                f"{NAME}_{self.spec} needs to know how many tokens stand before the patches, which only the model "
                "tells: call its set_attn_implementation again, convert it, or state it, as in sh(1,2,grid=14x14,prefix=1)"
            )
        return layout


def _depends_on_layout(spec: str, heads: int) -> bool:
    parts = preset(spec).parts()
    return parts.layout == SEQUENCE and parts.needs_layout(heads)


def register_converted() -> None:
    """Register the function of converted layers, and let transformers accept names."""
    accept_names(f"{NAME}_", lambda spec: _register(preset(spec)), _hand_on)
    if NAME not in ALL_ATTENTION_FUNCTIONS:
        _add(NAME, converted_attention)


def _hand_on(model: PreTrainedModel, name: str) -> None:
    """Let the layers of a model that has chosen a name hand on their values, where its attention needs them."""
    function = ALL_ATTENTION_FUNCTIONS[name]
    hand_on_values(model, preset(function.spec) if isinstance(function, NamedAttention) else None)


def register_names(attention: str | PrimalProblem | None) -> list[str]:
    """See :func:`primaldual.integrations.hf_attention.register`."""
    register_converted()
    if attention is None:
        return [_register(preset(spec)) for spec in USUAL] + [NAME]
    return [_register(preset(attention))]


def _register(problem: PrimalProblem) -> str:
    spec = problem.spec()
    name = f"{NAME}_{spec}"
    if name in ALL_ATTENTION_FUNCTIONS:
        return name
    check_projected(problem, stacked=True)
    heads = next((part.fixed_heads for part in problem.parts() if part.fixed_heads is not None), 4)
    bound = preset(spec).bind(heads, 8)
    if any(True for _ in bound.parameters()) or bound.train().transform.observes:
        raise UnsupportedError(
            f"attention {spec!r} has parameters or running statistics, which a function cannot hold: use "
            "primaldual.convert, which puts them into the model"
        )
    _add(name, NamedAttention(spec))
    try:
        check_leaks(name, problem, heads)
    except PrimalDualError:
        for interface in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS):
            interface._global_mapping.pop(name, None)
        raise
    return name


def _add(name: str, function: Any) -> None:
    ALL_ATTENTION_FUNCTIONS.register(name, function)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, boolean_mask)


def boolean_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Any = causal_mask_function,
    use_vmap: bool = False,
    **kwargs: Any,
) -> Tensor | None:
    """The mask of transformers' sdpa; where all queries attend the same keys, a single row of it, expanded.

    The strides then tell the attention, in compiled graphs too, that the mask depends on the keys alone.
    """
    same = mask_function is bidirectional_mask_function and not use_vmap
    found: Tensor | None = sdpa_mask(
        batch_size,
        1 if same else q_length,
        kv_length,
        mask_function=mask_function,
        use_vmap=use_vmap,
        **kwargs,
    )
    return found.expand(-1, -1, q_length, -1) if same and found is not None else found


def check_leaks(name: str, problem: PrimalProblem, heads: int) -> None:
    """Run a registered attention on a few tokens: none may see a later or a padded one.

    Raises:
        PrimalDualError: a token sees one.
    """
    layout = problem.parts().layout
    two_dimensional = problem.transform.two_dimensional or layout.grid is not None
    length = 2 if layout.grid is None else layout.prefix + layout.grid[0] * layout.grid[1]
    if two_dimensional:
        length = max(length, 4)
    tensors = torch.linspace(-1, 1, 3 * heads * length * 8).sin().view(3, 1, heads, length, 8)
    changed = tensors.clone()
    changed[:, :, :, -1] += 3.0
    causal = [] if two_dimensional else [(True, causal_mask_function, None)]
    layer, stack = nn.Module(), Stack(name, 1, False)
    vars(layer)[ATTRIBUTE] = stack
    padded = torch.ones(1, length, dtype=torch.bool)
    padded[:, -1] = False
    for is_causal, function, padding in [*causal, (False, bidirectional_mask_function, padded)]:
        mask = ALL_MASK_ATTENTION_FUNCTIONS[name](
            1, length, length, mask_function=function, attention_mask=padding,
            allow_is_causal_skip=is_causal,
        )  # fmt: skip
        outs = []
        for given in (tensors, changed):
            stack.enter(layer)
            stack.inputs(problem, problem, given[1])  # of a layer before
            with torch.no_grad():
                outs.append(
                    ALL_ATTENTION_FUNCTIONS[name](layer, *given, mask, is_causal=is_causal)[0][:, :-1]
                )
        if not torch.equal(*outs):
            kind = "later" if is_causal else "padded"
            raise PrimalDualError(f"{name} lets a token see a {kind} one; it is not registered")
