"""Attentions of this library under names that timm's models take as ``attn_layer``."""

from __future__ import annotations

from timm.models import vision_transformer

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.timm_attention import PrimalDualAttention, attention_class
from primaldual.integrations.timm_positions import SquareImage
from primaldual.kernels.layout import Layout
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

USUAL = ("softmax", "linear", "bn")
"""Attentions that need no layout."""


def register(
    attention: str | PrimalProblem | None = None, *, layout: Layout | SquareImage | None = None
) -> list[str]:
    """Give timm this library's attentions by name; doing it again changes nothing.

    Args:
        attention: a spec or problem, for the name ``"primaldual_<spec>"``; None = the usual ones.
        layout: how tokens lie, as for :func:`primaldual.integrations.timm_layers.attention_class`.

    Returns:
        The names, for ``timm.create_model(..., attn_layer=name)``.

    Raises:
        ArgumentError: a name that was registered with another layout.
        UnsupportedError: a timm that takes no names.

    Example:
        >>> import timm
        >>> [name] = register("bn(beta=0.8)")
        >>> model = timm.create_model("deit_tiny_patch16_224", img_size=32, depth=1, attn_layer=name)
        >>> model.blocks[0].attn.problem.spec()
        'bn(beta=0.8)'
    """
    if attention is None:
        return [name for spec in USUAL for name in register(spec, layout=layout)]
    layers = getattr(vision_transformer, "ATTN_LAYERS", None)
    if layers is None:
        raise UnsupportedError("this version of timm takes no names; give attn_layer=attention_class(...)")
    problem = preset(attention)
    name = f"primaldual_{problem.spec()}"
    former = layers.get(name)
    if former is None:
        layers[name] = attention_class(attention if isinstance(attention, str) else problem, layout=layout)
    elif issubclass(former, PrimalDualAttention) and former.made_from and former.made_from[1] != layout:
        raise ArgumentError(f"{name} is registered with layout {former.made_from[1]}; got {layout}")
    return [name]
