"""Read the attention weights of other libraries: packed, separate, under their names."""

from collections.abc import MutableMapping

from torch import Tensor

from primaldual.errors import CheckpointError

NAMES: dict[str, tuple[str, ...]] = {
    "q_proj": ("query", "self.query", "attention.query", "attention.attention.query", "q_lin"),
    "k_proj": ("key", "self.key", "attention.key", "attention.attention.key", "k_lin"),
    "v_proj": ("value", "self.value", "attention.value", "attention.attention.value", "v_lin"),
    "out_proj": ("proj", "o_proj", "dense", "output.dense", "attention.output.dense", "out_lin"),
}
"""Our name of each projection, and those of timm and transformers."""

PACKED: dict[str, str] = {
    "in_proj_weight": "weight",
    "in_proj_bias": "bias",
    "qkv.weight": "weight",
    "qkv.bias": "bias",
}
"""Packed query-key-value tensors of torch and timm, and what they hold."""


def rename(state: MutableMapping[str, Tensor], prefix: str, sizes: tuple[int, int, int]) -> None:
    """Rewrite, in place, the entries of one attention layer to q_proj, k_proj, v_proj and out_proj.

    Args:
        state: a state dict; entries outside ``prefix`` are left alone.
        prefix: "" or the layer's name with a dot.
        sizes: rows of the query, key and value projections.

    Raises:
        CheckpointError: packed rows that do not match, or learned extra keys (bias_k, bias_v).
    """
    for extra in ("bias_k", "bias_v"):
        if prefix + extra in state:
            raise CheckpointError(f"{prefix}{extra}: layers with add_bias_kv=True cannot be loaded")
    for packed, kind in PACKED.items():
        tensor = state.pop(prefix + packed, None)
        if tensor is None:
            continue
        if tensor.shape[0] != sum(sizes):
            raise CheckpointError(
                f"{prefix}{packed} must have {sum(sizes)} rows for this layer; got {tensor.shape[0]}"
            )
        for name, rows in zip(("q_proj", "k_proj", "v_proj"), tensor.split(sizes), strict=True):
            state[f"{prefix}{name}.{kind}"] = rows
    for name, others in NAMES.items():
        _move(state, f"{prefix}{name}_weight", f"{prefix}{name}.weight")
        for other in others:
            for kind in ("weight", "bias"):
                _move(state, f"{prefix}{other}.{kind}", f"{prefix}{name}.{kind}")


def _move(state: MutableMapping[str, Tensor], old: str, new: str) -> None:
    if old in state:
        state[new] = state.pop(old)
