"""Sizes of a state that are refused."""

import pytest
import torch

from primaldual import preset
from primaldual.errors import ArgumentError


def test_sizes_are_checked():
    problem = preset("bn")
    for options, words in (
        ({"batch": 0}, "batch must be an integer 1 or more; got 0"),
        ({"heads": 2.0}, "heads must be"),
        ({"kv_heads": 3}, "kv_heads must divide heads; got heads 4 and kv_heads 3"),
        ({"dtype": torch.int64}, "dtype must be a floating type"),
    ):
        with pytest.raises(ArgumentError, match=words):
            problem.init_state(**({"batch": 1, "heads": 4, "head_dim": 8} | options))
