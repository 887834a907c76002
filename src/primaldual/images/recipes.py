"""Recipes: how image classifiers are trained, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from primaldual.training import TrainingSettings


@dataclass(frozen=True)
class Recipe:
    """Everything about training that is not the model, the data or the seed.

    Args:
        epochs: passes over the training part.
        batch_size: images per step, over all processes.
        learning_rate: the highest one, at this batch size; another batch size scales it in proportion.
        weight_decay: of AdamW, for matrices alone.
        warmup_epochs: epochs over which the learning rate grows linearly.
        label_smoothing: share of the target probability spread over all classes.
        mixup: alpha of mixup (Zhang et al., ICLR 2018); 0 = none.
        cutmix: alpha of CutMix (Yun et al., ICCV 2019); 0 = none. Where both are given, every batch takes one of them.
        rand_augment: RandAugment in the words of timm; "" = none.
        erasing: probability of random erasing.
        flip: mirror every other image.
        shift: largest shift of images of up to 64 pixels, of the side; larger ones are cropped at random.
        drop_path: largest rate of stochastic depth.
        ema_decay: of the moving average of the weights; None = none.
        gradient_clip: largest norm of the gradient; None = any.
        mixed_precision: "no" or "bf16".

    Example:
        >>> DEIT.settings(seed=0, batch_size=256).learning_rate
        0.00025
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.05
    warmup_epochs: int = 5
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    rand_augment: str = ""
    erasing: float = 0.0
    flip: bool = True
    shift: float = 0.125
    drop_path: float = 0.0
    ema_decay: float | None = None
    gradient_clip: float | None = None
    mixed_precision: str = "no"

    @property
    def draws(self) -> bool:
        """Whether images differ from epoch to epoch."""
        return self.flip or self.shift > 0 or self.erasing > 0 or bool(self.rand_augment)

    def settings(
        self, seed: int, batch_size: int | None = None, steps: int | None = None
    ) -> TrainingSettings:
        """These settings for the training loop.

        Args:
            seed: of everything random.
            batch_size: another one, with its share of the learning rate.
            steps: most steps of all.
        """
        size = self.batch_size if batch_size is None else batch_size
        return TrainingSettings(
            epochs=self.epochs,
            batch_size=size,
            learning_rate=self.learning_rate * size / self.batch_size,
            weight_decay=self.weight_decay,
            optimizer="adamw_matrices",
            warmup_epochs=self.warmup_epochs,
            gradient_clip=self.gradient_clip,
            mixed_precision=self.mixed_precision,
            steps=steps,
            ema_decay=self.ema_decay,
            seed=seed,
        )


DEIT = Recipe(
    epochs=300,
    batch_size=1024,
    learning_rate=1e-3,
    mixup=0.8,
    cutmix=1.0,
    rand_augment="rand-m9-mstd0.5-inc1",
    erasing=0.25,
    drop_path=0.1,
    ema_decay=0.99996,
)
"""DeiT's (Touvron et al., ICML 2021), without repeated augmentation and distillation."""

DEIT_SMALL = replace(
    DEIT,
    epochs=100,
    batch_size=128,
    mixup=0.2,
    cutmix=0.5,
    rand_augment="rand-m5-mstd0.5-inc1",
    erasing=0.1,
    drop_path=0.05,
    ema_decay=0.999,
    gradient_clip=1.0,
)
"""The same with weaker regularisation, for some 10,000 images of up to 64 pixels: our choice, not the paper's."""

DEIT_DIGITS = replace(
    DEIT_SMALL,
    epochs=20,
    batch_size=32,
    warmup_epochs=2,
    mixup=0.0,
    cutmix=0.0,
    rand_augment="",
    erasing=0.0,
    flip=False,
    shift=0.0,
    drop_path=0.0,
    ema_decay=0.99,
)
"""The same for some 1,000 images of up to 16 pixels, such as digits, which must be neither mirrored nor cut."""

RECIPES: Mapping[str, Recipe] = {"deit": DEIT, "deit-small": DEIT_SMALL, "deit-digits": DEIT_DIGITS}
"""Recipes by name."""


def recipe_for(image_size: int) -> str:
    """The name of the recipe for images of this many pixels a side.

    Example:
        >>> recipe_for(8), recipe_for(32), recipe_for(224)
        ('deit-digits', 'deit-small', 'deit')
    """
    return "deit-digits" if image_size <= 16 else "deit-small" if image_size <= 64 else "deit"
