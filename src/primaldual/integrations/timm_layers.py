"""The attention layers of timm's models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from timm.layers.attention import Attention as TimmAttention
from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.descriptions import Description, described
from primaldual.integrations.embedded_image import EmbeddedImage, grid_size
from primaldual.integrations.laid_out import laid_out
from primaldual.integrations.pruning import (
    check_prunable,
    keep_inputs,
    keep_outputs,
    keep_projected,
    pruned_problem,
)
from primaldual.integrations.timm_attention import (
    PrimalDualAttention,
    attention_class,
    input_projections,
    like,
    pools_before_projecting,
)
from primaldual.integrations.timm_positions import (
    Positions,
    SquareImage,
    UnknownLayout,
    unknown,
)
from primaldual.integrations.timm_register import register
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import learned

__all__ = ["SquareImage", "TimmSite", "attention_class", "find", "register"]


def find(model: nn.Module) -> list[AttentionSite]:
    """Every timm Attention, converted or not; models with attention classes of their own (EVA, Swin) have none."""
    return [
        TimmSite(model, path)
        for path, module in model.named_modules()
        if type(module) is TimmAttention or isinstance(module, PrimalDualAttention)
    ]


class TimmSite(AttentionSite):
    """A timm Attention; conversion gives the same object another class and a problem."""

    @property
    def layer(self) -> TimmAttention:
        """The layer as it is now."""
        return cast("TimmAttention", self.module)

    @property
    def heads(self) -> int:
        return self.layer.num_heads

    @property
    def kv_heads(self) -> int:
        return self.layer.num_heads

    @property
    def head_dim(self) -> int:
        return self.layer.head_dim

    @property
    def is_causal(self) -> bool:
        return False

    @property
    def layout(self) -> Layout:
        owner = self._owner()
        return (
            UnknownLayout()
            if owner is None
            else Layout(grid_size(owner.patch_embed), owner.num_prefix_tokens)
        )

    @property
    def score_scale(self) -> float | None:
        scale, usual = self.layer.scale, self.layer.head_dim**-0.5
        # The fused path of timm does not read the attribute.
        return None if self.layer.fused_attn or math.isclose(scale, usual) else scale

    @property
    def problem(self) -> Attention | None:
        return self.layer.problem if isinstance(self.layer, PrimalDualAttention) else None

    def described(self) -> Description | None:
        layer = self.layer
        if isinstance(layer, PrimalDualAttention) and isinstance(layer.positions, SquareImage):
            return described(laid_out(layer.problem, self.heads, self.layout), self.heads)
        return super().described()

    @property
    def token_widths(self) -> tuple[int, int]:
        width = self.layer.qkv.in_features
        return width, width

    @property
    def pools_before_projecting(self) -> bool:
        return pools_before_projecting(self.layer)

    def convert(self, problem: Attention) -> None:
        layer, positions = self.layer, self._positions(problem)
        if isinstance(layer, PrimalDualAttention):
            _forget(layer)
        else:
            layer.__class__ = PrimalDualAttention
        assert isinstance(layer, PrimalDualAttention)
        layer.problem, layer.positions = like(problem, layer), positions
        present = getattr(layer, "input_proj", None)
        if present is None or present.needs != learned(problem.token_inputs):
            layer.input_proj = input_projections(problem, layer)

    def revert(self) -> None:
        layer = self.layer
        if isinstance(layer, PrimalDualAttention) and type(layer) is PrimalDualAttention:
            _forget(layer)
            del layer.problem, layer.positions, layer.input_proj
            self.layer.__class__ = TimmAttention

    def prune(self, keep: Sequence[int]) -> None:
        layer, gate = self.layer, getattr(self.layer, "gate", None)
        if type(layer.norm) is not nn.Identity:
            raise UnsupportedError(
                f"{self.path} has a {type(layer.norm).__name__} over all heads together (scale_norm), so removing "
                "some heads would change the others"
            )
        outputs = [layer.qkv] if gate is None else [layer.qkv, gate]
        check_prunable(*outputs, layer.proj)
        if isinstance(layer, PrimalDualAttention):
            layer.problem = pruned_problem(layer.problem, keep, layer.num_heads)
            if layer.input_proj is not None:
                keep_projected(layer.input_proj, keep, layer.head_dim)
        for projection, packs in zip(outputs, (3, 1), strict=False):
            keep_outputs(projection, keep, layer.head_dim, packs)
        keep_inputs(layer.proj, keep, layer.head_dim)
        layer.num_heads = len(keep)
        layer.attn_dim = len(keep) * layer.head_dim

    def _positions(self, problem: Attention) -> Positions | None:
        """States how tokens lie; None where the problem states it, or where it does not matter."""
        asking = []
        for part, members in problem.problems(self.heads):
            needed = part.parts().needs_layout(len(members))
            if isinstance(part.subset.layout, UnknownLayout):
                part.subset.lay_out(SEQUENCE)
                part.subset.lay_out(part.parts().layout)
                if needed and part.subset.layout == SEQUENCE:
                    raise unknown()
            if needed:
                asking.append(part.subset.layout)
        path, here = self._owner_path(), self.layout
        if path is None or not asking or any(layout != here for layout in asking):
            return None
        owner: Any = self.model.get_submodule(path)
        dynamic = getattr(owner, "dynamic_img_size", False)
        return EmbeddedImage(owner.patch_embed, (1, 2), here.prefix, self._around(path) if dynamic else ())

    def _owner(self) -> Any:
        """The nearest model around the layer that embeds patches and says how many tokens stand before them."""
        path = self._owner_path()
        return None if path is None else self.model.get_submodule(path)

    def _owner_path(self) -> str | None:
        path = self.path
        while path:
            path = path.rpartition(".")[0]
            around = self.model.get_submodule(path)
            grid = getattr(getattr(around, "patch_embed", None), "grid_size", None)
            if grid is not None and hasattr(around, "num_prefix_tokens"):
                return path
        return None

    def _around(self, owner: str) -> list[nn.Module]:
        """The modules below the owner that hold the layer, and the layer."""
        names = self.path[len(owner) :].strip(".").split(".")
        root = self.model.get_submodule(owner)
        return [root.get_submodule(".".join(names[: count + 1])) for count in range(len(names))]


def _forget(layer: PrimalDualAttention) -> None:
    if isinstance(layer.positions, EmbeddedImage):
        layer.positions.forget()
