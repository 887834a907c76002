"""Train and test parts of a data set, given apart or split off one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from primaldual.data.dataset import Dataset
from primaldual.data.labels import regression_hint
from primaldual.errors import DataError

TEST_FRACTION = 0.3
"""Share of every class that becomes the test part when a file is not split already."""

_SPLIT_SEED = 0


@dataclass(frozen=True)
class Parts:
    """What a reader found: ``{"train": ..., "test": ...}`` or ``{"all": ...}``.

    Args:
        found: the parts by name.
        named: the part whose own file the user named, where the other was found beside it.
    """

    found: Mapping[str, Dataset]
    named: Dataset | None = None

    def whole(self) -> Dataset:
        """Every case of the file that was named, train before test."""
        if self.named is not None:
            return self.named
        parts = [self.found[key] for key in ("all", "train", "test") if key in self.found]
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        return first.followed_by(second.spelled(first.class_names))

    @property
    def is_split(self) -> bool:
        """Whether the source gives its train and test parts itself."""
        return "all" not in self.found

    def training(self, hold_out: bool = True) -> Dataset:
        """What is trained on: the train part, or of a file that is not split all that is not held out.

        Args:
            hold_out: whether a file that is not split keeps cases for a test part.

        Raises:
            DataError: there is no train part, or a file cannot be split.
        """
        if not self.is_split:
            return stratified_split(self.found["all"])[0] if hold_out else self.found["all"]
        return self._part("train")

    def _part(self, part: str) -> Dataset:
        if part not in self.found:
            name = next(iter(self.found.values())).name
            raise DataError(f"{name}: the {part} part is missing; it belongs beside the other")
        return self.found[part]

    def split(self) -> tuple[Dataset, Dataset]:
        """Train and test part; a file that is not split gives `TEST_FRACTION` of every class to the test.

        Raises:
            DataError: one of two parts is missing, or a single file cannot be split.
        """
        if self.is_split:
            train, test = self._part("train"), self._part("test")
            if train.X[0].shape[0] != test.X[0].shape[0]:
                raise DataError(
                    f"{train.name}: the train part has {train.X[0].shape[0]} channels and the test part "
                    f"{test.X[0].shape[0]}; they must agree"
                )
            return train, test.spelled(train.class_names)
        return stratified_split(self.found["all"])


def stratified_split(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Split one labelled data set; the same file always splits the same way.

    Raises:
        DataError: no labels, or a class with a single case.
    """
    if dataset.y is None:
        raise DataError(f"{dataset.name}: has no labels, so it cannot be split into train and test")
    generator = np.random.default_rng(_SPLIT_SEED)
    test: list[int] = []
    for label in dataset.class_names:
        members = np.flatnonzero(dataset.y == label)
        if len(members) < 2:
            hint = regression_hint(dataset.y.tolist())
            raise DataError(f"{dataset.name}: class {label!r} has one case; at least two are needed{hint}")
        count = min(max(round(TEST_FRACTION * len(members)), 1), len(members) - 1)
        test.extend(int(index) for index in generator.permutation(members)[:count])
    held_out = set(test)
    train = [index for index in range(len(dataset.X)) if index not in held_out]
    return dataset.take(train), dataset.take(sorted(test))


def one_line(error: BaseException, limit: int = 200) -> str:
    """The text of an error on a single line, cut at ``limit`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
