"""The layout of positions as an argument of one call, in place of a state of the attention."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from primaldual.kernels.layout import Layout
from primaldual.primal.attention import Attention
from primaldual.primal.subsets import Subset

M = TypeVar("M", bound=nn.Module)


def laid_out(attention: Attention, heads: int, layout: Layout) -> Attention:
    """An attention with another layout, which shares all parameters, buffers and hooks with the given one.

    Made for a single call, so that calls in other threads, and the recomputation of earlier ones, keep their own.

    Args:
        attention: left as it is.
        heads: query heads.
        layout: of the positions of the call.

    Example:
        >>> from primaldual.primal.presets import preset
        >>> pooled = preset("sh(1,2)")
        >>> laid_out(pooled, 2, Layout((4, 4), 1)).spec(), pooled.spec()
        ('sh(1,2,grid=4x4,prefix=1)', 'sh(1,2)')
    """
    if all(problem.subset.layout == layout for problem, _ in attention.problems(heads)):
        return attention
    return _view(attention, layout)


def _view(module: M, layout: Layout) -> M:
    view = object.__new__(type(module))
    vars(view).update(vars(module))
    if isinstance(view, Subset):
        view.lay_out(layout)
        return view
    vars(view)["_modules"] = {
        name: _view(child, layout) if isinstance(child, Attention | nn.ModuleList | Subset) else child
        for name, child in module._modules.items()
    }
    return view
