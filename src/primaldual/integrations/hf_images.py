"""Images of any size in transformers' vision models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from primaldual.integrations.embedded_image import EmbeddedImage
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.attention import Attention


def embedded_image(
    owner: nn.Module, around: Sequence[nn.Module], layout: Layout, problem: Attention, heads: int
) -> EmbeddedImage | None:
    """What tells a layer's attention how the tokens of each image lie.

    Args:
        owner: the model that embeds the image.
        around: the modules from it down to the layer.
        layout: of the image that its config states.
        problem: the attention.
        heads: of the layer.

    Returns:
        None where it does not matter, where the attention states another layout than the config, and where the owner
        does not embed patches by one convolution: then the layout of the problem holds for all images.
    """
    asking = [
        part.subset.layout
        for part, members in problem.problems(heads)
        if part.parts().needs_layout(len(members))
    ]
    patches = [module for module in owner.modules() if _embeds_patches(module)]
    if layout == SEQUENCE or not asking or set(asking) != {layout} or len(patches) != 1:
        return None
    return EmbeddedImage(patches[0], (2, 3), layout.prefix, around, layout.grid)


def _embeds_patches(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == module.stride
        and max(module.kernel_size) > 1
        and module.padding in {(0, 0), "valid"}
    )
