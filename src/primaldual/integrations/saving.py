"""Save a converted or pruned model of any library, and load it into a plain one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from primaldual.errors import ArgumentError, CheckpointError, PrimalDualError, UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.descriptions import Description, rebuilt
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitted_problem import fit
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.integrations.transaction import all_or_nothing
from primaldual.integrations.wrapping import refuse_wrapped
from primaldual.primal.problem import PrimalProblem
from primaldual.reporting.files import saving

KEY, FORMAT = "primaldual", 1


def save(model: nn.Module, file: str | os.PathLike[str]) -> None:
    """Write the weights of a model of torch, timm or transformers, and what its attention layers attend with.

    Args:
        model: converted by :func:`primaldual.convert`, pruned, or neither.
        file: written with :func:`torch.save`, whole or not at all; holds no code.

    Raises:
        ArgumentError: a name that ends in .safetensors, by which torch would read another format.
        CheckpointError: an attention with a part of one's own, which no spec describes, or a place that cannot be written.

    Example:
        >>> import tempfile
        >>> from primaldual.integrations.conversion import convert
        >>> model = nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> _ = convert(model, "bn+sh(1,1,2,4)", verbose=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(model, f"{folder}/model.pt")
        ...     again = load(nn.TransformerEncoderLayer(16, 4, batch_first=True).eval(), f"{folder}/model.pt")
        >>> inputs = torch.randn(2, 6, 16)
        >>> torch.equal(again(inputs), model(inputs))
        True
    """
    if Path(file).suffix == ".safetensors":
        raise ArgumentError(
            f"file must not end in .safetensors, since it has torch's own format; got {str(file)!r}"
        )
    layers = {site.path: _described(site) for site in find_sites(model)}
    with saving(Path(file).expanduser()) as fresh:
        torch.save({KEY: {"format": FORMAT, "layers": layers}, "state": model.state_dict()}, fresh)


def load(model: nn.Module, file: str | os.PathLike[str]) -> nn.Module:
    """Make a model what :func:`save` wrote: convert and prune its layers, and load all weights.

    Args:
        model: built as the saved one was before it was converted, or converted alike; changed in place. After an
            error it is as it was.
        file: from :func:`save`.

    Returns:
        The model.

    Raises:
        CheckpointError: another file, or one of a model that is built differently.
        UnsupportedError: a model that is compiled or wrapped.
    """
    refuse_wrapped(model, "loaded")
    layers, state = _read(file)
    sites = {site.path: site for site in find_sites(model)}
    if layers.keys() != sites.keys():
        raise CheckpointError(
            f"file must be of a model with the attention layers {list(sites)}; got one with {list(layers)}"
        )
    with all_or_nothing(model):
        for path, layer in layers.items():
            try:
                _restore(sites[path], layer)
            except (PrimalDualError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"layer {path!r} of the file does not fit the model: {error}"
                ) from error
        hand_on_values(model)
        _check_state(model, state)
        model.load_state_dict(state)
    return model


def _described(site: AttentionSite) -> Description:
    attention = site.described()
    groups = [] if attention is None else attention.get("groups", [attention])
    if reasons := [group["reason"] for group in groups if "reason" in group]:
        raise CheckpointError(f"{site.path or 'the layer'}: {reasons[0]}")
    return {"heads": site.heads, "kv_heads": site.kv_heads, "attention": attention}


def _read(file: str | os.PathLike[str]) -> tuple[dict[str, Description], dict[str, Any]]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        found, state = content[KEY], content["state"]
        written, layers = found["format"], found["layers"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"file must be one that primaldual.integrations.save wrote; {file} is not"
        ) from error
    if written != FORMAT:
        raise CheckpointError(f"file must have format {FORMAT}; got {written!r} in {file}")
    return layers, state


def _restore(site: AttentionSite, layer: Description) -> None:
    """Give a layer the number of heads and the attention that are described."""
    heads, wanted = layer["heads"], layer["attention"]
    if wanted is not None and site.refusal:
        raise UnsupportedError(f"the layer has {site.refusal}")
    if site.heads > heads:
        if wanted is not None and site.problem is None:
            site.convert(fit(PrimalProblem(), site, site.heads))
        site.prune(list(range(heads)))
    if (site.heads, site.kv_heads) != (heads, layer["kv_heads"]):
        raise CheckpointError(
            f"got {heads} heads and {layer['kv_heads']} of keys, and the model has {site.heads} and {site.kv_heads}"
        )
    if wanted is None:
        site.revert()
        if site.problem is not None:
            raise CheckpointError(
                f"the model was built with {site.problem.spec()!r}, and the saved one was not"
            )
    elif site.described() != wanted:
        with torch.device("cpu"):  # parts draw numbers
            problem = rebuilt(wanted, heads, site.head_dim)
        site.convert(problem)


def _check_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Refuse weights of other names or shapes before any number is copied."""
    own = model.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [
        name for name, tensor in own.items() if tensor.shape != state[name].shape
    ]
    if wrong:
        raise CheckpointError(
            f"file must have the weights of the model; {len(wrong)} differ, such as {wrong[0]!r}"
        )
