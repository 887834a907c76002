"""Keys, targets, masks and penalties as the solver takes them, checked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training pairs with all leading dimensions.

    Attributes:
        keys: (batch, heads, N, D), 0 where masked.
        targets: (batch, heads, N, outputs), 0 where masked.
        mask: bool (batch, heads, N), True = a training pair.
        leading: the dimensions that were given in front of (N, D).
    """

    keys: Tensor
    targets: Tensor
    mask: Tensor
    leading: tuple[int, ...]

    def original_shape(self, tensor: Tensor) -> Tensor:
        """A tensor (batch, heads, ...) with the leading dimensions that were given."""
        return tensor.reshape(*self.leading, *tensor.shape[2:])


def read_training_data(
    keys: Tensor, targets: Tensor | None, mask: Tensor | None, dtype: torch.dtype
) -> TrainingData:
    """Check and bring to (batch, heads, ...); without targets they are one output of 0.

    Raises:
        ShapeError: dimensions that do not fit.
        ArgumentError: values that are not finite, or another dtype than float64 and float32.
    """
    if dtype not in (torch.float64, torch.float32):
        raise ArgumentError(f"dtype must be torch.float64 or torch.float32; got {dtype}")
    keys = _real("keys", keys, dtype)
    if not 2 <= keys.dim() <= 4 or 0 in keys.shape:
        raise ShapeError(f"keys must be ([[batch,] heads,] N, D), none of them 0; got {tuple(keys.shape)}")
    targets = keys.new_zeros(*keys.shape[:-1], 1) if targets is None else _real("targets", targets, dtype)
    if targets.shape[:-1] != keys.shape[:-1] or not targets.shape[-1:].numel():
        raise ShapeError(
            f"targets must be ({', '.join(map(str, keys.shape[:-1]))}, outputs), a row for every key; "
            f"got {tuple(targets.shape)}"
        )
    leading = tuple(keys.shape[:-2])
    full = (1,) * (2 - len(leading)) + leading
    length = keys.shape[-2]
    if mask is None:
        mask = torch.ones(*full, length, dtype=torch.bool, device=keys.device)
    else:
        mask = torch.as_tensor(mask).to(keys.device)
        if mask.dtype != torch.bool:
            raise ArgumentError(f"mask must be boolean with True = a training pair; got dtype {mask.dtype}")
        try:
            mask = mask.broadcast_to(*leading, length).reshape(*full, length).clone()
        except RuntimeError:
            raise ShapeError(
                f"mask must broadcast to {(*leading, length)}; got {tuple(mask.shape)}"
            ) from None
    return TrainingData(
        _finite("keys", keys.reshape(*full, *keys.shape[-2:]), mask),
        _finite("targets", targets.reshape(*full, *targets.shape[-2:]), mask),
        mask,
        leading,
    )


def read_penalty(name: str, given: float | Tensor, data: TrainingData) -> Tensor:
    """C or epsilon as (batch, heads, outputs).

    Raises:
        ArgumentError: C not above 0, epsilon below 0, or not finite.
        ShapeError: a tensor that does not broadcast to the outputs.
    """
    penalty = _real(name, given, data.keys.dtype).to(data.keys.device)
    above = penalty > 0 if name == "C" else penalty >= 0
    if not bool((above & penalty.isfinite()).all()):
        bound = "above 0" if name == "C" else "0 or more"
        raise ArgumentError(f"{name} must be {bound} and finite; got {given}")
    batch, heads, _, outputs = data.targets.shape
    try:
        return penalty.broadcast_to(*data.leading, outputs).reshape(batch, heads, outputs).clone()
    except RuntimeError:
        raise ShapeError(
            f"{name} must broadcast to {(*data.leading, outputs)}; got shape {tuple(penalty.shape)}"
        ) from None


def read_weights(given: Tensor | None, data: TrainingData) -> Tensor | None:
    """Weights of the training pairs as (batch, heads, N), 1 where masked; None = 1 each.

    Raises:
        ArgumentError: a weight that is not above 0, or not finite.
        ShapeError: weights that do not broadcast to the pairs.
    """
    if given is None:
        return None
    weights = _real("weights", given, data.keys.dtype).to(data.keys.device)
    length = data.keys.shape[2]
    try:
        weights = weights.broadcast_to(*data.leading, length).reshape(data.mask.shape)
    except RuntimeError:
        raise ShapeError(
            f"weights must broadcast to {(*data.leading, length)}; got shape {tuple(weights.shape)}"
        ) from None
    weights = torch.where(data.mask, weights, 1.0)
    if not bool(((weights > 0) & weights.isfinite()).all()):
        raise ArgumentError(
            "weights must be above 0 and finite; leave pairs that shall not count out of the mask"
        )
    return weights


def _real(name: str, given: object, dtype: torch.dtype) -> Tensor:
    try:
        tensor = given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} must be a tensor or array of numbers; got {type(given).__name__}: {error}"
        ) from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ArgumentError(f"{name} must hold real numbers; got dtype {tensor.dtype}")
    return tensor.detach().to(dtype)


def _finite(name: str, tensor: Tensor, mask: Tensor) -> Tensor:
    kept = torch.where(mask.unsqueeze(-1), tensor, 0.0)
    if not bool(kept.isfinite().all()):
        place = (~kept.isfinite()).nonzero()[0].tolist()
        raise ArgumentError(f"{name} must be finite; got {kept[tuple(place)]} in row {place[2]}")
    return kept
