"""What a run learns from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.images.recipes import RECIPES

VALIDATION = 0.1
"""Share of the training images that is split off for validation, where the data has no part for it."""


@dataclass(frozen=True)
class RunSettings:
    """What a run learns from what.

    Args:
        data: a name or a folder, see `read_parts`.
        data_dir: where torchvision keeps its data sets.
        model: see `build_network`; None = "vit_micro" for images of up to 64 pixels a side, else "deit_tiny".
        attention: a spec.
        recipe: a name of `RECIPES`; None = by the size of the images.
        image_size: pixels a side; None = that of the first image, at most 224.
        epochs: instead of the recipe's.
        batch_size: instead of the recipe's; the learning rate follows in proportion.
        mixed_precision: instead of the recipe's.
        steps: most steps of all epochs together.
        validation: share of the training images, at most 10,000 of them, to choose the best epoch by; 0 = the last.
        skip_bad: leave out files that cannot be read.
        seed: of everything random.

    Raises:
        ArgumentError: a value out of range.
    """

    data: str = "digits"
    data_dir: Path | None = None
    model: str | None = None
    attention: str = "softmax"
    recipe: str | None = None
    image_size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    mixed_precision: str | None = None
    steps: int | None = None
    validation: float = VALIDATION
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.recipe is not None and self.recipe not in RECIPES:
            hint = did_you_mean(self.recipe, RECIPES)
            raise ArgumentError(f"recipe must be one of {', '.join(RECIPES)}; got {self.recipe!r}{hint}")
        if not 0 <= self.validation < 1:
            raise ArgumentError(f"validation must lie in [0, 1); got {self.validation!r}")
        if self.image_size is not None and self.image_size < 4:
            raise ArgumentError(f"image_size must be at least 4; got {self.image_size!r}")
