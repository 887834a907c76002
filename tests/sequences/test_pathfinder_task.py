from __future__ import annotations

import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.sequences.pathfinder_task import pathfinder_parts


def test_labels_are_balanced_and_pictures_differ(tmp_path):
    parts = pathfinder_parts(tmp_path, "easy", 0, {"training": 30, "validation": 6, "test": 4})
    found = parts.training
    assert [len(found), len(parts.validation), len(parts.test)] == [30, 6, 4]
    assert found.labels.mean() == parts.test.labels.mean() == 0.5
    pictures = np.array([found.sequence(case, 0) for case in range(30)])
    assert pictures.shape == (30, 1024)
    assert len(np.unique(pictures, axis=0)) == 30
    assert found.vocabulary == 256
    other = pathfinder_parts(tmp_path, "easy", 1, {"training": 30, "validation": 6, "test": 4})
    assert other.training.digest != found.digest


def test_another_difficulty_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ArgumentError, match="difficulty must be one of easy, intermediate, hard; got 'Hard'"):
        pathfinder_parts(tmp_path, "Hard", 0)
    assert not list(tmp_path.iterdir())
