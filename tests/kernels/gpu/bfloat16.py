"""Triton's interpreter, made to multiply and round bfloat16 as numbers: it holds them as bits, and multiplies these."""

from contextlib import contextmanager

import numpy as np
import triton.language as tl
from triton.runtime import interpreter


@contextmanager
def right_bfloat16():
    """Products of bfloat16 are those of numbers, and casts to bfloat16 round to the nearest, as GPUs do, meanwhile."""
    builder = interpreter.InterpreterBuilder
    dot, cast, of_float = builder.create_dot, builder.cast_impl, builder.create_fp_to_fp

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def rounded(handle):
        bits = np.ascontiguousarray(handle.data, np.float32).view(np.uint32)
        nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        nearest[np.isnan(handle.data)] = 0x7FC0
        return interpreter.TensorHandle(nearest, tl.bfloat16)

    def right_dot(self, first, second, *rest):
        return dot(self, widened(first), widened(second), *rest)

    def right_cast(self, source, kind, *rest):
        whole = widened(source)
        if kind.scalar == tl.bfloat16 and whole is source:
            return rounded(cast(self, source, tl.float32))
        if kind.scalar in (tl.bfloat16, tl.float32) and whole is not source:
            return source if kind.scalar == tl.bfloat16 else whole
        return (of_float if rest else cast)(self, whole, kind, *rest)

    builder.create_dot, builder.cast_impl, builder.create_fp_to_fp = right_dot, right_cast, right_cast
    try:
        yield
    finally:
        builder.create_dot, builder.cast_impl, builder.create_fp_to_fp = dot, cast, of_float
