"""timm's Attention with a primal problem in place of softmax."""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import MutableMapping
from copy import deepcopy
from functools import cache
from typing import Any, TypeVar, cast

import torch
from timm.layers.attention import Attention as TimmAttention
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_stamp import StampedAttention
from primaldual.integrations.laid_out import laid_out
from primaldual.integrations.packed_projection import PackedSource, plain
from primaldual.integrations.timm_positions import Positions, SquareImage
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import from_torch_mask, read_mask
from primaldual.nn.input_projections import InputProjections
from primaldual.nn.inputs import clean
from primaldual.nn.projection import pools_first
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import check_given

Part = TypeVar("Part", bound=nn.Module)


class AttentionClass(type):
    """The type of our attention classes: those of :func:`attention_class` are pickled by what they are made from."""

    made_from: tuple[str | PrimalProblem, Layout | SquareImage | None] | None = None


def _reduce(cls: AttentionClass) -> str | tuple[Any, ...]:
    made_from = vars(cls).get("made_from")
    return cls.__qualname__ if made_from is None else (_rebuilt, made_from)


copyreg.pickle(AttentionClass, _reduce)


class PrimalDualAttention(StampedAttention, TimmAttention, metaclass=AttentionClass):
    """timm's Attention of any primal problem: a sum of heads, each a support vector regression.

    Constructor, parameters and their names are timm's, whose state_dicts load and leave the problem as it is. A
    state_dict of this layer has what the problem learns under ``problem``, and its spec, so that a layer of timm or of
    another attention refuses it.

    Attributes:
        problem: the attention of the heads.
        positions: states how the tokens of a call lie; None where it does not matter or the problem states it.
        input_proj: projects what the problem needs of every token besides; None where it needs nothing.
    """

    positions: Positions | None
    input_proj: InputProjections | None

    __signature__ = inspect.signature(TimmAttention)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        attention, layout = type(self).made_from or ("softmax", None)
        problem = deepcopy(preset(attention)).bind(self.num_heads, self.head_dim)
        check_given(problem.spec(), problem.token_inputs, "a layer that does not see its model")
        stated = problem.parts().layout
        self.positions = layout if isinstance(layout, SquareImage) and stated == SEQUENCE else None
        if stated == SEQUENCE and isinstance(layout, Layout):
            stated = layout
        elif stated == SEQUENCE and layout is None and problem.parts().needs_layout(self.num_heads):
            raise UnsupportedError(
                f"{problem.spec()} needs to know how tokens lie: give attention_class a layout, as "
                "SquareImage(prefix=1) or Layout(), or convert the model that is built"
            )
        problem.subset.lay_out(stated)
        self.problem = like(problem, self)
        self.input_proj = input_projections(problem, self)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attend.

        Args:
            x: (batch, N, dim).
            attn_mask: broadcastable to (batch, heads, N, N): bool True = attend, or float 0 (attend) and -inf.
            is_causal: query i attends no key after its own position (as well as what the mask says).

        Returns:
            (batch, N, dim); a token that attends no key gets the output projection of 0.

        Raises:
            ShapeError: a mask that does not fit, or another number of tokens than the layout has.
            ArgumentError: a float mask with other numbers, which are biases.
        """
        batch, length, _ = x.shape
        problem = self.problem
        if self.positions is not None:
            problem = laid_out(problem, self.num_heads, self.positions.layout(length))
        mask = None if attn_mask is None else _may_attend(attn_mask)
        attendable = read_mask(mask, is_causal, batch, self.num_heads, length, length)
        alike = attendable.pairs is None and (attendable.keys is None or attendable.keys.shape[1] == 1)
        keys = x
        if alike and attendable.keys is not None:
            x, keys, _ = clean((x, x, x), attendable)
        inputs = None if self.input_proj is None else self.input_proj(x, keys)
        dropout_p = self.attn_drop.p if self.training else 0.0
        if alike and pools_first(problem, self.num_heads, x.device) and pools_before_projecting(self):
            source = PackedSource(keys, self.qkv, self.num_heads, self.head_dim)
            mixed = problem(self.q_norm(source.query(x)), source, attendable, dropout_p, inputs)
        else:
            packed = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
            query, key, value = packed.unbind(0)
            query, key = self.q_norm(query), self.k_norm(key)
            mixed = problem.attend(query, key, value, mask, is_causal, dropout_p, inputs=inputs)
        out = self.norm(mixed.transpose(1, 2).flatten(2))
        gate = getattr(self, "gate", None)
        if gate is not None:
            out = out * gate(x).sigmoid()
        projected: Tensor = self.proj_drop(self.proj(out))
        return projected

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, part in (("problem", self.problem), ("input_proj", self.input_proj)):
            own = f"{prefix}{name}."
            if part is not None and not any(key.startswith(own) for key in state_dict):
                state_dict.update({own + key: tensor for key, tensor in part.state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def attention_class(
    attention: str | PrimalProblem, *, layout: Layout | SquareImage | None = None
) -> type[PrimalDualAttention]:
    """A class to build timm's models with: ``timm.create_model(..., attn_layer=attention_class("bn"))``.

    A layer does not see its model, so what pools or convolves must be told how tokens lie;
    :func:`primaldual.convert` on a model that exists reads it from the model instead.

    Args:
        attention: a spec such as ``"bn+sh(1,2,4)"``, or a PrimalProblem, of which every layer gets a copy.
        layout: how the tokens lie, unless the attention says it: a :class:`SquareImage` of any size, or one
            ``Layout``, of which ``Layout()`` is a plain sequence.

    Returns:
        The same class for the same spec and layout. Models built with it can be pickled.

    Raises:
        SpecError: the spec cannot be read.
        UnsupportedError: from the class, for an attention that needs a layout where none is stated.

    Example:
        >>> import timm, torch
        >>> heads = attention_class("bn+sh(1,2,4)", layout=SquareImage(prefix=1))
        >>> model = timm.create_model("deit_tiny_patch16_224", img_size=64, depth=1, attn_layer=heads)
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    if isinstance(attention, str):
        return _class_of_spec(attention, layout)
    return _made(deepcopy(preset(attention)), layout)


