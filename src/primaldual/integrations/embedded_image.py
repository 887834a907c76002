"""How the tokens of a call lie, in models that take images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from threading import Lock, local
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from primaldual.kernels.layout import Layout
from primaldual.kernels.modes import in_graph

Grid = tuple[int, int]


class EmbeddedImage:
    """The grid of the image that a model has embedded, behind its lone tokens.

    Args:
        embedding: what makes patches of an image.
        axes: of the rows and columns in what it gives.
        prefix: lone tokens.
        around: the modules from the model down to the layer, for images of any size; () = images have one size.
        size: of the grid where no image was seen; None = ``embedding.grid_size``, as timm states it.
    """

    def __init__(
        self,
        embedding: nn.Module,
        axes: tuple[int, int],
        prefix: int,
        around: Sequence[nn.Module],
        size: Grid | None = None,
    ) -> None:
        self.embedding = embedding
        self.prefix = prefix
        self.size = size
        self.seen = SeenGrids.of(embedding, axes)
        # Some checkpoints run a module's forward again without its hooks; its children then meet the tokens first.
        watched = {id(module): module for outer in around for module in (outer, *outer.children())}
        self.handles = [module.register_forward_pre_hook(self.seen.follow) for module in watched.values()]
        if around:
            self.handles.append(embedding.register_forward_hook(self.seen.see))

    def layout(self, length: int) -> Layout:
        """The layout of ``length`` tokens of the present call.

        Raises:
            ShapeError: another number of tokens than the image has.
        """
        grid = self.seen.grid(length - self.prefix) or self.size or grid_size(self.embedding)
        layout = Layout(grid, self.prefix)
        layout.check(length)
        return layout

    def forget(self) -> None:
        """Stop watching the model."""
        for handle in self.handles:
            handle.remove()


def grid_size(embedding: nn.Module) -> Grid:
    """Rows and columns of patches of the image that a timm model is made for at present."""
    grid: Any = embedding.grid_size
    return int(grid[0]), int(grid[1])


class SeenGrids:
    """The grids of the images that an embedding has seen: the last one of each thread, and those of earlier tokens.

    Activation checkpointing runs blocks again, long after their image was embedded and perhaps in another thread. It
    hands them the tokens that it kept, and these are recognised by their storage.
    """

    def __init__(self, axes: tuple[int, int]) -> None:
        self.axes = axes
        self.sizes: dict[int, Grid] = {}
        self.tokens: dict[int, tuple[StorageWeakRef, Grid]] = {}
        self.here = local()
        self.lock = Lock()
        self.room = 64

    def __reduce__(self) -> tuple[type[SeenGrids], tuple[tuple[int, int]]]:
        return SeenGrids, (self.axes,)

    @classmethod
    def of(cls, embedding: nn.Module, axes: tuple[int, int]) -> SeenGrids:
        """The one that watches an embedding already, or a new one."""
        owners = [getattr(hook, "__self__", None) for hook in embedding._forward_hooks.values()]
        return next((owner for owner in owners if isinstance(owner, cls)), None) or cls(axes)

    def see(self, embedding: nn.Module, arguments: object, patches: Tensor) -> None:
        """Forward hook of the embedding."""
        del embedding, arguments
        rows, columns = (patches.shape[axis] for axis in self.axes)
        self.sizes[rows * columns] = (rows, columns)
        if not in_graph():
            self.here.grid = (rows, columns)

    def follow(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Forward pre-hook of the modules around a layer: remember, or recall, the grid of their tokens."""
        del module
        if in_graph() or not arguments:
            return
        try:
            tokens = StorageWeakRef(arguments[0].untyped_storage())
        except (RuntimeError, NotImplementedError):  # tensors of torch.func have none
            return
        with self.lock:
            known = self.tokens.get(tokens.cdata)
            if known is not None and not known[0].expired():
                self.here.grid = known[1]
            elif (grid := getattr(self.here, "grid", None)) is not None:
                self.tokens[tokens.cdata] = tokens, grid
                self._forget_what_is_gone()

    def grid(self, patches: int) -> Grid | None:
        """The grid of this many patches in the present call, None if none was seen."""
        grid: Grid | None = None if in_graph() else getattr(self.here, "grid", None)
        return grid if grid is not None and prod(grid) == patches else self.sizes.get(patches)

    def _forget_what_is_gone(self) -> None:
        if len(self.tokens) > self.room:
            self.tokens = {key: kept for key, kept in self.tokens.items() if not kept[0].expired()}
            self.room = max(64, 2 * len(self.tokens))
