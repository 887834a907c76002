"""Triton's interpreter, made to refuse addresses outside of the tensors that a kernel is given."""

from contextlib import contextmanager

import numpy as np
import torch
from triton.runtime import interpreter


class OutOfBoundsError(AssertionError):
    """A kernel reads or writes what is not its own."""


@contextmanager
def kept_within_bounds():
    """Check every load and store of kernels that run meanwhile."""
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    load, store, call = builder.create_masked_load, builder.create_masked_store, executor.__call__
    ranges = []

    def check(kind, pointers, mask):
        size = pointers.get_element_ty().primitive_bitwidth // 8
        places = pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].astype(np.uint64)
        inside = np.zeros(places.shape, dtype=bool)
        for start, stop in ranges:
            inside |= (places >= start) & (places + size <= stop)
        if not inside.all():
            raise OutOfBoundsError(
                f"{kind} of {(~inside).sum()} of {places.size} numbers lies outside of all tensors"
            )

    def checked_load(self, pointers, mask, other, *rest):
        check("load", pointers, mask)
        return load(self, pointers, mask, other, *rest)

    def checked_store(self, pointers, value, mask, *rest):
        check("store", pointers, mask)
        return store(self, pointers, value, mask, *rest)

    def recorded_call(self, *args, **kwargs):
        ranges[:] = [
            (tensor.data_ptr(), tensor.data_ptr() + extent(tensor))
            for tensor in args
            if isinstance(tensor, torch.Tensor)
        ]
        return call(self, *args, **kwargs)

    builder.create_masked_load, builder.create_masked_store = checked_load, checked_store
    executor.__call__ = recorded_call
    try:
        yield
    finally:
        builder.create_masked_load, builder.create_masked_store, executor.__call__ = load, store, call


def extent(tensor):
    """Bytes from the first number of a tensor to behind its last one."""
    if tensor.numel() == 0:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()