@cache
def _class_of_spec(spec: str, layout: Layout | SquareImage | None) -> type[PrimalDualAttention]:
    preset(spec)
    return _made(spec, layout)


def _made(attention: str | PrimalProblem, layout: Layout | SquareImage | None) -> type[PrimalDualAttention]:
    contents = {
        "made_from": (attention, layout),
        "__module__": __name__,
        "__doc__": PrimalDualAttention.__doc__,
    }
    return cast(
        "type[PrimalDualAttention]", AttentionClass("PrimalDualAttention", (PrimalDualAttention,), contents)
    )


def _rebuilt(
    attention: str | PrimalProblem, layout: Layout | SquareImage | None
) -> type[PrimalDualAttention]:
    return attention_class(attention, layout=layout)


def _may_attend(mask: Tensor) -> Tensor:
    """timm's mask in our polarity, which is timm's for booleans; float 0 / -inf are read as torch's."""
    return mask if mask.dtype == torch.bool else from_torch_mask(mask, "attn_mask")


def pools_before_projecting(layer: TimmAttention) -> bool:
    """Whether means of inputs give the means of keys: nothing but a plain linear map lies between."""
    return type(layer.k_norm) is nn.Identity and plain(layer.qkv)


def input_projections(problem: Attention, layer: TimmAttention) -> InputProjections | None:
    """Fresh projections of what a problem needs of every token of a layer, on its device and in its precision."""
    width = layer.qkv.in_features
    made = InputProjections.of(problem, layer.num_heads, layer.head_dim, query_width=width, key_width=width)
    return None if made is None else like(made, layer)


def like(problem: Part, layer: TimmAttention) -> Part:
    """Move a problem or what belongs to it to a layer's device, precision and mode."""
    weight = layer.proj.weight
    dtype = weight.dtype if weight.is_floating_point() else None
    return problem.to(device=weight.device, dtype=dtype).train(layer.training)
