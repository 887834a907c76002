"""One run: data, model and recipe into a trained, tested and saved classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from primaldual.images.bad_files import without_bad_files
from primaldual.images.evaluation import Evaluation, evaluate
from primaldual.images.image_data import ImageData
from primaldual.images.image_sets import ImageParts, ImageSet
from primaldual.images.known_sets import read_parts
from primaldual.images.mixing import Mixing
from primaldual.images.networks import build_network
from primaldual.images.recipes import RECIPES, Recipe, recipe_for
from primaldual.images.run_numbers import numbers_of
from primaldual.images.run_settings import RunSettings
from primaldual.images.transforms import SMALL, test_view, training_view
from primaldual.training import Callback, Classification, Execution, TrainingState, train
from primaldual.training.randomness import derive_seed
from primaldual.training.run_folders import RunFolder
from primaldual.training.splitting import split_off_validation

VALIDATION_AT_MOST = 10_000
"""Images that are split off for validation."""


@dataclass(frozen=True)
class ImageRun:
    """A finished run.

    Attributes:
        config: everything that decides what is learned, by name.
        parts: the images.
        model: with the weights that were kept.
        state: of training.
        evaluation: on the test part.
        test: the test part as the model sees it.
        left_out: files that could not be read.
        folder: where everything is saved.
    """

    config: dict[str, Any]
    parts: ImageParts
    model: nn.Module
    state: TrainingState
    evaluation: Evaluation
    test: ImageData
    left_out: tuple[str, ...]
    folder: RunFolder


class PreparedRun:
    """A run whose data, model and folder are checked.

    Args:
        settings: what is learned from what.
        out: folder of the run; None = one named after data, model, attention and seed, in runs/images.
        workers: processes that load images; 0 = those that train.

    Raises:
        ArgumentError: a value that is not accepted, or a place that cannot be written.
        DataError: data that cannot be used.
        CheckpointError: the folder holds a run with another config; lists the differences.
    """

    def __init__(self, settings: RunSettings, out: Path | None = None, workers: int = 0) -> None:
        self.settings = settings
        whole, self.left_out = _readable(read_parts(settings.data, settings.data_dir), settings.skip_bad)
        whole.training.check_trainable()
        self.parts = _with_validation(whole, settings)
        size = settings.image_size or _size_of(self.parts.training)
        name = settings.model or ("vit_micro" if size <= SMALL else "deit_tiny")
        self.recipe_name = settings.recipe or recipe_for(size)
        self.recipe = _recipe(settings, RECIPES[self.recipe_name])
        seed = derive_seed(settings.seed, 1)
        classes = len(self.parts.training.classes)
        self.model = build_network(name, settings.attention, classes, size, self.recipe.drop_path, seed)
        self.training_settings = self.recipe.settings(settings.seed, settings.batch_size, settings.steps)
        self.config = {
            "data": settings.data,
            "images": whole.training.fingerprint(),
            "classes": list(self.parts.training.classes),
            "model": name,
            "attention": settings.attention,
            "image_size": size,
            "recipe": self.recipe_name,
            **asdict(self.recipe),
            "batch_size": self.training_settings.batch_size,
            "learning_rate": self.training_settings.learning_rate,
            "steps": settings.steps,
            "validation": settings.validation,
            "seed": settings.seed,
        }
        self.training = ImageData(
            self.parts.training,
            training_view(size, self.recipe),
            drawn=self.recipe.draws,
            mixing=Mixing.of(self.recipe, classes),
            workers=workers,
        )
        look = test_view(size)
        held_out = self.parts.validation
        self.validation = None if held_out is None else ImageData(held_out, look, workers=workers)
        self.test = ImageData(self.parts.test, look, workers=workers)
        self.folder = RunFolder.open(out, self.config)

    def train(self, execution: Execution, callbacks: Sequence[Callback] = ()) -> TrainingState:
        """Train, or go on from the newest checkpoint in the run's folder.

        Args:
            execution: where and how; the run's folder of checkpoints is ``folder.checkpoints``.
            callbacks: see :func:`primaldual.training.train`.
        """
        return train(
            self.model,
            Classification(self.recipe.label_smoothing),
            self.training_settings,
            self.training,
            self.validation,
            callbacks,
            execution,
        )

    def finish(
        self, state: TrainingState, corruptions: bool = True, hear: Callable[[str], None] = lambda words: None
    ) -> ImageRun:
        """Test the weights that were kept, and save them with the numbers.

        Args:
            state: of training.
            corruptions: test corrupted images, too.
            hear: told what is under way.
        """
        self.model.load_state_dict(state.best_weights)
        evaluation = evaluate(self.model, self.test, 4 * self.training_settings.batch_size, corruptions, hear)
        run = ImageRun(
            self.config, self.parts, self.model, state, evaluation, self.test, self.left_out, self.folder
        )
        self.folder.save(run.model, numbers_of(run))
        return run


def _readable(parts: ImageParts, skip_bad: bool) -> tuple[ImageParts, tuple[str, ...]]:
    """The parts without bad files, and their names."""
    training, left_out = without_bad_files(parts.training, skip_bad)
    test, more = without_bad_files(parts.test, skip_bad)
    left_out += more
    validation = parts.validation
    if validation is not None:
        validation, more = without_bad_files(validation, skip_bad)
        left_out += more
    return replace(parts, training=training, validation=validation, test=test), tuple(left_out)


def _with_validation(parts: ImageParts, settings: RunSettings) -> ImageParts:
    """The parts, with a validation part split off the training part where there is none and one is wanted."""
    if parts.validation is not None or settings.validation == 0:
        return parts
    share = min(settings.validation, VALIDATION_AT_MOST / len(parts.training))
    kept, held_out = split_off_validation(parts.training.labels, share, derive_seed(settings.seed, 0))
    validation = parts.training.part(held_out) if len(held_out) else None
    return replace(parts, training=parts.training.part(kept), validation=validation)


def _size_of(images: ImageSet) -> int:
    longest = max(images.image(0).size)
    return longest if longest <= SMALL else 224


def _recipe(settings: RunSettings, recipe: Recipe) -> Recipe:
    given: dict[str, Any] = {"epochs": settings.epochs, "mixed_precision": settings.mixed_precision}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})
