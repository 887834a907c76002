"""Randomness that is ours alone: the caller's generators are as before when we are done."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ALONE = threading.RLock()


@contextmanager
def private_torch_randomness(seed: int) -> Iterator[None]:
    """Draw from a seeded torch generator inside; the caller's generators go on where they were.

    Dropout takes no generator of its own, so the global one is set and put back, by one thread at a time. Inside,
    gradients are on and new tensors are float32, whatever the caller has set.

    Example:
        >>> before = torch.get_rng_state()
        >>> with private_torch_randomness(0):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    with _ALONE, torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def untouched_python_and_numpy() -> Iterator[None]:
    """Put the global generators of Python and NumPy back: Accelerate sets them when it loads a state."""
    import numpy as np

    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def derive_seed(seed: int, *numbers: int) -> int:
    """A seed for one part of a run, such as an epoch, that no other part shares.

    Example:
        >>> derive_seed(0, 1) != derive_seed(0, 2) != derive_seed(1, 2)
        True
    """
    import numpy as np

    # The count comes first because a seed sequence ignores trailing zeros.
    return int(np.random.SeedSequence([len(numbers), seed, *numbers]).generate_state(1)[0])
