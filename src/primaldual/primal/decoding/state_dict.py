"""Decoding states as tensors by name, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from primaldual.errors import CheckpointError
from primaldual.primal.decoding.memory import Memory, is_sequence

LONGEST = 2**20
"""Bytes of a spec that are read."""


def saved_tensors(
    spec: str, lengths: list[int], memories: Sequence[Memory], slots: Sequence[int]
) -> dict[str, Tensor]:
    """The spec as bytes, the lengths, and the tensors of every memory, cut to the slots that are filled."""
    found = {
        "spec": torch.tensor(list(spec.encode()), dtype=torch.uint8),
        "lengths": torch.tensor(lengths),
    }
    for number, (memory, filled) in enumerate(zip(memories, slots, strict=True)):
        for name, tensor in memory.tensors():
            held = tensor[:, :, :filled] if is_sequence(name) else tensor
            found[f"{number}.{name}"] = held.clone(memory_format=torch.contiguous_format)
    return found


def loaded_memories(spec: str, memories: Sequence[Memory], tensors: Mapping[str, Tensor]) -> list[Memory]:
    """Memories like the given ones, from the tensors that :func:`saved_tensors` returned.

    Raises:
        CheckpointError: tensors of another problem, of other sizes, not finite, or of negative lengths.
    """
    saved = _text(tensors["spec"]) if "spec" in tensors else None
    if saved != spec:
        raise CheckpointError(f"the state is of {spec!r}; got tensors of {saved!r}")
    held = {
        f"{number}.{name}": tensor
        for number, memory in enumerate(memories)
        for name, tensor in memory.tensors()
    }
    needed = {*held, "spec", "lengths"}
    if set(tensors) != needed:
        raise CheckpointError(f"the state needs the tensors {sorted(needed)}; got {sorted(tensors)}")
    batch = next(iter(held.values())).shape[0]
    lengths = tensors["lengths"]
    if lengths.shape != (batch,) or lengths.dtype != torch.int64 or int(lengths.min()) < 0:
        raise CheckpointError(
            f"lengths must be ({batch},), {torch.int64}, all 0 or more; got {tuple(lengths.shape)}, {lengths.dtype}"
            f"{f' down to {int(lengths.min())}' if lengths.numel() and not lengths.is_floating_point() else ''}"
        )
    for name, tensor in held.items():
        _check(name, tensor, tensors[name])
    return [
        memory.map(lambda name, held: tensors[name].to(held, copy=True), f"{number}.")
        for number, memory in enumerate(memories)
    ]


def _text(given: Tensor) -> str:
    """What bytes spell; "" for a tensor of something else, or of more bytes than a spec has."""
    if given.dtype != torch.uint8 or given.dim() != 1 or len(given) > LONGEST:
        return ""
    return bytes(given.tolist()).decode(errors="replace")


def _check(name: str, held: Tensor, given: Tensor) -> None:
    wanted = list(held.shape)
    if is_sequence(name) and given.dim() == len(wanted):
        wanted[2] = given.shape[2]
    if wanted != list(given.shape) or held.dtype != given.dtype:
        raise CheckpointError(
            f"{name} must be {tuple(wanted)}, {held.dtype}; got {tuple(given.shape)}, {given.dtype}"
        )
    if given.is_floating_point() and not bool(given.isfinite().all()):
        raise CheckpointError(
            f"{name} must be finite; got {int((~given.isfinite()).sum())} numbers that are not"
        )
    if not given.is_floating_point() and given.numel() and int(given.min()) < 0:
        raise CheckpointError(f"{name} counts tokens and must be 0 or more; got {int(given.min())}")
