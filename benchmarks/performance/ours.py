"""What is ours: the attentions, the layer, the factored kernel, and their definitions to check them by."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from benchmarks.performance.families import Family, matrices, rows
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import DTYPES, Setting, key_mask, leaves, strided
from primaldual.analysis import layer_flops, mixing_flops
from primaldual.errors import UnsupportedError
from primaldual.kernels.linear import linear_attention
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.presets import preset


def attention(spec: str, setting: Setting, definition: bool = False) -> Program:
    """`PrimalProblem.attend`, or `PrimalProblem.dense`."""
    problem = preset(spec).bind(setting.heads, setting.head_dim).to(DTYPES[setting.dtype])
    function = partial(
        problem.dense if definition else problem.attend, mask=key_mask(setting), is_causal=setting.is_causal
    )
    return Program(function, leaves(setting), strided(setting, 3))


def attention_flops(spec: str, setting: Setting) -> int:
    """Operations of one forward pass; a causal softmax has half of the pairs, and the diagonal.

    Example:
        >>> attention_flops("softmax", Setting(10, heads=4, head_dim=16))
        25600
    """
    problem = preset(spec).bind(setting.heads, setting.head_dim)
    count = setting.batch * mixing_flops(problem, setting.heads, setting.head_dim, setting.length)
    if setting.is_causal and problem.feature_map.feature_count(setting.head_dim) is None:
        return round(count * (setting.length + 1) / (2 * setting.length))
    return count


def sequence(setting: Setting, seed: int = 0) -> Tensor:
    """Input of a layer, (batch, N, heads * head_dim)."""
    return strided(setting, seed).transpose(1, 2).flatten(2).contiguous()


def rounded_parameters(layer: nn.Module) -> tuple[nn.Parameter, ...]:
    """Parameters, drawn anew from a fixed seed as numbers that bfloat16 holds."""
    generator = torch.Generator().manual_seed(4)
    parameters = tuple(layer.parameters())
    with torch.no_grad():
        for parameter in parameters:
            drawn = torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5
            parameter.copy_(drawn.to(torch.bfloat16))
    return parameters


def built_layer(spec: str, setting: Setting) -> MultiheadAttention:
    """Our layer; its softmax form has the weights of `nn.MultiheadAttention` with the same seed."""
    width, dtype = setting.heads * setting.head_dim, DTYPES[setting.dtype]
    source = nn.MultiheadAttention(width, setting.heads, batch_first=True)
    rounded_parameters(source)
    layer = MultiheadAttention(width, setting.heads, batch_first=True, attention=spec)
    layer.load_state_dict(source.state_dict())
    return layer.to(dtype)


def layer(spec: str, setting: Setting, definition: bool = False) -> Program:
    """The whole layer with its projections."""
    module = built_layer(spec, setting)
    if setting.is_causal or setting.padding:
        raise UnsupportedError("whole layers are compared without masks")

    def fast(inputs: Tensor) -> Tensor:
        return module(inputs, inputs, inputs, need_weights=False)[0]

    def defined(inputs: Tensor) -> Tensor:
        parts = (module.q_proj, module.k_proj, module.v_proj)
        heads = (part(inputs).unflatten(-1, (setting.heads, -1)).transpose(1, 2) for part in parts)
        return module.out_proj(module.problem.dense(*heads).transpose(1, 2).flatten(2))

    inputs = sequence(setting).requires_grad_()
    return Program(
        defined if definition else fast, (inputs,), sequence(setting, 3), tuple(module.parameters())
    )


def whole_layer_flops(spec: str, setting: Setting) -> int:
    """Operations of projections and mixing."""
    return setting.batch * layer_flops(built_layer(spec, setting), setting.length).total


def features(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """elu(x) + 1 of queries and keys, and values: what both sides of a comparison of factored kernels are given."""
    query, key, value = (strided(setting, seed) for seed in range(3))
    query, key, value = (part.detach().requires_grad_() for part in (elu(query) + 1, elu(key) + 1, value))
    return query, key, value


def factored(spec: str, setting: Setting, definition: bool = False) -> Program:
    """The factored kernel on given features, or the same through the matrix of kernels."""
    del spec
    if setting.padding:
        raise UnsupportedError("factored kernels are compared without padding")

    def defined(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        kernel = query @ key.transpose(-2, -1)
        kernel = kernel.tril() if setting.is_causal else kernel
        return kernel / kernel.sum(-1, keepdim=True) @ value

    fast = partial(linear_attention, is_causal=setting.is_causal)
    return Program(defined if definition else fast, features(setting), strided(setting, 3))


def softmax_features(spec: str, setting: Setting, definition: bool = False) -> Program:
    """Features of "efficient attention": softmax of queries over features, and of keys over the keys."""
    del spec
    if setting.padding or setting.is_causal:
        raise UnsupportedError("softmax features are compared without masks")

    def function(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key = query.softmax(-1) * query.shape[-1] ** -0.5, key.softmax(-2)
        if definition:
            return query @ key.transpose(-2, -1) @ value
        return linear_attention(query, key, value, normalize=False)

    return Program(function, leaves(setting), strided(setting, 3))


def features_flops(spec: str, setting: Setting) -> int:
    """Operations on D features."""
    del spec
    return attention_flops("linear", setting)


FAMILIES = (
    Family("primaldual", attention, rows(8), "definition", flops=attention_flops, ours=True),
    Family("definition", partial(attention, definition=True), matrices(4, 8), "definition", ours=True),
    Family("layer", layer, rows(10), "layer-definition", flops=whole_layer_flops, ours=True),
    Family("layer-definition", partial(layer, definition=True), matrices(4, 8), "layer", ours=True),
    Family("factored", factored, rows(4), "factored-definition", flops=features_flops, ours=True, spec="elu"),
    Family(
        "factored-definition",
        partial(factored, definition=True),
        matrices(3, 6),
        "factored",
        ours=True,
        spec="elu",
    ),
    Family(
        "softmax-features",
        softmax_features,
        rows(6),
        "softmax-features-definition",
        flops=features_flops,
        ours=True,
    ),
    Family(
        "softmax-features-definition",
        partial(softmax_features, definition=True),
        matrices(2, 4),
        "softmax-features",
        ours=True,
    ),
)
