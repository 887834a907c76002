"""Peers from other packages; their modules load when one of them is asked for."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.functional import elu

from benchmarks.performance.families import Family, rows, states
from benchmarks.performance.ours import attention_flops, features, features_flops
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import Setting, leaves, strided
from primaldual.errors import UnsupportedError


def quietly(name: str) -> Any:
    """A module, without the warnings of its import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def local_attention(spec: str, setting: Setting) -> Program:
    """LocalAttention of local-attention, whose window is exact."""
    match = re.fullmatch(r"window\((\d+)\)", spec)
    if match is None:
        raise UnsupportedError(f"local-attention does not compute {spec}")
    radius = int(match[1])
    if setting.length % radius:
        raise UnsupportedError(
            f"local-attention needs a length that is a multiple of the radius {radius}, or attends its own padding; "
            f"got {setting.length}"
        )
    if setting.padding:
        raise UnsupportedError(
            "local-attention gives a query without keys the mean of the values, where ours gives 0"
        )
    module = quietly("local_attention").LocalAttention(
        window_size=radius,
        causal=setting.is_causal,
        look_backward=1,
        look_forward=0 if setting.is_causal else 1,
        exact_windowsize=True,
        use_rotary_pos_emb=False,
    )
    return Program(module, leaves(setting), strided(setting, 3))


def performer_kernel(spec: str, setting: Setting) -> Program:
    """The attention of performer-pytorch on given features; causal as it runs without CUDA."""
    if spec != "elu" or setting.padding:
        raise UnsupportedError("performer-pytorch is compared on elu features without padding")
    return Program(_performer(setting), features(setting), strided(setting, 3))


def performer(spec: str, setting: Setting) -> Program:
    """The same with features elu(x) + 1 computed as part of it."""
    if spec != "linear" or setting.padding:
        raise UnsupportedError("performer-pytorch is compared on elu features without padding")
    attend = _performer(setting)

    def function(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(elu(query) + 1, elu(key) + 1, value)

    return Program(function, leaves(setting), strided(setting, 3))


def _performer(setting: Setting) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    module = quietly("performer_pytorch.performer_pytorch")
    return module.causal_linear_attention_noncuda if setting.is_causal else module.linear_attention


def linear_transformer(spec: str, setting: Setting) -> Program:
    """The attention of linear-attention-transformer, softmax features included."""
    if spec != "softmax" or setting.padding or setting.is_causal:
        raise UnsupportedError(
            "linear-attention-transformer is compared on its own features, not causal, without padding"
        )
    module = quietly("linear_attention_transformer.linear_attention_transformer")
    return Program(module.linear_attn, leaves(setting), strided(setting, 3))


FAMILIES = (
    Family(
        "local-attention",
        local_attention,
        rows(16),
        "primaldual",
        spec="window(64)",
        flops=attention_flops,
        package="local-attention",
    ),
    Family(
        "performer-pytorch",
        performer,
        states(1, 2),
        "primaldual",
        spec="linear",
        flops=attention_flops,
        package="performer-pytorch",
    ),
    Family(
        "performer-kernel",
        performer_kernel,
        states(1, 2),
        "factored",
        spec="elu",
        flops=features_flops,
        package="performer-pytorch",
    ),
    Family(
        "linear-attention-transformer",
        linear_transformer,
        rows(6),
        "softmax-features",
        flops=features_flops,
        package="linear-attention-transformer",
    ),
)
