"""A solved expansion as one safetensors file: its tensors, and the spec of its problem."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primaldual.errors import CheckpointError
from primaldual.primal.presets import faithful_spec, preset
from primaldual.reporting.files import saving

if TYPE_CHECKING:
    from torch import Tensor

    from primaldual.svr.expansion import SupportVectorExpansion

PROBLEM = "problem."
TENSORS = (
    "keys", "values", "coefficients", "intercept", "fitted", "primal_objective", "gap", "C", "epsilon", "mask",
)  # fmt: skip


def write(expansion: SupportVectorExpansion, path: str | os.PathLike[str]) -> None:
    """See ``SupportVectorExpansion.save``."""
    from safetensors.torch import save_file

    target = Path(path).expanduser()
    tensors = {name: getattr(expansion, name) for name in TENSORS if getattr(expansion, name) is not None}
    tensors |= {PROBLEM + name: tensor for name, tensor in expansion.problem.state_dict().items()}
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    described = json.dumps({"format": expansion.file_format, "attention": faithful_spec(expansion.problem)})
    with saving(target) as fresh:
        save_file(tensors, fresh, {"primaldual": described})


def read(path: str | os.PathLike[str], file_format: str) -> dict[str, Any]:
    """The fields of an expansion; see ``SupportVectorExpansion.load``."""
    from safetensors import SafetensorError, safe_open

    source = Path(path).expanduser()
    if not source.is_file():
        raise CheckpointError(f"path {str(source)!r} is not a file; accepted is what save wrote")
    try:
        with safe_open(source, "pt") as file:
            described = json.loads((file.metadata() or {}).get("primaldual", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"path {str(source)!r} is corrupt: {error}") from error
    if not isinstance(described, dict) or described.get("format") != file_format:
        raise CheckpointError(
            f"path {str(source)!r} is not a saved expansion; the format {file_format!r} is accepted"
        )
    try:
        return _fields(described, tensors)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"path {str(source)!r} is corrupt or does not fit: {error}") from error


def _fields(described: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    problem = preset(described["attention"])
    state = {
        name.removeprefix(PROBLEM): tensor for name, tensor in tensors.items() if name.startswith(PROBLEM)
    }
    keys, outputs = tensors["keys"], tensors["values"].shape[-1]
    wanted = dict.fromkeys(("values", "coefficients", "fitted"), (*keys.shape[:-1], outputs))
    wanted |= {name: (*keys.shape[:-2], outputs) for name in TENSORS if name not in {"keys", "mask", *wanted}}
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{name} has the shape {tuple(tensors[name].shape)}, {shape} fits keys and values"
            )
    for name in TENSORS:
        if name in tensors and not bool(tensors[name].isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")
    if state:
        problem = problem.bind(1 if keys.dim() == 2 else keys.shape[-3], keys.shape[-1]).to(keys.dtype)
        problem.load_state_dict(state)
    return {"problem": problem.eval(), **{name: tensors.get(name) for name in TENSORS}}
